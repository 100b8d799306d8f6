//! A tier, its store and its continuous archive, in virtual time.

use core::time::Duration;

use coldpress_std::ColdTier;
use coldpress_std::archive::{self, ArchiveError, ContinuousArchive, ContinuousOptions, RestorePoint};

use crate::common::{Doubtful, block_on, open, prefix};
use crate::virtual_time::VirtualTimer;

pub(crate) const EVERY: Duration = Duration::from_secs(60);
const LATENCY: Duration = Duration::from_millis(1500);

/// A tier, its store and its continuous archive, all in virtual time.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) tier: ColdTier,
    pub(crate) timer: &'static VirtualTimer,
    pub(crate) store: &'static Doubtful,
    pub(crate) archive: &'static ContinuousArchive,
    pub(crate) options: ContinuousOptions,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let timer = VirtualTimer::leak();
        let tier = open(dir.path(), "t");
        Self {
            tier,
            dir,
            timer,
            store: Box::leak(Box::new(Doubtful::with_latency(timer, LATENCY))),
            archive: Box::leak(Box::new(ContinuousArchive::with_timer(timer))),
            options: ContinuousOptions::default(),
        }
    }

    /// Runs until it is stopped.
    pub(crate) fn run(&self) -> Result<(), ArchiveError> {
        let handle = self.tier.handle();
        self.timer.run(self.archive.run(&handle, self.store, &prefix(), self.options))
    }

    pub(crate) fn restore(&self) -> ColdTier {
        let dir = self.dir.path().join("r");
        let _ = std::fs::remove_dir_all(&dir);
        block_on(archive::restore(&self.store.inner, &prefix(), &dir, RestorePoint::Newest)).unwrap();
        open(self.dir.path(), "r")
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        let list = block_on(archive::list(&self.store.inner, &prefix())).unwrap();
        list.backups.iter().map(|listed| listed.number).collect()
    }
}
