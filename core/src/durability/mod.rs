//! Durability: sync points, and the clock of the log.

mod clock;
mod state;
mod syncs;

pub use clock::expiry_s;
pub(crate) use clock::{NewestTime, Stamp};
pub(crate) use state::LogDurability;
