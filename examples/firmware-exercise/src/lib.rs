//! What the firmware examples do, whatever board they run on: each brings the clock, the interrupt and the log.
//!
//! - [`pool`]: a pool in static memory, stepped by an interrupt, defragmented and checked object by object.
#![no_std]
#![forbid(unsafe_code)]

pub mod pool;
