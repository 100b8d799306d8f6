//! Drives requests through a store and checks every answer.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use crate::check::{Counts, Reading};
use crate::content::Content;
use crate::latency::Calls;
use crate::model::{Clock, Expected, Model, Span};
use crate::request::{KEY_BYTES_MAX, Op, Request, Source, key_bytes};
use crate::rng::mix;
use crate::store::{Handle, StoreError};
use crate::trace::TraceError;

/// The parameters of a run.
#[derive(Debug)]
pub struct Job {
    /// The source of the requests.
    pub source: Source,
    /// The contents of the values.
    pub content: Content,
    /// Threads; keys are split between them by hash, so each key has one writer.
    pub threads: u32,
    /// Ends the run early, where the requests last longer.
    pub time_max: Option<Duration>,
    /// Whether the store may drop values of its own accord when it is full.
    pub can_evict: bool,
}

/// The results of a run.
#[derive(Debug, Default)]
pub struct Driven {
    /// The counts.
    pub counts: Counts,
    /// Times of the puts.
    pub puts: Calls,
    /// Times of the gets.
    pub gets: Calls,
    /// The content that the store must have now, one model a thread.
    pub models: Vec<Model>,
}

/// Why a run ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriveError {
    /// The trace cannot be read.
    Trace(TraceError),
    /// The store failed.
    Store(StoreError),
}

impl fmt::Display for DriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DriveError {}

impl From<TraceError> for DriveError {
    fn from(error: TraceError) -> Self {
        Self::Trace(error)
    }
}

impl From<StoreError> for DriveError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// How far a run is, as its threads see it; read by the thread that shows it.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    is_over: AtomicBool,
}

impl Progress {
    /// Gives the requests, or keys, that are done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Says whether the threads have ended, or are to end because one of them failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Ends the run for all threads.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Carries out all requests and checks every answer.
///
/// # Errors
///
/// [`DriveError`] of the thread that failed first in order; the others stop within 64 requests.
pub fn drive<H: Handle>(
    job: &Job,
    handle: H,
    clock: Clock,
    progress: &Progress,
) -> Result<Driven, DriveError> {
    let threads = job.threads.max(1);
    let outcomes: Vec<Result<Driven, DriveError>> = thread::scope(|scope| {
        let lane = |lane| {
            let (driven, model, value) = (Driven::default(), Model::default(), Vec::new());
            let mut worker = Worker { job, handle, clock, driven, model, value };
            move || {
                let outcome = worker.requests(lane, threads, progress);
                if outcome.is_err() {
                    progress.end();
                }
                worker.driven.models.push(worker.model);
                outcome.map(|()| worker.driven)
            }
        };
        let threads: Vec<_> = (0..threads).map(|at| scope.spawn(lane(at))).collect();
        threads.into_iter().map(joined).collect()
    });
    let mut all = Driven::default();
    for outcome in outcomes {
        let driven = outcome?;
        all.counts.add(driven.counts);
        all.puts.add(&driven.puts);
        all.gets.add(&driven.gets);
        all.models.extend(driven.models);
    }
    Ok(all)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T, DriveError>>) -> Result<T, DriveError> {
    let died = |_| Err(DriveError::Store(StoreError::Failed("a thread of the replay died".to_owned())));
    thread.join().unwrap_or_else(died)
}

/// Says which of so many threads a key belongs to.
#[must_use]
pub fn lane_of(key: u64, threads: u32) -> u32 {
    u32::try_from(mix(key) % u64::from(threads.max(1))).unwrap_or(0)
}

/// Reads every key that was ever put, removed and expired ones too, and checks every answer.
///
/// # Errors
///
/// [`DriveError`] where the store fails altogether.
pub fn verify<H: Handle>(
    job: &Job,
    handle: H,
    clock: Clock,
    models: &[Model],
    progress: &Progress,
) -> Result<Counts, DriveError> {
    let lane = move |model: &Model| {
        let mut counts = Counts::default();
        for (key, entry) in model.entries() {
            let reading = Reading::take(handle, clock, key, entry.key_len);
            counts.gets += 1;
            counts.judge(job, key, Some(entry), &reading)?;
            progress.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(counts)
    };
    let outcomes: Vec<Result<Counts, DriveError>> = thread::scope(|scope| {
        let threads: Vec<_> = models.iter().map(|model| scope.spawn(move || lane(model))).collect();
        threads.into_iter().map(joined).collect()
    });
    let mut all = Counts::default();
    for counts in outcomes {
        all.add(counts?);
    }
    Ok(all)
}

/// Removes a part of all keys, chosen by hash, and gives their number. It leaves holes in log and pools, and the removed keys
/// must be gone in every later check.
///
/// # Errors
///
/// [`DriveError`] where the store fails.
pub fn purge<H: Handle>(handle: H, models: &mut [Model], permille: u32) -> Result<u64, DriveError> {
    let mut purged = 0;
    let mut buffer = [0; KEY_BYTES_MAX];
    for model in models {
        for (key, key_len) in model.held() {
            if mix(key.rotate_left(32)) % 1000 < u64::from(permille) {
                handle.remove(key_bytes(key, key_len, &mut buffer))?;
                model.remove(key);
                purged += 1;
            }
        }
    }
    Ok(purged)
}

/// One thread of a run: the model of its keys, and its counts.
struct Worker<'a, H> {
    job: &'a Job,
    handle: H,
    clock: Clock,
    model: Model,
    driven: Driven,
    value: Vec<u8>,
}

impl<H: Handle> Worker<'_, H> {
    /// Requests between two looks at the clock and at the others.
    const STRIDE: u64 = 64;

