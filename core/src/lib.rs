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
//! | [`codec`] | how values are encoded, with lent scratch |
//! | [`pool`] | memory pools whose objects move: size classes over pages, handles, defragmentation, emergency cleanup |
//! | [`efficiency`] | what the measured fragmentation means, and when to clean up |
//! | [`invariant`] | what a machine holds itself to, and how it stops where that is broken |
//! | [`format`](mod@format) | what lies on a medium, byte by byte |
//! | [`segments`] | the segment table and the choice of victims |
//! | [`drive`] | what goes in and out of a machine: time, actions, completions |
//! | [`index`] | what a machine asks of the adapter that drives it |
//! | [`config`] | limits, the reserve, and what a record is charged |
//! | [`durability`] | sync points and the clock of the log |
//! | [`writer`] | open segments, placement, publication |
//! | [`recovery`] | mount, scanner, the second look |
//! | [`compaction`] | tasks, cleaning, reclaiming, eviction, pace and reports |
//! | [`machine`] | the machine that an adapter drives |
//!
//! Imports only point up this table, and no two files import each other.
//!
//! The formats, the rules that keep data right and the tests that prove each invariant are in `DESIGN.md` beside this crate.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::indexing_slicing))]

pub mod cleanup;
pub mod codec;
pub mod pool;

pub mod efficiency;
pub mod invariant;

pub mod format;
pub mod segments;

pub mod drive;
pub mod index;

pub mod config;
pub mod durability;

pub mod writer;

pub mod recovery;

pub mod compaction;

pub mod machine;
