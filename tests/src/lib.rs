//! What the suites of Coldpress share.
//!
//! [`flash`] is a NOR flash in memory that counts, enforces and loses power; [`cuts`] cuts the power of a flash tier on it.
//! [`sim`] drives the tier machine over a medium in memory. [`outage`] cuts the power under a service's tier. [`firmware`]
//! runs the firmware examples in an emulator. [`tidy`] reads the project's own sources and checks the rules that a compiler
//! does not know.
#![forbid(unsafe_code)]

pub mod cuts;
pub mod firmware;
pub mod flash;
mod image;
pub mod outage;
pub mod sim;
pub mod tidy;
