//! Drops records that are due (expired, or idle for too long), in the order in which the host finds them: for `CleanupExpired`,
//! and where space is wanted.

use super::task::{Step, Task};
use crate::config::Stream;
use crate::drive::Poll;
use crate::format::Identity;
use crate::index::{Dropped, Due, Host, Liveness, Look, Released};
use crate::writer::{AppendError, Log};

/// A pass over due records; it holds the record whose tombstone waits for space.
#[derive(Debug, Default)]
pub(crate) struct Expire {
    waiting: Option<Due>,
}

/// Due records that one poll drops.
const DUE_PER_POLL: u32 = 256;

/// Counts of a pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Passed {
    pub(crate) checked_records: u32,
    pub(crate) expired_records: u32,
    /// Bytes by which live records became fewer.
    pub(crate) bytes: u64,
}

/// How a pass goes on after a step.
pub(crate) enum Dropping {
    /// There may be more.
    More(Poll),
    /// No record is due any more.
    End,
    /// There never will be space for a tombstone.
    NoSpace,
}

impl Expire {
    /// Takes a step of `CleanupExpired`. Bounds: as [`drop_due`](Self::drop_due).
    pub(crate) fn step<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H, task: &mut Task) -> Step {
        if task.is_cancelled {
            return Step::Reclaim;
        }
        let mut passed = Passed::default();
        let dropping = self.drop_due(log, host, &mut passed, false);
        task.count_checked(passed.checked_records);
        task.report.expired_records += passed.expired_records;
        match dropping {
            Dropping::More(poll) => Step::Stay(poll),
            Dropping::End => Step::Reclaim,
            Dropping::NoSpace => {
                task.is_deferred = true;
                Step::Reclaim
            }
        }
    }

    /// Drops due records. A value with other copies on the medium serves as its own tombstone until they are gone. Where
    /// `wants_space`, it gets a tombstone of its own that is shorter.
    ///
    /// # Bounds
    /// [`DUE_PER_POLL`] due records, and one look of the host that finds none.
    pub(crate) fn drop_due<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        passed: &mut Passed,
        wants_space: bool,
    ) -> Dropping {
        for _ in 0..DUE_PER_POLL {
            let look =
                self.waiting.take().map_or_else(|| host.due(log.durability.clock().now_s()), Look::Due);
            let due = match look {
                Look::Due(due) => due,
                Look::More => return Dropping::More(Poll::Again),
                Look::End => {
                    log.flush();
                    return Dropping::End;
                }
            };
            match Self::drop_record(log, host, passed, due, wants_space) {
                Ok(()) => passed.checked_records += 1,
                Err(AppendError::Exhausted) => {
                    log.flush();
                    return Dropping::NoSpace;
                }
                Err(_) => {
                    self.waiting = Some(due);
                    log.flush();
                    return Dropping::More(Poll::Idle);
                }
            }
        }
        Dropping::More(Poll::Again)
    }

    fn drop_record<H: Host>(
        log: &mut Log<'_>,
        host: &mut H,
        passed: &mut Passed,
        due: Due,
        wants_space: bool,
    ) -> Result<(), AppendError> {
        let from = Released { location: due.location, record_bytes: due.record_bytes };
        let version = due.version.filter(|_| log.layout.geometry().identity() == Identity::KeyedHash);
        if let Some(version) = version.filter(|_| due.is_idle) {
            if host.liveness(&due.hash, due.location) == Liveness::Live {
                passed.bytes += Self::append_tombstone(log, &due, version)?;
                passed.expired_records += 1;
            }
            return Ok(());
        }
        log.durability.owe_time();
        match host.drop_current(&due.hash, due.location) {
            Dropped::Now => {
                passed.expired_records += 1;
                passed.bytes += u64::from(due.record_bytes);
                log.release(&from);
            }
            Dropped::NeedsTombstone => {
                if let Some(version) = version.filter(|_| wants_space) {
                    passed.bytes += Self::append_tombstone(log, &due, version)?;
                }
                passed.expired_records += 1;
            }
            Dropped::NotCurrent => {}
        }
        Ok(())
    }

    /// Returns by how many bytes the tombstone is shorter than the record whose place it takes.
    fn append_tombstone(
        log: &mut Log<'_>,
        due: &Due,
        version: crate::format::Version,
    ) -> Result<u64, AppendError> {
        let from = Released { location: due.location, record_bytes: due.record_bytes };
        let stone = crate::writer::tombstone(
            log.layout.seed(),
            due.hash,
            &due.hash.0,
            log.origin(version),
            Some(from),
        );
        log.append_relocated(Stream::Old, &stone)?;
        let bytes = stone.header.record_bytes(log.layout.geometry());
        Ok(u64::from(due.record_bytes.saturating_sub(bytes)))
    }
}
