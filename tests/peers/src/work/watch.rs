//! Watches a store while clients call it: does it compact, and how much disk does it take?

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::path::Path;
use std::thread;
use std::time::Instant;

use crate::measure::TICK;
use crate::process::disk_bytes;
use crate::stores::{Fault, Store};

pub(super) struct Watch<'a> {
    store: &'a dyn Store,
    dir: &'a Path,
}

/// The findings.
pub(super) struct Watched {
    /// When the work ended. The last look may end later.
    pub(super) ended: Instant,
    /// Whether the store compacted, for each tick.
    pub(super) compacts: Vec<Option<bool>>,
    /// The most bytes of disk.
    pub(super) disk_bytes_peak: u64,
}

impl Watched {
    /// The findings of nobody, at the end of the work.
    pub(super) fn none() -> Self {
        Self { ended: Instant::now(), compacts: Vec::new(), disk_bytes_peak: 0 }
    }
}

impl<'a> Watch<'a> {
    pub(super) const fn new(store: &'a dyn Store, dir: &'a Path) -> Self {
        Self { store, dir }
    }

    /// Watches while `work` runs.
    pub(super) fn during<R>(&self, work: impl FnOnce() -> Result<R, Fault>) -> Result<(R, Watched), Fault> {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let watching = scope.spawn(|| self.watch(&is_over));
            let result = work();
            let ended = Instant::now();
            is_over.store(true, Relaxed);
            // Else the next step of the measurement would begin up to a tick late.
            watching.thread().unpark();
            let watched = watching.join().map_err(|_| "the thread that watches the store has panicked")?;
            Ok((result?, Watched { ended, ..watched? }))
        })
    }

    fn watch(&self, is_over: &AtomicBool) -> Result<Watched, Fault> {
        let begun = Instant::now();
        let mut watched = Watched::none();
        while !is_over.load(Relaxed) {
            let at = (begun.elapsed().as_nanos() / TICK.as_nanos()) as usize;
            // A look that comes late stands for the ticks before it, too.
            let compacts = self.store.has_compacted();
            watched.compacts.resize((at + 1).max(watched.compacts.len()), compacts);
            watched.disk_bytes_peak = watched.disk_bytes_peak.max(disk_bytes(self.dir)?);
            thread::park_timeout(TICK);
        }
        Ok(watched)
    }
}
