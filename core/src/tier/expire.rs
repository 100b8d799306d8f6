//! `CleanupExpired`: drops what is due, record by record, in the order in which the host finds it.

use super::config::Stream;
use super::log::Log;
use super::task::{Step, Task};
use super::{AppendError, Dropped, Due, Host, Look, Poll, Released, Standing};
use crate::log::Identity;

/// The state of the task: an idle record whose tombstone waits for room.
#[derive(Debug, Default)]
pub(super) struct Expire {
    waiting: Option<Due>,
}

/// Due records that one poll drops.
const DUE_PER_POLL: u32 = 256;

impl Expire {
    /// Takes a step. Bounds: [`DUE_PER_POLL`] due records, and one look of the host that finds none.
    pub(super) fn step<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H, task: &mut Task) -> Step {
        for _ in 0..DUE_PER_POLL {
            if task.is_cancelled {
                return Step::Retire;
            }
            let look = self.waiting.take().map_or_else(|| host.due(log.clock.now_s), Look::Due);
            let due = match look {
                Look::Due(due) => due,
                Look::More => return Step::Stay(Poll::Again),
                Look::End => {
                    log.flush();
                    return Step::Retire;
                }
            };
            match self.drop_record(log, host, task, due) {
                Ok(()) => {}
                Err(AppendError::Exhausted) => {
                    task.is_deferred = true;
                    log.flush();
                    return Step::Retire;
                }
                Err(_) => {
                    self.waiting = Some(due);
                    log.flush();
                    return Step::Stay(Poll::Idle);
                }
            }
        }
        Step::Stay(Poll::Again)
    }

    fn drop_record<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        task: &mut Task,
        due: Due,
    ) -> Result<(), AppendError> {
        if let Some(version) = due.idle_version
            && log.geometry.identity() == Identity::KeyedHash
        {
            if host.standing(&due.hash, due.location) == Standing::Live {
                let from = Released { location: due.location, record_bytes: due.record_bytes };
                let stone =
                    super::tombstone(log.seed, due.hash, &due.hash.0, log.origin(version), Some(from));
                log.append_relocated(Stream::Old, &stone)?;
                task.report.expired_records += 1;
            }
            task.count_checked();
            return Ok(());
        }
        task.count_checked();
        log.clock.is_owed = true;
        match host.drop_current(&due.hash, due.location) {
            Dropped::Now => {
                task.report.expired_records += 1;
                log.release(&Released { location: due.location, record_bytes: due.record_bytes });
            }
            // With other copies on the medium it stands in for its own tombstone until they are gone.
            Dropped::NeedsTombstone => task.report.expired_records += 1,
            Dropped::NotCurrent => {}
        }
        Ok(())
    }
}
