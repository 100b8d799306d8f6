//! A model beside the cache over three tiers: threads write, read, expire and remove, others demote, compact, clean up and move the
//! clock, and the cache is closed, killed and opened again.
//!
//! Each thread has keys of its own, so it knows what a read may return. Keys that all threads share are counted up, so a lost update, or
//! an older value that came back, shows as a count that is too low.

use core::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32};
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use coldpress_std::cache::{
    CacheError, CachePutOptions, MaintenanceTask, Placement, UnifiedCacheHandle, UnifiedCacheManager,
    WritePolicy,
};
use coldpress_std::clock::ManualClock;
use coldpress_std::{Durability, Expected, TimeLeft, Ttl, Update};

use crate::cache::{POLICIES, config_over};
use crate::common::{PATIENCE, small};

type Key = (u8, u16);
type Cache = UnifiedCacheManager<Key, Vec<u8>>;
type Handle = UnifiedCacheHandle<Key, Vec<u8>>;

const THREADS: u8 = 3;
const KEYS: u16 = 40;
const SHARED: u8 = 255;
const SHARED_KEYS: u16 = 4;

/// A clock that only this test moves, and the bounds of the tier's time that follow from it.
struct Time {
    clock: &'static ManualClock,
    /// The clock has said so at least once, and the tier's time never goes back behind it.
    said_s: AtomicU32,
    /// The clock has not said more, nor is about to.
    most_s: AtomicU32,
    begun: Instant,
}

impl Time {
    fn jump(&self, to_s: u32, seen: impl FnOnce()) {
        self.most_s.fetch_max(to_s, SeqCst);
        self.clock.set_s(to_s);
        // A clock that goes back before any worker saw it has said nothing.
        seen();
        self.said_s.fetch_max(to_s, SeqCst);
    }

    fn at_least_s(&self) -> u32 {
        self.said_s.load(SeqCst)
    }

    /// While the clock stands still, the tier's time goes on with the monotonic clock.
    fn at_most_s(&self) -> u32 {
        let real_s = u32::try_from(self.begun.elapsed().as_secs()).unwrap() + 2;
        self.most_s.load(SeqCst) + real_s
    }
}

#[derive(Debug, Clone)]
struct Expectation {
    value: Vec<u8>,
    /// The earliest and the latest time at which it ends.
    ends_s: Option<(u32, u32)>,
    policy: WritePolicy,
    /// Whether a close or a kill keeps it.
    is_durable: bool,
}

/// The keys of a thread, as it knows them.
struct Model<'a> {
    handle: Handle,
    time: &'a Time,
    thread: u8,
    state: u64,
    known: BTreeMap<u16, Expectation>,
    configured: WritePolicy,
}

