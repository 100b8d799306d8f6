//! The replay itself: drive, maintain, check, close, reopen, check again.

use core::fmt;
use core::time::Duration;
use std::thread;
use std::time::Instant;

use crate::check::Counts;
use crate::drive::{DriveError, Driven, Progress, drive, purge, verify};
use crate::figures::{Figures, Snapshot};
use crate::model::Clock;
use crate::plan::Plan;
use crate::store::{DiskLooks, Handle, Opener, Store, StoreError, StoreFigures, Task, TaskReport};

/// Follows the progress of a replay.
pub trait Watch {
    /// A phase begins; each phase has its own unit for the total.
    fn phase(&mut self, name: &str, total: u64);

    /// So many of the total are done.
    fn at(&mut self, done: u64);

    /// The phase is over.
    fn end(&mut self);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn phase(&mut self, _name: &str, _total: u64) {}
    fn at(&mut self, _done: u64) {}
    fn end(&mut self) {}
}

/// The results of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// The figures for a program to read.
    pub figures: Figures,
    /// The counts while the requests ran.
    pub counts: Counts,
    /// The counts of the check before closing, which are part of the figure for mismatches.
    pub checked: Counts,
    /// The counts of the check after reopening.
    pub rechecked: Counts,
    /// Calls that fell idle and compacting: puts, gets.
    pub calls: [(u64, u64); 2],
    /// The tasks that were run, with their outcomes.
    pub tasks: Vec<TaskReport>,
    /// Time that the requests took.
    pub driven_ms: u64,
    /// Keys that were removed after the requests.
    pub purged: u64,
    /// Segments and pages when the requests were done and those keys removed.
    pub before: Snapshot,
    /// Segments and pages after defragmentation and compaction.
    pub after: Snapshot,
    /// Bytes that the defragmentation gave back.
    pub defragmented_bytes: u64,
}

impl Replayed {
    /// Says whether a task failed.
    #[must_use]
    pub fn has_failed_tasks(&self) -> bool {
        self.tasks.iter().any(|report| report.is_failed)
    }
}

/// Why a replay ended without figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayError {
    /// The phase.
    pub phase: &'static str,
    /// The error.
    pub error: DriveError,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "while {}: {}", self.phase, self.error)
    }
}

impl core::error::Error for ReplayError {}

/// Names the phase in which something went wrong.
fn during<E: Into<DriveError>>(phase: &'static str) -> impl FnOnce(E) -> ReplayError {
    move |error| ReplayError { phase, error: error.into() }
}

/// Carries out a plan on a store.
///
/// # Errors
///
/// [`ReplayError`] where the store or the trace fails. Wrong answers and tasks that fail are no errors: they are
/// counted and reported.
pub fn replay<O: Opener>(plan: &Plan, opener: &O, watch: &mut dyn Watch) -> Result<Replayed, ReplayError> {
    let clock = Clock::start();
    let store = opener.open().map_err(during("opening"))?;
    let (mut driven, mut upkeep, disk) = driven(plan, opener, store.handle(), clock, watch)?;
    let driven_ms = clock.now_ms();
    // Writes on their way would count as memory of the index.
    store.flush().map_err(during("flushing"))?;
    let at_end = store.handle().figures();
    let purged = purge(store.handle(), &mut driven.models, plan.purge_permille).map_err(during("purging"))?;

    watch.phase("defragmenting, compacting", 1);
    let tended = Tended::tend(&store, &mut upkeep.tasks);
    watch.end();
    let checked = checked("checking", plan, store.handle(), clock, &driven, watch)?;
    let last = store.handle().figures();
    store.flush().map_err(during("flushing"))?;
    store.close().map_err(during("closing"))?;

    watch.phase("reopening", 1);
    let opening = Instant::now();
    let store = opener.open().map_err(during("reopening"))?;
    let recovery_ms = u64::try_from(opening.elapsed().as_millis()).unwrap_or(u64::MAX);
    watch.end();
    let recovered = store.handle().figures();
    let rechecked = self::checked("checking what was reopened", plan, store.handle(), clock, &driven, watch)?;
    store.close().map_err(during("closing again"))?;

    let mut figures = counted(&driven, &last, &at_end);
    figures.mismatches += checked.mismatches;
    figures.peak_bytes = figures.peak_bytes.max(recovered.peak_bytes);
    figures.fragmentation_before = f64::from(tended.before.fragmentation_permille) / 1000.0;
    figures.fragmentation_after = f64::from(tended.after.fragmentation_permille) / 1000.0;
    figures.emergency_bytes = tended.emergency_bytes;
    figures.recovered_records = recovered.recovered_records;
    figures.recovery_ms = recovery_ms;
    figures.reopen_mismatches = rechecked.mismatches;
    figures.elapsed_ms = clock.now_ms();
    figures.write_amplification_late = upkeep.half.and_then(|half| amplification(half, at_end));
    figures.written_per_byte_put_late = upkeep.half.and_then(|half| written_per_byte_put(half, at_end));
    figures.disk_looks = disk.looks;
    figures.disk_looks_above = disk.above;
    figures.disk_peak_bytes = disk.peak_bytes;
    Ok(Replayed {
        figures,
        calls: [driven.puts.counts(), driven.gets.counts()],
        counts: driven.counts,
        checked,
        rechecked,
        tasks: upkeep.tasks,
        driven_ms,
        purged,
        before: tended.before,
        after: tended.after,
        defragmented_bytes: tended.defragmented_bytes,
    })
}

