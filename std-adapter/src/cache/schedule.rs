//! When maintenance is due by itself: a table of tasks, each with its interval, its pressure and its back-off.

use core::time::Duration;
use std::time::Instant;

use super::maintenance::{MaintenanceConfig, MaintenanceTask};

/// A pass that frees nothing doubles the wait, so many times at most.
const BACKOFFS_MAX: u32 = 6;

/// The measured state of the tiers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pressure {
    /// The stale share of the log's capacity.
    pub(super) stale_permille: u16,
    /// The share of the pools' pages that no slot takes.
    pub(super) fragmented_permille: u16,
    /// Whether the pools have any page.
    pub(super) has_pages: bool,
    /// The share of the limit on dirty bytes that is taken.
    pub(super) dirty_permille: u16,
    /// Writes so far: while they stand still, a pass that freed nothing would free nothing again.
    pub(super) changes: u64,
    /// Charged bytes of the log's most.
    pub(super) charged_permille: u16,
    /// Bytes of pages of the pools' capacity.
    pub(super) pool_permille: u16,
    /// Reads that met a damaged record, so far.
    pub(super) damaged_reads: u64,
    /// Operations of the medium that failed, so far.
    pub(super) medium_failures: u64,
    /// Bytes of fresh records written so far, in permille of the log's capacity.
    pub(super) turnover_permille: u64,
}

impl Pressure {
    /// Tells whether this state, which followed `before`, asks for a task.
    fn asks_for(&self, task: MaintenanceTask, before: &Self, config: &MaintenanceConfig) -> bool {
        match task {
            MaintenanceTask::Compact { .. } => self.stale_permille >= config.stale_permille,
            MaintenanceTask::Defragment => {
                self.has_pages && self.fragmented_permille >= config.fragmented_permille
            }
            MaintenanceTask::WriteBack => self.dirty_permille >= config.dirty_permille,
            MaintenanceTask::Cleanup => self.pool_permille >= config.pool_permille,
            MaintenanceTask::EvictExpired => self.charged_permille >= config.charged_permille,
            MaintenanceTask::RebuildIndex => self.damaged_reads > before.damaged_reads,
            MaintenanceTask::Verify => self.medium_failures > before.medium_failures,
            // The log holds other values by now than those that its codec was chosen for.
            MaintenanceTask::OptimizeCompression => {
                let turns = |pressure: &Self| pressure.turnover_permille / config.turnover_permille.max(1);
                turns(self) > turns(before)
            }
            MaintenanceTask::Flush | MaintenanceTask::Stats => false,
        }
    }
}

#[derive(Debug)]
struct ScheduledUpkeep {
    task: MaintenanceTask,
    every: Option<Duration>,
    next: Option<Instant>,
    /// Passes in a row that freed nothing.
    idle: u32,
}

/// The schedule of a cache's maintenance. It is a function of the times and pressures that it is given.
#[derive(Debug)]
pub(super) struct MaintenanceSchedule {
    config: MaintenanceConfig,
    tasks: Vec<ScheduledUpkeep>,
    next_check: Instant,
    /// The pressure that was measured last.
    last: Option<Pressure>,
}

impl MaintenanceSchedule {
    /// The schedule of all tasks but the writing of dirty values.
    pub(super) fn of_tasks(config: &MaintenanceConfig, now: Instant) -> Self {
        let mut intervals = config.intervals().to_vec();
        intervals.push((MaintenanceTask::Verify, config.verify_every));
        intervals.push((MaintenanceTask::Stats, config.stats_every));
        Self::new(config, intervals, now)
    }

    /// The schedule of the writing of dirty values, which must not wait for other tasks.
    pub(super) fn of_write_back(config: &MaintenanceConfig, dirty_age_max: Duration, now: Instant) -> Self {
        Self::new(config, vec![(MaintenanceTask::WriteBack, Some(dirty_age_max))], now)
    }

    fn new(
        config: &MaintenanceConfig,
        intervals: Vec<(MaintenanceTask, Option<Duration>)>,
        now: Instant,
    ) -> Self {
        let tasks = intervals
            .into_iter()
            .map(|(task, every)| ScheduledUpkeep {
                task,
                every,
                next: every.map(|every| now + every),
                idle: 0,
            })
            .collect();
        Self { config: *config, tasks, next_check: now + config.check_every, last: None }
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Instant {
        self.tasks
            .iter()
            .filter_map(|task| task.next)
            .min()
            .map_or(self.next_check, |next| next.min(self.next_check))
    }

    /// Takes the first task that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<MaintenanceTask> {
        let due = self.tasks.iter_mut().find(|task| task.next.is_some_and(|next| next <= now))?;
        due.next = None;
        Some(due.task)
    }

    /// Notes the end of a task: it is due again after its interval, longer where it freed nothing.
    pub(super) fn ended(&mut self, task: MaintenanceTask, has_freed: bool, now: Instant) {
        let Some(due) = self.tasks.iter_mut().find(|due| due.task == task) else { return };
        let backs_off = matches!(
            task,
            MaintenanceTask::Compact { .. }
                | MaintenanceTask::Defragment
                | MaintenanceTask::Cleanup
                | MaintenanceTask::EvictExpired
        );
        due.idle = if has_freed || !backs_off { 0 } else { (due.idle + 1).min(BACKOFFS_MAX) };
        due.next = due.every.map(|every| now + every * (1 << due.idle));
    }

    /// Tells whether pressure is to be measured now.
    pub(super) fn checks(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next_check;
        if is_due {
            self.next_check = now + self.config.check_every;
        }
        is_due
    }