    /// Carries out the requests for the keys of this lane.
    fn requests(&mut self, lane: u32, lanes: u32, progress: &Progress) -> Result<(), DriveError> {
        let mut unreported = 0;
        for request in self.job.source.requests()? {
            let request = request?;
            if lane_of(request.key, lanes) != lane {
                continue;
            }
            self.request(request)?;
            unreported += 1;
            if unreported == Self::STRIDE {
                progress.done.fetch_add(unreported, Ordering::Relaxed);
                unreported = 0;
                let is_late = self.job.time_max.is_some_and(|max| self.clock.elapsed() >= max);
                if is_late || progress.is_over() {
                    break;
                }
            }
        }
        progress.done.fetch_add(unreported, Ordering::Relaxed);
        Ok(())
    }

    fn request(&mut self, request: Request) -> Result<(), DriveError> {
        let Request { key, key_len, op } = request;
        self.driven.counts.requests += 1;
        match op {
            Op::Put { len, ttl_s } => self.put(key, key_len, len, ttl_s),
            Op::Get => self.get(key, key_len),
            Op::Remove => self.remove(key, key_len),
            Op::Add { len, ttl_s } => {
                let now_ms = self.clock.now_ms();
                let span = Span { from_ms: now_ms, until_ms: now_ms };
                match self.model.entry(key).map(|entry| entry.expected(span)) {
                    None | Some(Expected::Nothing) => self.put(key, key_len, len, ttl_s),
                    Some(Expected::Value | Expected::Either) => self.get(key, key_len),
                }
            }
        }
    }

