//! The scans that are open: each cursor is a number for an iterator that goes on where it stopped.

use core::time::Duration;
use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;

use crate::store::StoreKeys;

/// Scans that can be open; the one that is idle the longest ends when another begins.
pub(crate) const CURSORS_MAX: usize = 64;
/// A scan that is idle so long may end.
pub(crate) const CURSOR_IDLE_MAX: Duration = Duration::from_secs(600);

/// The scans that are open.
#[derive(Debug)]
pub(crate) struct Cursors {
    open: Mutex<OpenCursors>,
}

#[derive(Debug)]
struct OpenCursors {
    by_id: HashMap<u64, (Instant, StoreKeys)>,
    next: u64,
}

impl Cursors {
    /// Begins with this number, so that the cursors of a process that ran before mean nothing here.
    pub(crate) fn new(first: u64) -> Self {
        Self { open: Mutex::new(OpenCursors { by_id: HashMap::new(), next: first }) }
    }

    /// Takes an open scan out; one that two clients go on with is taken by the first.
    pub(crate) fn take(&self, id: u64) -> Option<StoreKeys> {
        self.open.lock().by_id.remove(&id).map(|(_, keys)| keys)
    }

    /// Keeps a scan for its next step, and returns the number of that step.
    pub(crate) fn keep(&self, keys: StoreKeys) -> u64 {
        let now = Instant::now();
        let mut open = self.open.lock();
        open.by_id.retain(|_, (used, _)| now.saturating_duration_since(*used) < CURSOR_IDLE_MAX);
        if open.by_id.len() >= CURSORS_MAX {
            let oldest = open.by_id.iter().min_by_key(|(_, (used, _))| *used).map(|(id, _)| *id);
            oldest.map(|id| open.by_id.remove(&id));
        }
        // Zero begins a scan, and ends it. Some clients keep cursors in signed numbers.
        let id = (open.next & (u64::MAX >> 1)).max(1);
        open.next = open.next.wrapping_add(1);
        open.by_id.insert(id, (now, keys));
        id
    }
}
