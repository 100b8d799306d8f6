//! Ten times more load than the disk takes: it ends in waiting or typed refusals, not in loss or growing memory. A process of its own,
//! since it counts all of its memory.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use core::time::Duration;
use std::sync::Mutex;
use std::time::Instant;

use coldpress_std::cache::{CacheError, UnifiedCacheConfig, UnifiedCacheManager, WritePolicy};
use coldpress_std::medium::{Medium, MediumError, MediumFailure, ServiceMedium, Started};
use coldpress_std::pool::PoolConfig;
use coldpress_std::{CodecId, ColdTierConfig, PutError, TierError};

const THREADS: u8 = 8;
const KEYS: u16 = 200;
const VALUE_BYTES: usize = 2_000;
const CAPACITY: u64 = 32 << 20;
/// The medium takes so many bytes a second while it is slow.
const BYTES_PER_S: u64 = 1 << 19;
const LOAD: Duration = Duration::from_secs(3);
/// Far above what the hot tier, the pools and the queues may hold, and far below what is offered.
const GROWTH_KIB_MAX: u64 = 24 << 10;

/// A medium in memory that is as slow as asked. All of its bytes are resident from the start.
#[derive(Debug)]
struct Slow {
    bytes: Mutex<Vec<u8>>,
    bytes_per_s: AtomicU64,
    written: AtomicU64,
}

impl Slow {
    fn new() -> &'static Self {
        // Not zero, so that each page is there; an erase makes it blank.
        let mut bytes = vec![1; usize::try_from(CAPACITY).unwrap()];
        bytes.fill(0);
        Box::leak(Box::new(Self {
            bytes: Mutex::new(bytes),
            bytes_per_s: AtomicU64::new(u64::MAX),
            written: AtomicU64::new(0),
        }))
    }

    fn change(&self, at: u64, len: usize, change: impl FnOnce(&mut [u8])) -> Result<Started, MediumFailure> {
        let at = usize::try_from(at).map_err(|_| MediumError::Io)?;
        let mut bytes = self.bytes.lock().unwrap();
        change(bytes.get_mut(at..at + len).ok_or(MediumError::Io)?);
        Ok(Started::Done)
    }
}

impl Medium for &'static Slow {
    type Error = MediumFailure;

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_shared(at, buffer)
    }

    fn write(&mut self, at: u64, from: &[u8]) -> Result<Started, MediumFailure> {
        let micros = from.len() as u64 * 1_000_000 / self.bytes_per_s.load(SeqCst);
        std::thread::sleep(Duration::from_micros(micros));
        self.written.fetch_add(from.len() as u64, SeqCst);
        self.change(at, from.len(), |bytes| bytes.copy_from_slice(from))
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.change(at, usize::try_from(bytes).unwrap(), |bytes| bytes.fill(0))
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        Ok(Started::Done)
    }
}

