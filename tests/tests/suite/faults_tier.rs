//! A service's tier on a medium that fails: every operation in turn, in each way, and reopened after it.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Mutex;

use coldpress_std::medium::{Medium, MediumError, MediumFailure, ServiceMedium, Started};
use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{ColdTier, ColdTierConfig, CompactionTask, Durability, PutOptions};
use coldpress_tests::sim::{STRIDE, mixed};

/// The way in which one operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing happens.
    Clean(MediumError),
    /// Half of the bytes are written.
    Short(MediumError),
    /// All is done, and an error is reported.
    Done(MediumError),
}

#[derive(Debug)]
struct Bytes {
    now: Vec<u8>,
    operations: u64,
    fault: Option<(u64, u64, Way)>,
}

/// Bytes that outlive the tiers opened on them.
#[derive(Debug)]
struct Shared(Mutex<Bytes>);

#[derive(Debug, Clone, Copy)]
struct Failing(&'static Shared);

impl Failing {
    /// Counts an operation; returns the way in which it fails, if it does.
    fn strike(self, bytes: &mut Bytes) -> Option<Way> {
        let number = bytes.operations;
        bytes.operations += 1;
        bytes.fault.filter(|(first, end, _)| (*first..*end).contains(&number)).map(|(_, _, way)| way)
    }

    fn change(self, offset: u64, with: &[u8]) -> Result<(), MediumError> {
        let mut bytes = self.0.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        let (len, result) = match self.strike(&mut bytes) {
            None => (with.len(), Ok(())),
            Some(Way::Clean(error)) => (0, Err(error)),
            Some(Way::Short(error)) => (with.len() / 2, Err(error)),
            Some(Way::Done(error)) => (with.len(), Err(error)),
        };
        bytes.now[at..at + len].copy_from_slice(&with[..len]);
        result
    }
}

impl Medium for Failing {
    type Error = MediumFailure;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_shared(offset, buffer)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
        self.change(offset, bytes)?;
        Ok(Started::Done)
    }

    fn erase(&mut self, offset: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.change(offset, &vec![0; usize::try_from(bytes).unwrap()])?;
        Ok(Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        let mut bytes = self.0.0.lock().unwrap();
        match self.strike(&mut bytes) {
            None => Ok(Started::Done),
            Some(Way::Clean(error) | Way::Short(error) | Way::Done(error)) => Err(error.into()),
        }
    }
}

impl ServiceMedium for Failing {
    fn read_shared(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        let mut bytes = self.0.0.lock().unwrap();
        if let Some(Way::Clean(error) | Way::Short(error) | Way::Done(error)) = self.strike(&mut bytes) {
            return Err(error.into());
        }
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&bytes.now[at..at + buffer.len()]);
        Ok(())
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        Ok(Box::new(*self))
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        Ok(self.0.0.lock().unwrap().now.len() as u64)
    }
}

/// A medium is shared by the threads of a tier for as long as they like.
fn shared_bytes() -> &'static Shared {
    Box::leak(Box::new(Shared(Mutex::new(Bytes { now: Vec::new(), operations: 0, fault: None }))))
}

const WORKERS: usize = 16;
const CAPACITY: u64 = 16 * (16 << 10);

fn config() -> ColdTierConfig {
    ColdTierConfig::builder()
        .capacity_bytes(CAPACITY)
        .segment_bytes(16 << 10)
        .op_timeout(Duration::from_secs(5))
        .build()
        .unwrap()
}

fn value_of(key: u64, round: u64) -> Vec<u8> {
    (0..900u64).map(|at| (mixed(key << 32 | round << 16 | at) & 0xFF) as u8).collect()
}

/// The values that each key may have: the newest acknowledged write, and those that failed after it.
type Allowed = BTreeMap<u64, Vec<Option<Vec<u8>>>>;

fn note(allowed: &mut Allowed, key: u64, what: Option<Vec<u8>>, is_ok: bool) {
    let known = allowed.entry(key).or_insert_with(|| vec![None]);
    if is_ok {
        known.clear();
    }
    known.push(what);
}

fn work(tier: &ColdTier, allowed: &mut Allowed) {
    let synced = PutOptions { durability: Some(Durability::Synced), ..PutOptions::default() };
    for round in 0..6 {
        for key in 0..8u64 {
            if (key + round) % 5 == 4 {
                let is_ok = tier.remove_with(&key.to_le_bytes(), Durability::Synced).is_ok();
                note(allowed, key, None, is_ok);
            } else {
                let value = value_of(key, round);
                let is_ok = tier.put_with(&key.to_le_bytes(), &value, synced).is_ok();
                note(allowed, key, Some(value), is_ok);
            }
        }
    }
    // A task may fail with the medium; only the values that it leaves count.
    let _ = tier.compaction().run_compaction(CompactionTask::CompactData, Duration::from_secs(5));
}

fn check(tier: &ColdTier, allowed: &Allowed, when: &str) {
    for (key, allowed) in allowed {
        let found = tier.get(&key.to_le_bytes()).unwrap_or_else(|error| panic!("{when}: key {key}: {error}"));
        assert!(allowed.contains(&found), "I-LOG-4, {when}: key {key} reads {:?}", found.map(|v| v.len()));
    }
}

/// One history on one medium; returns how many operations it took.
fn run(shared: &'static Shared, pools: &PoolCoordinator, fault: Option<(u64, u64, Way)>) -> u64 {
    *shared.0.lock().unwrap() =
        Bytes { now: vec![0; usize::try_from(CAPACITY).unwrap()], operations: 0, fault };
    let mut allowed = Allowed::new();
    let media = || vec![Box::new(Failing(shared)) as Box<dyn ServiceMedium>];
    // A failed open returns an error; there was nothing that could be lost.
    if let Ok(tier) = ColdTier::open_with(media(), config(), pools.clone()) {
        work(&tier, &mut allowed);
        shared.0.lock().unwrap().fault = None;
        check(&tier, &allowed, &format!("{fault:?}, running"));
        // A close on a medium that failed may return an error too.
        let _ = tier.close();
    }
    let operations = shared.0.lock().unwrap().operations;
    shared.0.lock().unwrap().fault = None;
    let tier = ColdTier::open_with(media(), config(), pools.clone())
        .unwrap_or_else(|error| panic!("{fault:?}: the next open: {error}"));
    check(&tier, &allowed, &format!("{fault:?}, reopened"));
    tier.close().unwrap();
    operations
}

#[test]
fn tier_with_any_operation_failing_keeps_acknowledged_writes() {
    let shared = shared_bytes();
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    let operations = run(shared, &pools, None);
    let ways = [
        Way::Clean(MediumError::Io),
        Way::Clean(MediumError::NoSpace),
        Way::Short(MediumError::NoSpace),
        Way::Done(MediumError::Io),
    ];
    let cases: Vec<_> = (0..operations)
        .step_by(STRIDE)
        .flat_map(|first| [(first, first + 1), (first, first + 3)])
        .zip(ways.iter().cycle())
        .map(|((first, end), way)| (first, end, *way))
        .collect();
    // A tier on a failing medium mostly waits to try again, so many wait at the same time.
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (cases, pools) = (&cases, pools.clone());
            scope.spawn(move || {
                let shared = shared_bytes();
                for case in cases.iter().skip(worker).step_by(WORKERS) {
                    run(shared, &pools, Some(*case));
                }
            });
        }
    });
    println!("{} cases over {operations} operations", cases.len());
}
