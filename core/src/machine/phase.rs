//! The engines that one part of a machine's life needs.

use crate::compaction::{Reclaimer, Tasks};
use crate::drive::{Now, Poll};
use crate::index::Host;
use crate::recovery::{Mount, MountReport, Restore};
use crate::writer::Log;

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

    /// Polls the engine that frees segments, once the mount is over.
    pub(super) fn poll_reclaim<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H) -> Poll {
        let Self::Mounted { reclaim, restore, .. } = self else { return Poll::Idle };
        reclaim.poll(now, log, host, restore)
    }

    /// Polls the tasks, which use the engine of the second look, once the mount is over.
    pub(super) fn poll_tasks<H: Host>(
        &mut self,
        now: Now,
        tasks: &mut Tasks<'_>,
        log: &mut Log<'_>,
        host: &mut H,
    ) -> Poll {
        let Self::Mounted { restore, .. } = self else { return Poll::Idle };
        tasks.poll(now, log, host, restore)
    }

    /// The findings of the mount.
    pub(super) fn report(&self) -> MountReport {
        match self {
            Self::Mounting(mount) => mount.report(),
            Self::Mounted { report, .. } => *report,
        }
    }
}
