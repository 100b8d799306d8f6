//! The suites of the std adapter, against the public API.

mod api;
mod bad_input;
mod callbacks;
mod capacity;
mod closing;
mod common;
mod compaction;
mod double;
mod faults;
mod files;
mod fits;
mod lifetimes;
mod limits;
mod opening;
mod path;
mod poison;
mod pools;
mod read_only;
mod registry;
mod schema;
mod second_process;
mod slow;
mod sparse;
mod threads;
mod typed;
mod unread;
