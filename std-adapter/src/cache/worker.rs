//! The threads that carry out maintenance: one for tasks, one at a time, and one that writes dirty values, which must not wait for a task
//! of minutes.

use core::convert::Infallible;
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::panic::catch_unwind;
use std::time::Instant;

use crossbeam_channel::{Receiver, never, select_biased};

use super::demote::Urgency;
use super::handle::UnifiedCacheHandle;
use super::maintenance::{
    MaintenanceConfig, MaintenanceDone, MaintenanceError, MaintenanceReply, MaintenanceReport,
    MaintenanceRequest, MaintenanceTask,
};
use super::schedule::{MaintenanceSchedule, Pressure};
use super::tiers::{CacheKey, CacheValue};
use crate::api::ColdTierHandle;
use crate::api::compaction::{CompactionConfig, CompactionSystem, CompactionTask, Report};
use crate::config::Durability;
use crate::pool::{CleanupKind, PoolCoordinator};

/// The deadline of a task that the worker begins by itself.
const OWN_TIMEOUT: Duration = Duration::from_secs(600);

/// Which work a thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MaintenanceRole {
    /// Requests, and all tasks that are due by themselves.
    Tasks,
    /// The writing of dirty values, and the sweep of the hot tier.
    WriteBack,
}

#[derive(Clone)]
pub(super) struct MaintenanceWorker<K, V> {
    pub(super) handle: UnifiedCacheHandle<K, V>,
    pub(super) cold: ColdTierHandle,
    pub(super) pools: PoolCoordinator,
    pub(super) requests: Receiver<MaintenanceRequest>,
    /// Disconnects when the cache is being closed.
    pub(super) stop: Receiver<Infallible>,
    pub(super) config: MaintenanceConfig,
    pub(super) dirty_age_max: Duration,
    /// The capacity of the pools.
    pub(super) pools_bytes: u64,
    pub(super) has_panicked: bool,
}

impl<K: CacheKey, V: CacheValue> MaintenanceWorker<K, V> {
    /// Works until it is stopped; tells whether code of a key or value panicked.
    pub(super) fn run(mut self, role: MaintenanceRole) -> bool {
        let now = Instant::now();
        let mut due = match role {
            MaintenanceRole::Tasks => MaintenanceSchedule::of_tasks(&self.config, now),
            MaintenanceRole::WriteBack => {
                MaintenanceSchedule::of_write_back(&self.config, self.dirty_age_max, now)
            }
        };
        let requests = match role {
            MaintenanceRole::Tasks => self.requests.clone(),
            MaintenanceRole::WriteBack => never(),
        };
        loop {
            let wait = due.next().saturating_duration_since(Instant::now());
            select_biased! {
                recv(self.stop) -> _ => return self.has_panicked,
                recv(requests) -> request => match request {
                    Ok(request) => self.serve(request),
                    Err(_) => return self.has_panicked,
                },
                default(wait) => self.tend(&mut due, role),
            }
        }
    }

    fn serve(&mut self, request: MaintenanceRequest) {
        let MaintenanceRequest { task, sent, deadline, reply } = request;
        let begun = Instant::now();
        let waited = begun.saturating_duration_since(sent);
        let outcome = if begun >= deadline {
            // Nobody waits for it any more; work that nobody asked for is not done.
            Err(MaintenanceError::TimedOut)
        } else {
            self.try_task(|worker| worker.carry_out(task, waited, begun, deadline))
        };
        // The requester may have given up.
        let _ = reply.try_send(outcome);
    }

    /// Runs what is due by interval or by pressure.
    fn tend(&mut self, due: &mut MaintenanceSchedule, role: MaintenanceRole) {
        if let Some(task) = due.take(Instant::now()) {
            let begun = Instant::now();
            let run = |worker: &Self| worker.carry_out(task, Duration::ZERO, begun, begun + OWN_TIMEOUT);
            let outcome = self.try_task(run);
            if let Err(error) = &outcome {
                tracing::warn!(%task, %error, "a task of maintenance failed");
            }
            if let Ok(MaintenanceReport { done: MaintenanceDone::Stats { cache, .. }, .. }) = &outcome {
                tracing::info!(stats = ?cache, "stats of the cache");
            }
            due.ended(task, outcome.is_ok_and(|report| report.has_freed()), Instant::now());
            return;
        }
        if due.checks(Instant::now()) {
            let sweep = |worker: &Self| Ok(worker.handle.enter(|tiers| tiers.settle_left())?);
            if role == MaintenanceRole::WriteBack
                && let Err(error) = self.try_task(sweep)
            {
                // A cache that is being closed needs no sweep.
                tracing::debug!(%error, "the hot tier was not swept");
            }
            due.press(self.pressure(), Instant::now());
        }
    }

    /// Runs a task, which calls code of keys and values. Its panic must not end the writing of all other values.
    fn try_task<R>(
        &mut self,
        run: impl FnOnce(&Self) -> Result<R, MaintenanceError>,
    ) -> Result<R, MaintenanceError> {
        // The tiers change nothing before such code has returned.
        catch_unwind(AssertUnwindSafe(|| run(self))).unwrap_or_else(|_| {
            self.has_panicked = true;
            Err(MaintenanceError::Panicked)
        })
    }

