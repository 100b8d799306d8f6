//! Shared code of the runnable programs of Coldpress.
//!
//! The replay is built from these, in this order. Requests come from a [`trace`], or a [`workload`] after [`published`] shapes,
//! with [`zipf`] and [`rng`] below. The contents of values are in [`content`]. The seam to the tier is [`store`], with the
//! [`tier`] behind it and [`memory`] as its double. Threads [`drive`] it, [`check`] every answer against the [`model`], and
//! take the [`latency`] of each call. [`options`] become a [`plan`], the plan becomes a [`replay`], and that a [`table`], a
//! [`picture`] and [`figures`].
//!
//! [`in_memory`] is an adapter of its own, over [`bytes`].
//!
//! [`cleaning`] has models of cleaning, beside which `amplification` sets its figures.
//!
//! [`image`] has the parts of the program of that name; [`measuring`] has the command lines of the programs that measure.

pub mod bytes;
pub mod check;
pub mod cleaning;
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
