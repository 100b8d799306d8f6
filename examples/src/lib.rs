//! What the runnable programs of Coldpress share.
//!
//! The replay is built from these, in this order: requests ([`trace`], [`workload`] after [`published`] shapes,
//! with [`zipf`] and [`rng`] below), what the values hold ([`content`]), the seam to the tier ([`store`], with
//! the [`tier`] behind it and [`memory`] as its double), the [`model`] that every answer is checked against, and the threads that [`drive`]
//! the one and [`check`] the other, with the [`latency`] of each call.
//! [`options`] become a [`plan`], the plan becomes a [`replay`], and that a [`table`], a [`picture`] and [`figures`].
//!
//! [`in_memory`] is an adapter of its own, over [`bytes`].
//!
//! [`image`] is what the program of that name is built from; [`measuring`] has the command lines of those that measure.

pub mod bytes;
pub mod check;
pub mod content;
pub mod drive;
pub mod figures;
pub mod image;
pub mod in_memory;
pub mod latency;
pub mod measuring;
pub mod memory;
pub mod model;
pub mod options;
pub mod picture;
pub mod plan;
pub mod published;
pub mod replay;
pub mod request;
pub mod rng;
pub mod store;
pub mod table;
pub mod tier;
pub mod trace;
pub mod workload;
pub mod zipf;
