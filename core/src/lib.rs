//! The `no_std` core of Coldpress: everything that a cold tier and its pools decide, without I/O, clock, threads or
//! allocation.
//!
//! Each part is a state machine that does a bounded amount of work a call, on memory that is lent to it. An adapter gives it
//! a medium, a clock and a place to run: `coldpress-std` threads, channels and a file, `coldpress-embedded` statics,
//! interrupts and flash. Layers, from the bottom:
//!
//! | module | what it is |
//! |---|---|
//! | [`cleanup`] | the protocol by which a tier asks the owner of the pools for memory: tickets, deadlines, one reply each |
//! | [`pool`] | memory pools whose objects move: size classes over pages, handles, defragmentation, emergency cleanup |
//! | [`efficiency`] | what the measured fragmentation means, and when to clean up |
//! | [`codec`] | how values are encoded, with lent scratch |
//! | [`log`] | what lies on a medium, byte by byte; the segment table and the choice of victims |
//! | [`compaction`] | tasks, progress, pace and reports |
//! | [`tier`] | the machine that owns a log: appends, syncs, compaction, recovery |
//!
//! The formats, the rules that keep data right and the tests that prove each invariant are in `DESIGN.md` beside this crate.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::indexing_slicing))]

pub mod cleanup;
pub mod codec;
pub mod compaction;
pub mod efficiency;
pub mod log;
pub mod pool;
pub mod tier;