impl Model<'_> {
    fn random(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % below
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random(40) {
            0 => 14_000,
            1..=8 => 3_000,
            _ => 300,
        };
        let seed = self.random(u64::MAX);
        (0..len).map(|at: u64| (seed.wrapping_mul(at / 8 + 1) >> 23) as u8).collect()
    }

    fn options(&mut self) -> CachePutOptions {
        let ttl = match self.random(6) {
            0 => Ttl::After(Duration::from_secs(20 + self.random(200))),
            1 => Ttl::Keep,
            _ => Ttl::Never,
        };
        let policy = match self.random(8) {
            0 => Some(WritePolicy::Through),
            1 => Some(WritePolicy::OnEvict),
            2 => Some(WritePolicy::MemoryOnly),
            _ => None,
        };
        let placement = match self.random(8) {
            0 => Placement::Cold,
            1 => Placement::Warm,
            _ => Placement::Hot,
        };
        let durability = (self.random(30) == 0).then_some(Durability::Synced);
        CachePutOptions { ttl, durability, policy, placement }
    }

    /// Whether a value was surely over at a time since `since_s`, surely not, or may be either.
    fn is_over(&self, expectation: &Expectation, since_s: u32) -> Option<bool> {
        let Some((earliest_s, latest_s)) = expectation.ends_s else { return Some(false) };
        if since_s >= latest_s {
            Some(true)
        } else if self.time.at_most_s() < earliest_s {
            Some(false)
        } else {
            None
        }
    }

    /// Checks a finding against the expectation, which learns from it: a value that is gone stays away.
    fn check(&mut self, key: u16, found: Option<&[u8]>, since_s: u32, what: &str) {
        let Some(known) = self.known.get(&key) else {
            assert!(found.is_none(), "{what}: {key} of {} came back", self.thread);
            return;
        };
        match found {
            Some(found) => {
                assert!(*found == known.value[..], "{what}: {key} of {} has another value", self.thread);
                assert_ne!(self.is_over(known, since_s), Some(true), "{what}: {key} is over");
            }
            None => {
                let may_be_gone =
                    known.policy == WritePolicy::MemoryOnly || self.is_over(known, since_s) != Some(false);
                assert!(may_be_gone, "{what}: {key} of {} is lost: {:?}", self.thread, known.policy);
                self.known.remove(&key);
            }
        }
    }

    fn read(&mut self, key: u16, what: &str) {
        let since_s = self.time.at_least_s();
        let found = self.handle.get(&(self.thread, key)).unwrap();
        self.check(key, found.as_deref(), since_s, what);
    }

    fn put(&mut self, key: u16) {
        let (value, options) = (self.value(), self.options());
        let name = (self.thread, key);
        // One that keeps its lifetime has the value before it as the model knows it.
        if options.ttl == Ttl::Keep {
            self.read(key, "before a put that keeps the lifetime");
        }
        let before = self.known.get(&key).cloned();
        let earliest_s = self.time.at_least_s();
        let is_done = match self.random(4) {
            0 => {
                let absent = self.handle.put_if_absent(&name, &value, options).unwrap();
                if !absent {
                    // It stands for a read that found a value.
                    assert!(before.is_some(), "{key} came back");
                }
                absent
            }
            1 => {
                let expected =
                    before.as_ref().map_or(Expected::Absent, |known| Expected::Value(&known.value));
                self.handle.compare_and_swap(&name, expected, &value, options).unwrap()
            }
            2 => {
                let update = |_: Option<&Vec<u8>>| Update::Put(value.clone());
                self.handle.update(&name, options, update).unwrap();
                true
            }
            _ => {
                self.handle.put_with(&name, &value, options).unwrap();
                true
            }
        };
        if !is_done {
            self.read(key, "after a condition that did not hold");
            return;
        }
        let latest_s = self.time.at_most_s();
        let ends = |ttl: Duration| {
            let ttl_s = u32::try_from(ttl.as_secs()).unwrap();
            Some((earliest_s + ttl_s, latest_s + ttl_s + 3))
        };
        let kept = before.and_then(|known| match self.is_over(&known, earliest_s) {
            Some(false) => known.ends_s,
            // It may have been over, and then the new one lives as configured: for ever.
            _ => known.ends_s.map(|(earliest_s, _)| (earliest_s, u32::MAX)),
        });
        let ends_s = match options.ttl {
            Ttl::After(ttl) => ends(ttl),
            Ttl::Keep => kept,
            _ => None,
        };
        let is_durable = options.durability.is_some();
        let policy =
            if is_durable { WritePolicy::Through } else { options.policy.unwrap_or(self.configured) };
        self.known.insert(key, Expectation { value, ends_s, policy, is_durable });
    }

    fn step(&mut self) {
        let key = u16::try_from(self.random(KEYS.into())).unwrap();
        let name = (self.thread, key);
        let since_s = self.time.at_least_s();
        match self.random(20) {
            0..=7 => self.put(key),
            8..=12 => self.read(key, "a read"),
            13 => {
                let was_there = self.handle.remove(&name).unwrap();
                let known = self.known.remove(&key);
                assert!(!was_there || known.is_some(), "{key} came back to be removed");
            }
            14 => {
                self.read(key, "before a touch");
                let earliest_s = self.time.at_least_s();
                let ttl_s = 30 + u32::try_from(self.random(100)).unwrap();
                let is_there = self.handle.touch(&name, Duration::from_secs(ttl_s.into()).into()).unwrap();
                let latest_s = self.time.at_most_s();
                match self.known.get_mut(&key).filter(|_| is_there) {
                    Some(known) => known.ends_s = Some((earliest_s + ttl_s, latest_s + ttl_s + 3)),
                    None => {
                        assert!(!is_there, "{key} came back to be touched");
                        self.check(key, None, since_s, "a touch");
                    }
                }
            }
            15 => {
                let left = self.handle.ttl(&name).unwrap();
                match (left, self.known.get(&key)) {
                    (Some(_), None) => panic!("{key} came back to tell its lifetime"),
                    (Some(TimeLeft::Forever), Some(known)) => {
                        assert!(known.ends_s.is_none_or(|(_, latest_s)| latest_s == u32::MAX), "{known:?}");
                    }
                    (Some(_), Some(known)) => assert!(known.ends_s.is_some()),
                    (None, _) => self.check(key, None, since_s, "a lifetime"),
                }
            }
            16 => {
                let is_there = self.handle.contains(&name).unwrap();
                let found = self.known.get(&key).filter(|_| is_there).map(|known| known.value.clone());
                assert_eq!(found.is_some(), is_there, "{key} came back");
                self.check(key, found.as_deref(), since_s, "contains");
            }
            17 => {
                let key = (SHARED, u16::try_from(self.random(SHARED_KEYS.into())).unwrap());
                let options = CachePutOptions {
                    policy: Some([WritePolicy::Through, WritePolicy::OnEvict][self.random(2) as usize]),
                    placement: [Placement::Hot, Placement::Warm, Placement::Cold][self.random(3) as usize],
                    ..CachePutOptions::default()
                };
                self.handle.update(&key, options, |count| Update::Put(counted(count))).unwrap();
            }
            _ => {
                let Some(value) = self.handle.get_hot(&name) else { return };
                self.check(key, Some(&value), since_s, "the hot tier");
            }
        }
    }
}

