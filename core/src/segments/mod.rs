//! The segment table, and the choice of the next victim: pure functions over plain tables.

mod segment;
mod sync_point;
mod table;
mod victim;

pub(crate) use segment::Flag;
pub use segment::{Growth, Segment, SegmentState, Tally};
pub use sync_point::SyncPoint;
pub(crate) use table::SegmentTable;
pub use victim::{Ages, Policy, VictimChoice, VictimReason, VictimTerms, choose, choose_by_wear, wear};
