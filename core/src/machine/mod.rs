//! The tier machine: all that a cold tier decides, without I/O, clock or allocation.
//!
//! One value, [`Tier`], owns the log: where a record goes, what is stale, which segment to clean, what to copy, when to sync,
//! erase or ask the pools. An adapter drives it by one rule: **mutate, drain, wait**.
//!
//! 1. *Mutate*: [`append`](Tier::append) a record, [`schedule`](Tier::schedule) a task, [`handle`](Tier::handle) a
//!    completion.
//! 2. *Drain*: call [`poll`](Tier::poll) until it is [`Poll::Idle`](crate::drive::Poll::Idle); carry out each [`Poll::Do`](crate::drive::Poll::Do) and hand its completion to
//!    `handle`. Between two polls anything more urgent may be mutated: each poll does one bounded step.
//! 3. *Wait* for the next input, at most [`poll_timeout`](Tier::poll_timeout).
//!
//! A poll asks the engines in this order: the mount; slots (open segments); blocks; the opening of segments; syncs; the
//! reclaiming of emptied segments; second looks; the cleaner; eviction; tasks; tidying. Each is a file of a layer below; most
//! have a diagram of their states. The cleaner works first on segments under suspicion, then on a shortage, then on victims of
//! tasks.
//!
//! [`writing_an_adapter`] states what an adapter owes, and why.

mod batches;
mod blocks;
mod charges;
mod clock;
mod driving;
mod phase;
mod tier;
mod unchanged;

pub use driving::{Driven, Driver, carry_out};
pub use tier::{Status, Tier};
pub use unchanged::Present;

#[doc = include_str!("adapter.md")]
pub mod writing_an_adapter {}