fn counted(count: Option<&Vec<u8>>) -> Vec<u8> {
    let count = count.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
    (count + 1).to_le_bytes().to_vec()
}

fn open(dir: &Path, clock: &'static ManualClock, policy: WritePolicy) -> Cache {
    let cold = small().base_dir(dir).clock(clock).clock_jump_max(Duration::from_secs(86_400)).partitions(2);
    let builder = config_over(cold.capacity_bytes(8 << 20)).write_policy(policy).dirty_bytes_max(96 << 10);
    let config = builder.dirty_age_max(Duration::from_millis(300)).build().unwrap();
    Cache::new(config).unwrap()
}

/// Runs maintenance, and moves the clock to and fro, until the others are done.
fn disturb(cache: &Cache, time: &Time, is_over: &AtomicBool, mut state: u64) {
    let maintenance = cache.maintenance_sender();
    let tasks = [
        MaintenanceTask::Compact { target_bytes: 0 },
        MaintenanceTask::Cleanup,
        MaintenanceTask::Defragment,
        MaintenanceTask::RebuildIndex,
        MaintenanceTask::EvictExpired,
        MaintenanceTask::Flush,
        MaintenanceTask::WriteBack,
        MaintenanceTask::OptimizeCompression,
        MaintenanceTask::Verify,
    ];
    while !is_over.load(Acquire) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let task = tasks[(state >> 33) as usize % tasks.len()];
        maintenance.run(task, PATIENCE).unwrap();
        match (state >> 50) % 4 {
            0 => time.jump(time.at_least_s() + 7, || {
                // Each worker makes a step, and looks at the clock.
                cache.cold().unwrap().flush().unwrap();
            }),
            // Back: the tier's time stays.
            1 => time.clock.set_s(time.at_least_s().saturating_sub(1_000)),
            _ => {}
        }
    }
}