    fn pressure(&self) -> Pressure {
        let stats = self.handle.stats();
        let pools = self.pools.hot().stats().unwrap_or_default();
        let permille = |part: u64, whole: u64| {
            let share = u128::from(part) * 1000 / u128::from(whole.max(1));
            u16::try_from(share).unwrap_or(u16::MAX)
        };
        Pressure {
            stale_permille: permille(stats.cold.stale_bytes, stats.cold.capacity_bytes),
            fragmented_permille: pools.external_permille,
            has_pages: pools.committed_bytes > 0,
            dirty_permille: permille(stats.dirty_bytes, stats.dirty_bytes_max),
            changes: stats.cold.puts + stats.cold.removes + stats.cold.touches,
            charged_permille: permille(stats.cold.charged_bytes, stats.cold.charge_bytes_max),
            pool_permille: permille(pools.committed_bytes, self.pools_bytes),
            damaged_reads: stats.cold.damaged_reads,
            medium_failures: stats.cold.failures,
            turnover_permille: stats.cold.fresh_bytes.saturating_mul(1000) / stats.cold.capacity_bytes.max(1),
        }
    }

    fn carry_out(
        &self,
        task: MaintenanceTask,
        waited: Duration,
        begun: Instant,
        deadline: Instant,
    ) -> MaintenanceReply {
        let done = match task {
            MaintenanceTask::Compact { target_bytes } => self.compact(target_bytes, deadline)?,
            MaintenanceTask::RebuildIndex => self.pass(CompactionTask::RebuildIndex, deadline)?,
            MaintenanceTask::OptimizeCompression => {
                self.pass(CompactionTask::OptimizeCompression, deadline)?
            }
            MaintenanceTask::EvictExpired => {
                self.handle.enter(|tiers| tiers.settle_left())?;
                self.pass(CompactionTask::CleanupExpired, deadline)?
            }
            MaintenanceTask::Cleanup => {
                self.pools.cleanup(CleanupKind::EmergencyCleanup).map(MaintenanceDone::Pools)?
            }
            MaintenanceTask::Defragment => {
                self.pools.cleanup(CleanupKind::TriggerDefragmentation).map(MaintenanceDone::Pools)?
            }
            MaintenanceTask::Flush => {
                let values = self.handle.write_back(Duration::ZERO)?;
                self.handle.flush_to(Durability::Synced)?;
                MaintenanceDone::Written { values }
            }
            MaintenanceTask::WriteBack => {
                let values = self.handle.write_back_as(self.due_age(), Urgency::Background)?;
                MaintenanceDone::Written { values }
            }
            MaintenanceTask::Verify => self.verify(deadline),
            MaintenanceTask::Stats => MaintenanceDone::Stats {
                cache: Box::new(self.handle.stats()),
                pools: Box::new(self.pools.hot().stats()?),
            },
        };
        Ok(MaintenanceReport { task, waited, took: begun.elapsed(), done })
    }

    /// The age from which dirty values are written now: zero where there are too many.
    fn due_age(&self) -> Duration {
        let is_pressed = self.pressure().dirty_permille >= self.config.dirty_permille;
        if is_pressed { Duration::ZERO } else { self.dirty_age_max }
    }

    /// Runs a task of the log once, by a compaction system that lives as long as that. It starts no worker.
    fn run_log_task(&self, task: CompactionTask, deadline: Instant) -> Result<Report, MaintenanceError> {
        let mut system = CompactionSystem::new(CompactionConfig::default(), self.pools.clone());
        system.attach(self.cold);
        Ok(system.run_compaction(task, deadline.saturating_duration_since(Instant::now()))?)
    }

    fn pass(&self, task: CompactionTask, deadline: Instant) -> Result<MaintenanceDone, MaintenanceError> {
        let report = self.run_log_task(task, deadline)?;
        Ok(MaintenanceDone::Log {
            passes: 1,
            log_bytes_reclaimed: report.log_bytes_reclaimed,
            pool_bytes_reclaimed: report.pool.reclaimed_bytes(),
            report: Box::new(report),
        })
    }

    fn compact(&self, target_bytes: u64, deadline: Instant) -> Result<MaintenanceDone, MaintenanceError> {
        let (mut passes, mut log_bytes, mut pool_bytes) = (0, 0, 0);
        loop {
            let report = self.run_log_task(CompactionTask::CompactData, deadline)?;
            passes += 1;
            log_bytes += report.log_bytes_reclaimed;
            pool_bytes += report.pool.reclaimed_bytes();
            if report.log_bytes_reclaimed == 0 || log_bytes >= target_bytes || Instant::now() >= deadline {
                return Ok(MaintenanceDone::Log {
                    passes,
                    log_bytes_reclaimed: log_bytes,
                    pool_bytes_reclaimed: pool_bytes,
                    report: Box::new(report),
                });
            }
        }
    }

    fn verify(&self, deadline: Instant) -> MaintenanceDone {
        let (mut values, mut bytes, mut damaged, mut first, mut is_partial) = (0, 0, 0, None, false);
        // The bytes of the log, past the tiers in memory.
        for entry in self.cold.entries() {
            match entry {
                Ok((key, value)) => {
                    values += 1;
                    bytes += (key.len() + value.len()) as u64;
                }
                Err(error) => {
                    damaged += 1;
                    first = first.or(Some(error.into()));
                }
            }
            is_partial = Instant::now() >= deadline || self.is_stopped();
            if is_partial {
                break;
            }
        }
        MaintenanceDone::Verified { values, bytes, damaged, first, is_partial }
    }

    fn is_stopped(&self) -> bool {
        self.stop.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected)
    }
}
