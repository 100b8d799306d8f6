//! The same histories on both adapters, with every answer compared to that of a map.
//!
//! [`Adapter`] is the view of a client on either. [`HostTier`] is the std adapter on a directory, [`DeviceTier`] the embedded
//! adapter's flash tier on the [flash double](crate::flash). A [`History`] drives them and a [`Model`] side by side.

mod device;
mod history;
mod host;

pub use device::{DEVICE_KEYS_MAX, DEVICE_RECORD_MAX, DeviceTier};
pub use history::{Entry, History, Model};
pub use host::HostTier;

use coldpress_core::compaction::CompactionTask;
use coldpress_std::clock::ManualClock;

/// A tier as a client sees it.
pub trait Adapter {
    /// Its name, for a failure.
    fn name(&self) -> String;
    /// Stores a value, which may expire after so many seconds.
    fn put(&mut self, key: &[u8], value: &[u8], ttl_s: Option<u32>);
    /// Removes a key; tells whether it had a value.
    fn remove(&mut self, key: &[u8]) -> bool;
    /// Reads a value.
    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>>;
    /// Tells whether a key has a value.
    fn contains(&mut self, key: &[u8]) -> bool;
    /// All keys that have a value, in order.
    fn keys(&mut self) -> Vec<Vec<u8>>;
    /// Keys that have a value, and expired ones that were not dropped yet.
    fn len(&mut self) -> usize;
    /// Runs a task to its end.
    fn run(&mut self, task: CompactionTask);
    /// Makes everything durable.
    fn sync(&mut self);
    /// Ends it and opens it again.
    fn reopen(&mut self);
    /// Its bytes as they lie on the medium, everything durable.
    fn image(&mut self) -> Vec<u8>;

    /// Whether there are none.
    fn is_empty(&mut self) -> bool {
        self.len() == 0
    }
}

/// The time of a clock that is set by hand.
#[must_use]
pub fn time(clock: &ManualClock) -> u32 {
    coldpress_std::clock::Clock::wall_s(clock)
}