fn work<'a>(
    cache: &Cache,
    time: &'a Time,
    mut models: Vec<Model<'a>>,
    steps: u32,
    seed: u64,
) -> Vec<Model<'a>> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_over = &is_over;
        scope.spawn(move || disturb(cache, time, is_over, seed));
        let workers: Vec<_> = models
            .drain(..)
            .map(|mut model| {
                model.handle = cache.handle();
                scope.spawn(move || {
                    (0..steps).for_each(|_| model.step());
                    model
                })
            })
            .collect();
        let models = workers.into_iter().map(|worker| worker.join()).collect::<Result<Vec<_>, _>>();
        is_over.store(true, Release);
        models.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn lives(policy: WritePolicy, rounds: u64, steps: u32, seed: u64, clock: &'static ManualClock) {
    println!("seed {seed}, {policy:?}");
    let dir = tempfile::tempdir().unwrap();
    let time = Time {
        clock,
        said_s: AtomicU32::new(clock_start(clock)),
        most_s: AtomicU32::new(clock_start(clock)),
        begun: Instant::now(),
    };
    let mut cache = open(dir.path(), clock, policy);
    let mut models: Vec<_> = (0..THREADS)
        .map(|thread| Model {
            handle: cache.handle(),
            time: &time,
            thread,
            state: seed ^ 0x9E37_79B9_7F4A_7C15 << thread | 1,
            known: BTreeMap::new(),
            configured: policy,
        })
        .collect();
    let mut shared = [0; SHARED_KEYS as usize];
    for round in 0..rounds {
        models = work(&cache, &time, models, steps, seed + round);
        for model in &mut models {
            (0..KEYS).for_each(|key| model.read(key, "the end of a round"));
        }
        let stats = cache.stats();
        assert!(stats.dirty_bytes <= stats.dirty_bytes_max, "{stats:?}");
        // Entries are the keys that the models know, and no other.
        let since_s = time.at_least_s();
        let mut entries: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
        for entry in cache.entries() {
            let (key, value) = entry.unwrap();
            assert!(entries.insert(key, value).is_none(), "{key:?} came twice");
        }
        for model in &mut models {
            for key in 0..KEYS {
                let found = entries.remove(&(model.thread, key));
                model.check(key, found.as_deref(), since_s, "an entry");
            }
        }
        for (key, count) in (0..).zip(&mut shared) {
            let bytes = entries.remove(&(SHARED, key));
            let now = bytes.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
            assert!(now >= *count, "a shared count went back");
            *count = now;
        }
        assert!(entries.is_empty(), "{:?}", entries.keys());
        if round % 3 == 1 {
            cache.flush().unwrap();
            assert_eq!(cache.stats().dirty_bytes, 0);
        }
        cache.close().unwrap();
        time.jump(time.at_most_s(), || ());
        cache = open(dir.path(), clock, policy);
        for model in &mut models {
            model.handle = cache.handle();
            // The table says which values a close loses.
            let lost: Vec<u16> = (0..KEYS)
                .filter(|key| {
                    model.known.get(key).is_some_and(|known| known.policy == WritePolicy::MemoryOnly)
                })
                .collect();
            for key in lost {
                assert_eq!(cache.get(&(model.thread, key)).unwrap(), None, "memory-only");
                model.known.remove(&key);
            }
            (0..KEYS).for_each(|key| model.read(key, "after a restart"));
        }
    }
    assert!(shared.iter().sum::<u64>() > 0);
    assert!(models.iter().any(|model| model.known.values().any(|known| known.is_durable)));
    cache.close().unwrap();
}

fn clock_start(clock: &'static ManualClock) -> u32 {
    use coldpress_std::clock::Clock as _;
    clock.wall_s()
}

#[test]
fn tiers_agree_with_a_model_under_load_and_maintenance() {
    static CLOCKS: [ManualClock; 3] = [const { ManualClock::new(1_000_000) }; 3];
    let (rounds, steps, seeds) = match std::env::var("COLDPRESS_CACHE_LIVES") {
        Ok(count) => (6, 3_000, count.parse().unwrap()),
        Err(_) => (4, 1_500, 1),
    };
    for seed in 1..=seeds {
        std::thread::scope(|scope| {
            for (policy, clock) in POLICIES.into_iter().zip(&CLOCKS) {
                scope.spawn(move || lives(policy, rounds, steps, seed * 7_919, clock));
            }
        });
    }
}

#[test]
fn closed_during_the_work_it_keeps_what_was_taken() {
    static CLOCK: ManualClock = ManualClock::new(1_000_000);
    for policy in [WritePolicy::Through, WritePolicy::OnEvict] {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), &CLOCK, policy);
        let handle = cache.handle();
        let taken = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4_u8)
                .map(|thread| {
                    scope.spawn(move || {
                        let mut last = [0_u8; 20];
                        for round in 1..=200_u8 {
                            for key in 0..20_u16 {
                                match handle.put(&(thread, key), &vec![round; 500]) {
                                    Ok(()) => last[usize::from(key)] = round,
                                    Err(CacheError::Closed) => return last,
                                    Err(error) => panic!("{error:?}"),
                                }
                            }
                        }
                        last
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(30));
            cache.close().unwrap();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        let cache = open(dir.path(), &CLOCK, policy);
        for (thread, last) in (0..).zip(taken) {
            for (key, round) in (0..).zip(last) {
                let found = cache.get(&(thread, key)).unwrap();
                assert_eq!(found, (round > 0).then(|| vec![round; 500]), "{policy:?}");
            }
        }
        cache.close().unwrap();
    }
}