/// Fills in the figures of the requests and the first opening.
fn counted(driven: &Driven, last: &StoreFigures, at_end: &StoreFigures) -> Figures {
    Figures {
        requests: driven.counts.requests,
        puts: driven.counts.puts,
        gets: driven.counts.gets,
        hits: driven.counts.hits,
        mismatches: driven.counts.mismatches,
        bytes_put: last.bytes_put,
        bytes_encoded: last.bytes_encoded,
        bytes_written: last.bytes_written,
        write_amplification: share(last.bytes_written, last.bytes_encoded),
        capacity_bytes: last.capacity_bytes,
        peak_bytes: last.peak_bytes,
        live_share: share(at_end.live_bytes, at_end.capacity_bytes),
        compactions: last.compactions,
        log_bytes_reclaimed: last.log_bytes_reclaimed,
        pool_bytes_reclaimed: last.pool_bytes_reclaimed,
        // Before the purge: the maps of the index keep their places for a while after that.
        index_bytes_per_key: share(at_end.index_bytes, at_end.keys),
        put_us: driven.puts.figures(),
        get_us: driven.gets.figures(),
        ..Figures::default()
    }
}

/// The upkeep of the store after the requests.
struct Tended {
    before: Snapshot,
    after: Snapshot,
    defragmented_bytes: u64,
    emergency_bytes: u64,
}

impl Tended {
    /// Defragments the pools, compacts the log, looks for a better codec, cleans the pools up.
    ///
    /// The defragmentation comes first, since a compaction asks for one too and would leave nothing to see. The
    /// codecs come last, since their choice changes how records are written.
    fn tend<S: Store>(store: &S, tasks: &mut Vec<TaskReport>) -> Self {
        let before = Snapshot::take(store);
        let defragmented_bytes = asked("defragmentation", tasks, || store.defragment());
        let defragmented = Snapshot::take(store);
        for task in [Task::CompactData, Task::OptimizeCompression] {
            tasks.push(reported(store.handle(), task));
        }
        let after = Snapshot { segments: store.segments(), ..defragmented };
        let emergency_bytes = asked("emergency cleanup", tasks, || store.clean_up());
        Self { before, after, defragmented_bytes, emergency_bytes }
    }
}

/// Runs a task; one that fails is reported, so that it does not cost the figures of the run.
fn reported<H: Handle>(handle: H, task: Task) -> TaskReport {
    let started = Instant::now();
    handle.run(task).unwrap_or_else(|error| TaskReport::failed(task.name(), started.elapsed(), &error))
}

