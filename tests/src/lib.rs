//! Shared code of the suites of Coldpress.
//!
//! - [`sim`] drives the tier machine over a medium in memory.
//! - [`outage`] cuts the power under a service's tier.
//! - [`flash`] is a NOR flash in memory that counts, enforces and loses power; [`cuts`] cuts the power of a flash tier on it.
//! - [`driver`] drives a flash tier by blocking calls or by futures, and drops these.
//! - [`batches`] drives histories of batches on a flash tier.
//! - [`conform`] drives both adapters through the same histories.
//! - [`pools`] makes keys for the pools.
//! - [`firmware`] runs the firmware examples in an emulator.
//! - [`tidy`] reads the project's own sources and checks the rules that a compiler does not know.
#![forbid(unsafe_code)]

pub mod batches;
pub mod conform;
pub mod cuts;
mod digest;
pub mod driver;
pub mod firmware;
pub mod flash;
mod image;
pub mod outage;
pub mod pools;
pub mod sim;
pub mod tidy;
