//! Power cuts under a service's tier, with its threads, queues and group commit.
//!
//! A [history](Plan::run) runs on a [double](Double) that journals every write, erase and sync, and between them the writes
//! that clients began and that were acknowledged. Afterwards [`Replay`] goes through the journal: at any place of it the power
//! may have failed. Synced operations are there, and the [fates](Loss) decide about the others. A tier opened on that must hold
//! every acknowledged write, no removed key and no expired value.

mod journal;
mod medium;
mod plan;
mod replay;

pub use journal::{Event, Key, Knowledge, OFTEN_LONG, Put, State, key_bytes, value_bytes};
pub use medium::Double;
pub use plan::Plan;
pub use replay::{Loss, Replay};