    /// Makes tasks due at once that the pressure asks for. One that freed nothing waits, longer each time, until the log changed.
    pub(super) fn press(&mut self, pressure: Pressure, now: Instant) {
        // The counts of the first look are of before this schedule.
        let before = self.last.replace(pressure).unwrap_or(pressure);
        let has_changed = before.changes != pressure.changes;
        let config = self.config;
        for due in &mut self.tasks {
            if !pressure.asks_for(due.task, &before, &config) {
                continue;
            }
            if has_changed
                && matches!(due.task, MaintenanceTask::Compact { .. } | MaintenanceTask::EvictExpired)
            {
                due.idle = 0;
            }
            let wait = if due.idle == 0 { Duration::ZERO } else { config.check_every * (1 << due.idle) };
            let soon = now + wait;
            // One that waits already is not put off.
            due.next = Some(due.next.map_or(soon, |next| next.min(soon)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const COMPACT: MaintenanceTask = MaintenanceTask::Compact { target_bytes: 0 };

    fn due(config: MaintenanceConfig, now: Instant) -> MaintenanceSchedule {
        MaintenanceSchedule::of_tasks(&config, now)
    }

    fn write_back(now: Instant) -> MaintenanceSchedule {
        MaintenanceSchedule::of_write_back(&MaintenanceConfig::default(), 30 * SECOND, now)
    }

    #[test]
    fn task_is_due_after_its_interval_and_again_after_it_ended() {
        let now = Instant::now();
        let config = MaintenanceConfig { flush_every: Some(10 * SECOND), ..MaintenanceConfig::default() };
        let mut due = due(config, now);
        assert_eq!(due.next(), now + SECOND, "the first check");
        assert_eq!(due.take(now + 9 * SECOND), None);
        assert_eq!(due.take(now + 10 * SECOND), Some(MaintenanceTask::Flush));
        assert_eq!(due.take(now + 20 * SECOND), None, "it has not ended");
        due.ended(MaintenanceTask::Flush, false, now + 21 * SECOND);
        assert_eq!(due.take(now + 30 * SECOND), None);
        assert_eq!(write_back(now).take(now + 30 * SECOND), Some(MaintenanceTask::WriteBack));
        assert_eq!(due.take(now + 31 * SECOND), Some(MaintenanceTask::Flush));
    }

    #[test]
    fn pass_that_frees_nothing_backs_off_until_one_frees() {
        let now = Instant::now();
        let config = MaintenanceConfig { compact_every: Some(SECOND), ..MaintenanceConfig::default() };
        let mut due = due(config, now);
        let mut at = now;
        for doublings in [0, 1, 2, 3, 4, 5, 6, 6, 6] {
            at += SECOND * (1 << doublings);
            assert_eq!(due.take(at - Duration::from_millis(1)), None);
            assert_eq!(due.take(at), Some(COMPACT), "after {doublings}");
            due.ended(COMPACT, false, at);
            // Others that came due meanwhile.
            due.tasks.iter_mut().filter(|task| task.task != COMPACT).for_each(|task| task.next = None);
        }
        at += SECOND * 64;
        assert_eq!(due.take(at), Some(COMPACT));
        due.ended(COMPACT, true, at);
        assert_eq!(due.take(at + SECOND), Some(COMPACT));
    }

    #[test]
    fn pressure_makes_its_task_due_and_waits_after_one_in_vain() {
        let now = Instant::now();
        let mut due = due(MaintenanceConfig::default(), now);
        let pressure = |stale_permille, changes| Pressure { stale_permille, changes, ..Pressure::default() };
        due.press(pressure(0, 1), now);
        due.press(pressure(499, 1), now);
        assert_eq!(due.take(now), None);
        due.press(pressure(500, 2), now);
        assert_eq!(due.take(now), Some(COMPACT));
        due.ended(COMPACT, false, now);
        due.press(pressure(500, 2), now);
        assert_eq!(due.take(now), None, "nothing has changed since");
        assert_eq!(due.take(now + 2 * SECOND), Some(COMPACT));
        due.ended(COMPACT, false, now);
        due.press(pressure(500, 3), now);
        assert_eq!(due.take(now), Some(COMPACT), "a client wrote");
        due.ended(COMPACT, true, now);
        let full =
            Pressure { dirty_permille: 500, fragmented_permille: 300, has_pages: true, ..pressure(0, 3) };
        due.press(full, now);
        assert_eq!(due.take(now), Some(MaintenanceTask::Defragment));
        assert_eq!(due.take(now), None);
    }

    #[test]
    fn every_pressure_makes_its_own_task_due() {
        let now = Instant::now();
        let calm = Pressure { turnover_permille: 999, ..Pressure::default() };
        let table = [
            (COMPACT, Pressure { stale_permille: 500, ..calm }),
            (MaintenanceTask::WriteBack, Pressure { dirty_permille: 500, ..calm }),
            (MaintenanceTask::Cleanup, Pressure { pool_permille: 980, ..calm }),
            (MaintenanceTask::EvictExpired, Pressure { charged_permille: 900, ..calm }),
            (MaintenanceTask::RebuildIndex, Pressure { damaged_reads: 1, ..calm }),
            (MaintenanceTask::Verify, Pressure { medium_failures: 1, ..calm }),
            (MaintenanceTask::OptimizeCompression, Pressure { turnover_permille: 1_000, ..calm }),
            (MaintenanceTask::Defragment, Pressure { fragmented_permille: 300, has_pages: true, ..calm }),
        ];
        for (task, pressed) in table {
            let is_writing = task == MaintenanceTask::WriteBack;
            let mut due = if is_writing { write_back(now) } else { due(MaintenanceConfig::default(), now) };
            due.press(calm, now);
            assert_eq!(due.take(now), None);
            due.press(pressed, now);
            assert_eq!((due.take(now), due.take(now)), (Some(task), None));
        }
    }
}