/// Asks the pools for something; a refusal is reported and counts as nothing returned.
fn asked(
    name: &'static str,
    tasks: &mut Vec<TaskReport>,
    ask: impl FnOnce() -> Result<u64, StoreError>,
) -> u64 {
    let started = Instant::now();
    ask().unwrap_or_else(|error| {
        tasks.push(TaskReport::failed(name, started.elapsed(), &error));
        0
    })
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn amplification(from: StoreFigures, to: StoreFigures) -> Option<f64> {
    let encoded = to.bytes_encoded.saturating_sub(from.bytes_encoded);
    let written = to.bytes_written.saturating_sub(from.bytes_written);
    (encoded > 1 << 20).then(|| share(written, encoded))
}

fn written_per_byte_put(from: StoreFigures, to: StoreFigures) -> Option<f64> {
    let put = to.bytes_put.saturating_sub(from.bytes_put);
    (put > 1 << 20).then(|| share(to.bytes_written.saturating_sub(from.bytes_written), put))
}

/// The work beside the requests while they run.
#[derive(Debug, Default)]
struct Upkeep {
    tasks: Vec<TaskReport>,
    half: Option<StoreFigures>,
}

/// Bytes of the disk that a tier may have beside its log: metadata, lock, and blocks in which the filesystem notes where
/// others lie.
const BESIDE_LOG_BYTES: u64 = 64 << 10;

/// How often the watcher and the upkeep look how far the requests are.
const LOOK: Duration = Duration::from_millis(50);

fn driven<H: Handle>(
    plan: &Plan,
    opener: &impl Opener,
    handle: H,
    clock: Clock,
    watch: &mut dyn Watch,
) -> Result<(Driven, Upkeep, DiskLooks), ReplayError> {
    let mut disk = DiskLooks::default();
    let limit = handle.figures().capacity_bytes + BESIDE_LOG_BYTES;
    let progress = Progress::default();
    let total = plan.requests;
    watch.phase("requests", 1000);
    // The run ends by requests or by time, whichever is nearer its end.
    let permille = || {
        let by_requests = progress.done().saturating_mul(1000).checked_div(total).unwrap_or(1000);
        let by_time = plan.job.time_max.map_or(0, |max| {
            u64::try_from(clock.elapsed().as_millis() * 1000 / max.as_millis().max(1)).unwrap_or(1000)
        });
        by_requests.max(by_time).min(1000)
    };
    let (driven, upkeep) = thread::scope(|scope| {
        let driver = scope.spawn(|| {
            let driven = drive(&plan.job, handle, clock, &progress);
            progress.end();
            driven
        });
        let keeper = scope.spawn(|| keep_up(handle, &progress, &permille));
        while !driver.is_finished() {
            watch.at(permille());
            if let Some(bytes) = opener.disk_bytes() {
                disk.note(bytes, limit);
            }
            thread::sleep(LOOK);
        }
        (driver.join(), keeper.join())
    });
    watch.end();
    let died = |_| DriveError::Store(StoreError::Failed("a thread of the replay died".to_owned()));
    let driven = driven.map_err(died).and_then(|driven| driven).map_err(during("replaying requests"))?;
    Ok((driven, upkeep.map_err(died).map_err(during("running a task"))?, disk))
}

/// Runs the tasks that do not wait for the end of the requests. Each runs at its part of the way or, where the requests were
/// faster, after them.
fn keep_up<H: Handle>(handle: H, progress: &Progress, permille: &(dyn Fn() -> u64 + Sync)) -> Upkeep {
    let mut upkeep = Upkeep::default();
    let wait_for = |part: u64| {
        while permille() < part && !progress.is_over() {
            thread::sleep(LOOK);
        }
    };
    wait_for(400);
    upkeep.tasks.push(reported(handle, Task::RebuildIndex));
    wait_for(500);
    upkeep.half = Some(handle.figures());
    wait_for(750);
    upkeep.tasks.push(reported(handle, Task::CleanupExpired));
    upkeep
}

fn checked<H: Handle>(
    phase: &'static str,
    plan: &Plan,
    handle: H,
    clock: Clock,
    driven: &Driven,
    watch: &mut dyn Watch,
) -> Result<Counts, ReplayError> {
    let progress = Progress::default();
    let total = driven.models.iter().map(|model| model.len() as u64).sum();
    watch.phase(phase, total);
    let counts = thread::scope(|scope| {
        let checker = scope.spawn(|| verify(&plan.job, handle, clock, &driven.models, &progress));
        while !checker.is_finished() {
            watch.at(progress.done());
            thread::sleep(LOOK);
        }
        checker.join()
    });
    watch.end();
    let died = |_| DriveError::Store(StoreError::Failed("a thread of the replay died".to_owned()));
    counts.map_err(died).and_then(|counts| counts).map_err(during(phase))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::memory::Memory;
    use crate::options::Options;
    use crate::plan::plan;

    fn planned(trace: &str) -> (Plan, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.csv");
        std::fs::write(&path, format!("version,time,op,size,lbn\n{trace}")).unwrap();
        let line = format!("replay --trace {} --rounds 3 --capacity 64MiB", path.display());
        let plan = plan(&Options::try_parse_from(line.split(' ')).unwrap()).unwrap();
        (plan, dir)
    }

    const TRACE: &str = "1,5,2a,512,7\n1,5,2a,8192,9\n1,6,28,512,7\n1,6,28,512,8\n1,6,12,512,7\n";

    #[test]
    fn trace_on_a_sound_store_has_all_figures_and_no_mismatch() {
        let (plan, _dir) = planned(TRACE);
        let memory = Memory::new(plan.capacity_bytes);
        let replayed = replay(&plan, &memory, &mut Unwatched).unwrap();
        let figures = &replayed.figures;
        assert_eq!((figures.requests, figures.puts, figures.gets, figures.hits), (12, 6, 6, 3));
        assert_eq!((figures.mismatches, figures.reopen_mismatches), (0, 0));
        assert_eq!((replayed.checked.gets, replayed.rechecked.gets), (2, 2));
        assert_eq!((figures.bytes_put, figures.recovered_records), (3 * (512 + 8192 + 16), 2));
        let tasks: Vec<&str> = replayed.tasks.iter().map(|report| report.name).collect();
        assert_eq!(tasks, ["RebuildIndex", "CleanupExpired", "CompactData", "OptimizeCompression"]);
        assert!(!replayed.has_failed_tasks());
    }

    #[test]
    fn store_that_fails_ends_the_replay_with_its_phase() {
        struct Broken;
        impl Opener for Broken {
            type Store<'a> = crate::memory::MemoryStore<'a>;
            fn open(&self) -> Result<Self::Store<'_>, StoreError> {
                Err(StoreError::Failed("no such disk".to_owned()))
            }
        }
        let (plan, _dir) = planned(TRACE);
        let error = replay(&plan, &Broken, &mut Unwatched).unwrap_err();
        assert_eq!(error.to_string(), "while opening: the store failed: no such disk");
    }
}
