//! The no_std core of Coldpress.
#![no_std]
#![forbid(unsafe_code)]

pub mod cleanup;
pub mod codec;
pub mod compaction;
pub mod efficiency;
pub mod log;
pub mod pool;
pub mod tier;
