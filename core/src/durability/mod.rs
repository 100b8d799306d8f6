//! Durability: sync points, and the clock of the log.

mod clock;
mod state;
mod syncs;

pub(crate) use clock::NewestTime;
pub use clock::expiry_s;
pub(crate) use state::LogDurability;
