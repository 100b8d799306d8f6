//! What the suites of Coldpress share.
//!
<<<<<<< HEAD
//! [`flash`] is a NOR flash in memory that counts, enforces and loses power. [`sim`] drives the tier machine over a medium in
//! memory. [`outage`] cuts the power under a service's tier. [`tidy`] reads the project's own sources and checks the rules
//! that a compiler does not know.
#![forbid(unsafe_code)]

pub mod flash;
mod image;
pub mod outage;
=======
//! [`sim`] drives the tier machine over a medium in memory. [`firmware`] runs the firmware examples in an emulator. [`tidy`] reads the project's own sources and checks the
//! rules that a compiler does not know.
#![forbid(unsafe_code)]

pub mod firmware;
>>>>>>> 3f9cabd (Firmware for a Cortex-M3, a Cortex-M0 and a RISC-V in an emulator: an interrupt, or a loop, defragments a static pool)
pub mod sim;
pub mod tidy;