    fn put(&mut self, key: u64, key_len: u16, len: u32, ttl_s: Option<u32>) -> Result<(), DriveError> {
        let version = self.model.next_version(key);
        self.value.resize(len as usize, 0);
        self.job.content.fill(key, version, &mut self.value);
        let mut buffer = [0; KEY_BYTES_MAX];
        let bytes = key_bytes(key, key_len, &mut buffer);
        let is_compacting = self.handle.is_compacting();
        let from_ms = self.clock.now_ms();
        let called = Instant::now();
        let outcome = self.handle.put(bytes, &self.value, ttl_s);
        let took = called.elapsed();
        match outcome {
            Ok(()) => {
                let span = Span { from_ms, until_ms: self.clock.now_ms() };
                self.model.put(key, key_len, version, len, ttl_s, span);
                self.driven.puts.record(took, is_compacting);
                self.driven.counts.puts += 1;
            }
            Err(StoreError::Full) => self.driven.counts.refused += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn get(&mut self, key: u64, key_len: u16) -> Result<(), DriveError> {
        let is_compacting = self.handle.is_compacting();
        let reading = Reading::take(self.handle, self.clock, key, key_len);
        self.driven.gets.record(reading.took, is_compacting);
        self.driven.counts.gets += 1;
        if self.driven.counts.judge(self.job, key, self.model.entry(key), &reading)? {
            self.model.remove(key);
        }
        Ok(())
    }

    fn remove(&mut self, key: u64, key_len: u16) -> Result<(), DriveError> {
        let mut buffer = [0; KEY_BYTES_MAX];
        self.handle.remove(key_bytes(key, key_len, &mut buffer))?;
        self.model.remove(key);
        self.driven.counts.removes += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Fault;
    use crate::memory::Memory;
    use crate::store::Opener;
    use crate::workload::{Shape, Workload};

    fn job(threads: u32) -> Job {
        let shapes =
            vec![(Shape::pages(200, 3000), 1), (Shape::overwrites("words".into(), 300, 90, 0.99), 2)];
        let source = Source::Generated(Workload::new(shapes, 4, 5000));
        Job { source, content: Content::new(3), threads, time_max: None, can_evict: false }
    }

    fn run(job: &Job, memory: &Memory) -> (Driven, Clock) {
        let clock = Clock::start();
        let handle = memory.open().unwrap();
        (drive(job, handle, clock, &Progress::default()).unwrap(), clock)
    }

    fn verified(job: &Job, memory: &Memory, driven: &Driven, clock: Clock) -> Counts {
        verify(job, memory.open().unwrap(), clock, &driven.models, &Progress::default()).unwrap()
    }

    #[test]
    fn sound_store_with_any_number_of_threads_counts_the_same() {
        let mut seen = Vec::new();
        for threads in [1, 2, 5] {
            let memory = Memory::new(1 << 30);
            let job = job(threads);
            let (driven, clock) = run(&job, &memory);
            let after = verified(&job, &memory, &driven, clock);
            assert_eq!((driven.counts.mismatches, after.mismatches), (0, 0));
            assert_eq!(driven.models.len(), threads as usize);
            let Counts { requests, puts, gets, hits, removes, .. } = driven.counts;
            assert_eq!(requests, puts + gets + removes);
            seen.push((requests, puts, gets, hits, removes, after.gets));
        }
        assert!(seen.iter().all(|counts| *counts == seen[0]), "{seen:?}");
    }

    #[test]
    fn store_that_lies_in_any_way_is_found_out() {
        let memory = Memory::new(1 << 30);
        let job = job(2);
        let (driven, clock) = run(&job, &memory);
        let mut live = driven
            .models
            .iter()
            .flat_map(Model::entries)
            .filter(|(_, entry)| entry.expected(Span { from_ms: 0, until_ms: 0 }) == Expected::Value);
        let mut next = || {
            let (key, entry) = live.next().unwrap();
            key_bytes(key, entry.key_len, &mut [0; KEY_BYTES_MAX]).to_vec()
        };
        memory.lose(&next());
        memory.tamper(&next(), |value| value[0] ^= 1);
        memory.tamper(&next(), |value| value.push(0));
        memory.tamper(&next(), |value| value.truncate(value.len() - 1));
        let gone = driven
            .models
            .iter()
            .flat_map(Model::entries)
            .find(|(_, entry)| entry.expected(Span { from_ms: 0, until_ms: 0 }) == Expected::Nothing);
        let (key, entry) = gone.unwrap();
        let store = memory.open().unwrap();
        store.put(key_bytes(key, entry.key_len, &mut [0; KEY_BYTES_MAX]), b"undead", None).unwrap();
        let after = verified(&job, &memory, &driven, clock);
        assert_eq!(after.mismatches, 5);
        let count = |fault| after.examples.iter().filter(|example| example.fault == fault).count();
        assert_eq!((count(Fault::Missing), count(Fault::Wrong), count(Fault::Returned)), (1, 3, 1));
    }

    #[test]
    fn full_store_that_refuses_keeps_the_value_before() {
        let memory = Memory::new(400_000);
        let job = job(2);
        let (driven, clock) = run(&job, &memory);
        assert!(driven.counts.refused > 0);
        assert_eq!(driven.counts.mismatches, 0);
        assert_eq!(verified(&job, &memory, &driven, clock).mismatches, 0);
    }

    #[test]
    fn values_lost_by_a_store_that_may_evict_are_no_mismatches() {
        let memory = Memory::new(1 << 30);
        let job = Job { can_evict: true, ..job(1) };
        let (driven, clock) = run(&job, &memory);
        let at = Span { from_ms: 0, until_ms: 0 };
        let mut held = driven.models[0].entries().filter(|(_, entry)| entry.expected(at) == Expected::Value);
        let (key, entry) = held.next().unwrap();
        memory.lose(key_bytes(key, entry.key_len, &mut [0; KEY_BYTES_MAX]));
        let after = verified(&job, &memory, &driven, clock);
        assert_eq!((after.mismatches, after.evicted), (0, 1));
    }

    #[test]
    fn part_of_the_keys_purged_is_gone_and_the_rest_is_there() {
        let memory = Memory::new(1 << 30);
        let job = job(2);
        let (mut driven, clock) = run(&job, &memory);
        let held: usize = driven.models.iter().map(|model| model.held().len()).sum();
        let purged = purge(memory.open().unwrap(), &mut driven.models, 500).unwrap() as usize;
        assert!((held * 4 / 10..held * 6 / 10).contains(&purged), "{purged} of {held}");
        let after = verified(&job, &memory, &driven, clock);
        assert_eq!((after.mismatches, after.hits as usize), (0, held - purged));
    }

    #[test]
    fn trace_with_an_odd_line_ends_the_run_with_its_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.csv");
        std::fs::write(&path, "version,time,op,size,lbn\n1,5,2a,512,7\n1,6,2a,").unwrap();
        let job = Job { source: Source::Trace { path, rounds: 1, ttl_s: None }, ..job(2) };
        let memory = Memory::new(1 << 20);
        let outcome = drive(&job, memory.open().unwrap(), Clock::start(), &Progress::default());
        assert_eq!(outcome.unwrap_err(), DriveError::Trace(TraceError::Truncated { line: 3 }));
    }

    #[test]
    fn values_past_their_lifetime_expire_in_store_and_model() {
        let mut shape = Shape::overwrites("short lives".into(), 50, 90, 0.5);
        shape.ttls = vec![(Some(1), 1)];
        let source = Source::Generated(Workload::new(vec![(shape, 1)], 4, 100));
        let job = Job { source, ..job(2) };
        let memory = Memory::new(1 << 20);
        let (driven, clock) = run(&job, &memory);
        assert_eq!(driven.counts.mismatches, 0);
        thread::sleep(Duration::from_millis(2300));
        let after = verified(&job, &memory, &driven, clock);
        assert_eq!((after.mismatches, after.hits, after.gets), (0, 0, 50));
    }
}
