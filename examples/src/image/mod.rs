//! Images of logs: the [`options`](Job) of the program, how a job is [carried out](run), how an image is [filled], and how it is shown.

mod fill;
mod options;
mod run;
mod show;

pub use fill::{InputError, filled};
pub use options::{Build, Command, Job, Shape};
pub use run::{Done, Soundness, create, failure_line, run};
pub use show::{
    SegmentRow, Stats, Verified, damage_line, dump_json, dump_line, records, state_name, stats, stats_table,
    verify,
};

#[cfg(test)]
mod tests;
