//! The configuration of a machine: limits, streams, the reserve of segments, and the charge of each record.
//!
//! Everything here is arithmetic on constants and on the geometry: nothing has state. The rule that a full tier can always be cleaned
//! and emptied (rule 12) rests on these numbers, so the argument for each stands beside it.

mod error;
mod pace;
mod reserve;
mod stream;
mod tier;

pub use error::ConfigError;
pub use pace::PaceConfig;
pub use reserve::{
    FREE_RESERVE, ONE_FREE_SEGMENTS_MAX, Reserve, capacity_reserve_segments, free_reserve, reserve_segments,
    several_segments_min,
};
pub use stream::{SLOTS_MAX, Stream, Streams};
pub use tier::TierConfig;
