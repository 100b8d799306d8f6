//! The writer: open segments, where the next record goes, publication, and the syncs that make it durable.
//!
//! `Log` is the state that this layer and those above it share. A state is in one file, and the code that changes it together
//! with the rest of the log in another, so that no two files import each other.

mod allocating;
mod batch;
mod blocks;
mod completing;
mod copies;
mod counters;
mod engine;
mod error;
mod filling;
mod fresh;
mod lane;
mod layout;
mod log;
mod members;
mod memory;
mod notes;
mod opener;
mod opening;
mod placing;
mod polling;
mod publish;
mod recounting;
mod slot;
mod slots;
mod state;
mod streams;
mod syncing;
mod view;

pub use batch::{BATCH_WAIT_MS, BatchNeed, BatchState};
pub use counters::Counters;
pub(crate) use engine::Engine;
pub use error::AppendError;
pub use fresh::Fresh;
pub(crate) use fresh::{Incoming, tombstone};
pub use lane::READ_TRIES;
pub(crate) use lane::{LANE_COPY, LANE_ERASE, LANE_SCAN, Lessee};
pub(crate) use log::Log;
pub use memory::{Memory, Pending};
pub use notes::SlotNotes;
