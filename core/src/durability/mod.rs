//! Durability: sync points, and the clock of the log.

mod clock;
mod syncs;

pub use clock::expiry_s;
pub(crate) use clock::{Clock, NewestTime};
pub(crate) use syncs::{Covered, Syncs};
