//! Images of logs: the [`options`](Job) of the program, how one is [filled], and how it is shown.

mod fill;
mod options;
mod show;

pub use fill::{InputError, filled};
pub use options::{Build, Command, Job};
pub use show::{SegmentRow, Stats, Verified, dump_json, dump_line, records, stats, stats_table, verify};

#[cfg(test)]
mod tests;
