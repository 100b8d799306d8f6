//! The work of the firmware examples, the same on every board: each example brings the clock, the interrupt, the flash and the
//! log.
//!
//! - [`pool`]: a pool in static memory, stepped by an interrupt, defragmented and checked object by object.
//! - [`store`]: a flash tier through two lives, checked key by key against a [`model`] of them.
//! - [`clock`]: milliseconds, and the wall clock that goes with them.
//! - [`ram`]: a NOR flash in RAM, for a board that has none.
#![no_std]
#![forbid(unsafe_code)]

pub mod clock;
pub mod model;
pub mod pool;
pub mod ram;
pub mod store;
