//! Images of logs: what [`options`](Job) ask for, how one is [filled], and what is shown of one.

mod fill;
mod options;
mod show;

pub use fill::{InputError, filled};
pub use options::{Build, Command, Job};
pub use show::{SegmentRow, Stats, Verified, dump_json, dump_line, records, stats, stats_table, verify};

#[cfg(test)]
mod tests;
