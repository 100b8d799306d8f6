//! The engines that one part of a machine's life needs.

use crate::compaction::Reclaimer;
use crate::recovery::{Mount, MountReport, Restore};

/// The engine that mounts, or those that free segments and look at them again from then on: they share memory.
#[derive(Debug)]
pub(super) enum Phase {
    Mounting(Mount),
    Mounted { report: MountReport, reclaim: Reclaimer, restore: Restore },
}

impl Phase {
    pub(super) fn new() -> Self {
        Self::Mounting(Mount::new())
    }

    /// The engine that frees segments, once the mount is over.
    pub(super) const fn reclaim(&mut self) -> Option<&mut Reclaimer> {
        match self {
            Self::Mounting(_) => None,
            Self::Mounted { reclaim, .. } => Some(reclaim),
        }
    }

    /// The findings of the mount.
    pub(super) fn report(&self) -> MountReport {
        match self {
            Self::Mounting(mount) => mount.report(),
            Self::Mounted { report, .. } => *report,
        }
    }
}