impl ServiceMedium for &'static Slow {
    fn read_shared(&self, at: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        let len = buffer.len();
        self.change(at, len, |bytes| buffer.copy_from_slice(bytes)).map(drop)
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        Ok(Box::new(*self))
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn value(thread: u8, key: u16, round: u32) -> Vec<u8> {
    let mut value = vec![thread; VALUE_BYTES];
    value[..6].copy_from_slice(&[&key.to_le_bytes()[..], &round.to_le_bytes()[..]].concat());
    value
}

/// The writes of one key: the last round that was taken, and those in doubt since.
#[derive(Clone, Default)]
struct Done {
    taken: u32,
    in_doubt: Vec<u32>,
}

#[cfg(target_os = "linux")]
#[test]
fn overloaded_disk_pushes_back_and_loses_nothing() {
    let medium = Slow::new();
    let cold =
        ColdTierConfig::builder().capacity_bytes(CAPACITY).codec(CodecId::Raw).pending_bytes_max(1 << 20);
    let cold =
        cold.op_timeout(Duration::from_millis(400)).close_timeout(Duration::from_secs(120)).build().unwrap();
    let pools = PoolConfig::builder().capacity_bytes(4 << 20).partitions(2).build().unwrap();
    for policy in [WritePolicy::Through, WritePolicy::OnEvict] {
        let builder = UnifiedCacheConfig::builder(cold.clone()).pools(pools.clone()).hot_bytes(1 << 20);
        let config = builder.write_policy(policy).dirty_bytes_max(2 << 20).build().unwrap();
        let cache: UnifiedCacheManager<(u8, u16), Vec<u8>> =
            UnifiedCacheManager::open_with(vec![Box::new(medium)], config).unwrap();
        let handle = cache.handle();
        // Each key once at full speed, so that all memory that is taken for good is there.
        for (thread, key) in (0..THREADS).flat_map(|thread| (0..KEYS).map(move |key| (thread, key))) {
            cache.put(&(thread, key), &value(thread, key, 0)).unwrap();
        }
        cache.flush().unwrap();
        let before_kib = resident_kib();
        medium.bytes_per_s.store(BYTES_PER_S, SeqCst);
        medium.written.store(0, SeqCst);
        let begun = Instant::now();
        let (mut offered, mut refused, mut most_kib) = (0_u64, 0_u64, 0);
        let mut all = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn(move || {
                        let mut done = vec![Done::default(); usize::from(KEYS)];
                        let (mut offered, mut refused) = (0_u64, 0_u64);
                        for round in 1.. {
                            for key in 0..KEYS {
                                if begun.elapsed() > LOAD {
                                    return (done, offered, refused);
                                }
                                offered += VALUE_BYTES as u64;
                                let state = &mut done[usize::from(key)];
                                match handle.put(&(thread, key), &value(thread, key, round)) {
                                    Ok(()) => *state = Done { taken: round, in_doubt: Vec::new() },
                                    // It may take effect all the same.
                                    Err(CacheError::Put(PutError::Tier(TierError::TimedOut))) => {
                                        refused += 1;
                                        state.in_doubt.push(round);
                                    }
                                    Err(
                                        CacheError::TimedOut
                                        | CacheError::Backlog { .. }
                                        | CacheError::Put(PutError::Busy | PutError::Full { .. }),
                                    ) => refused += 1,
                                    Err(error) => panic!("{error:?}"),
                                }
                            }
                        }
                        unreachable!()
                    })
                })
                .collect();
            while clients.iter().any(|client| !client.is_finished()) {
                most_kib = most_kib.max(resident_kib());
                std::thread::sleep(Duration::from_millis(20));
            }
            let mut all = Vec::new();
            for client in clients {
                let (done, more, refusals) = client.join().unwrap();
                (offered, refused) = (offered + more, refused + refusals);
                all.push(done);
            }
            all
        });
        let taken = medium.written.load(SeqCst);
        println!(
            "{policy:?}: offered {offered}, disk took {taken}, refused {refused} puts, {before_kib} to {most_kib} KiB"
        );
        assert!(most_kib < before_kib + GROWTH_KIB_MAX, "{before_kib} KiB before, {most_kib} KiB under load");
        assert!(taken > 0 && refused > 0, "the disk took all of {offered} bytes at once");
        medium.bytes_per_s.store(u64::MAX, SeqCst);
        // A write that began on the slow disk takes half a second to its end, longer than a flush waits.
        let restored = Instant::now();
        while let Err(error) = cache.flush() {
            assert!(restored.elapsed() < Duration::from_secs(60), "{error:?}");
        }
        let check = |cache: &UnifiedCacheManager<(u8, u16), Vec<u8>>, all: &mut Vec<Vec<Done>>| {
            for (thread, done) in (0..).zip(all) {
                for (key, state) in (0..).zip(done) {
                    let found = cache.get(&(thread, key)).unwrap().unwrap();
                    let may_be = |round: u32| found == value(thread, key, round);
                    let doubtful = state.in_doubt.iter().any(|round| may_be(*round));
                    assert!(
                        may_be(state.taken) || doubtful,
                        "{policy:?}: {key} of {thread} lost round {}",
                        state.taken
                    );
                }
            }
        };
        check(&cache, &mut all);
        cache.close().unwrap();
        let config = UnifiedCacheConfig::builder(cold.clone()).pools(pools.clone()).build().unwrap();
        let cache = UnifiedCacheManager::open_with(vec![Box::new(medium)], config).unwrap();
        check(&cache, &mut all);
        cache.close().unwrap();
    }
}
