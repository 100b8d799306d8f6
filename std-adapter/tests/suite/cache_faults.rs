//! Faults beneath and above a cache: media that are stuck, values whose code panics, and callers that come between.

use core::cell::Cell;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use coldpress_std::cache::{
    CacheCloseError, CacheError, CachePutOptions, ComputeError, Placement, UnifiedCacheConfigBuilder,
    UnifiedCacheHandle, UnifiedCacheManager, WritePolicy,
};
use coldpress_std::pool::PoolConfig;
use coldpress_std::{CodecId, ColdTierConfig, Expected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cache::{Cache, config, config_over, text};
use crate::common::{FLUSHED, PATIENCE, eventually, small};
use crate::double::{Double, HELD};

const MIB: u64 = 1 << 20;
/// The patience of operations where the medium is stuck.
const OP_TIMEOUT: Duration = Duration::from_millis(300);

const DIRTY: CachePutOptions = CachePutOptions {
    ttl: coldpress_std::Ttl::Configured,
    durability: None,
    policy: Some(WritePolicy::OnEvict),
    placement: Placement::Hot,
};

const ON_LOG: CachePutOptions =
    CachePutOptions { policy: Some(WritePolicy::Through), placement: Placement::Cold, ..DIRTY };

fn impatient() -> UnifiedCacheConfigBuilder {
    let cold = ColdTierConfig::builder().capacity_bytes(4 * MIB).codec(CodecId::Raw);
    config_over(cold.op_timeout(OP_TIMEOUT).close_timeout(OP_TIMEOUT).pending_bytes_max(256 << 10))
}

fn open_on(medium: &'static Double, builder: UnifiedCacheConfigBuilder) -> Cache {
    Cache::open_with(vec![Box::new(medium)], builder.build().unwrap()).unwrap()
}

/// Runs something on a thread; ends what it may wait for and fails if it does not return in time.
fn within<R: Send + 'static>(
    limit: Duration,
    release: impl FnOnce(),
    run: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (send, done) = channel();
    let thread = std::thread::spawn(move || send.send(run()).unwrap());
    let Ok(result) = done.recv_timeout(limit) else {
        release();
        // It may end now; it is not waited for, so that the failure is seen.
        panic!("it waited for more than {limit:?}");
    };
    thread.join().unwrap();
    result
}

/// Lets a reader stand in the medium with a key that only the log has.
fn hold_a_reader(medium: &'static Double, cache: &Cache, key: u32) -> std::thread::JoinHandle<bool> {
    cache.put_with(&key, &text(key, 1), ON_LOG).unwrap();
    cache.flush().unwrap();
    medium.holds_reads.store(true, SeqCst);
    let handle = cache.handle();
    let named = std::thread::Builder::new().name(HELD.into());
    let reader = named.spawn(move || handle.get(&key) == Ok(Some(text(key, 1)))).unwrap();
    eventually("the reader is in the medium", || medium.held_reads.load(SeqCst) == 1);
    reader
}

#[test]
fn stuck_read_does_not_stop_other_operations() {
    let medium = Double::new(4 * MIB);
    let cache = open_on(medium, impatient().dirty_bytes_max(64 << 10));
    let reader = hold_a_reader(medium, &cache, 1);
    let handle = cache.handle();
    let free = move || medium.holds_reads.store(false, SeqCst);
    within(10 * OP_TIMEOUT, free, move || {
        handle.put_with(&2, &text(2, 1), DIRTY).unwrap();
        assert_eq!(handle.flush(), Err(CacheError::TimedOut), "it says that it does not know all");
        assert_eq!(handle.stats().cold.keys, 2, "it wrote what it knew");
        assert_eq!(handle.len(), Err(CacheError::TimedOut));
        let keys: Vec<_> = handle.keys().collect();
        assert_eq!(keys.iter().filter(|key| **key == Err(CacheError::TimedOut)).count(), 2, "{keys:?}");
        assert!(keys.contains(&Ok(2)), "{keys:?}");
        // More than may be dirty: others are found past the stripe that is held.
        for key in 10..400 {
            let put = handle.put_with(&key, &text(key, 1), DIRTY);
            assert!(matches!(put, Ok(()) | Err(CacheError::TimedOut)), "{put:?}");
        }
    });
    free();
    assert!(reader.join().unwrap());
    cache.flush().unwrap();
    cache.close().unwrap();
}

#[test]
fn close_behind_a_stuck_read_writes_dirty_values() {
    let medium = Double::new(4 * MIB);
    let builder = impatient().dirty_age_max(Duration::from_millis(100));
    let cache = open_on(medium, builder);
    let reader = hold_a_reader(medium, &cache, 1);
    // One of them may share the stripe that is held.
    let put = |key: &u32| match cache.put_with(key, &text(*key, 1), DIRTY) {
        Err(CacheError::TimedOut) => false,
        put => put.is_ok(),
    };
    let mut taken: Vec<_> = (2..100).filter(put).collect();
    assert!(taken.len() > 80, "{}", taken.len());
    // Maintenance meets the held stripe in the meantime.
    std::thread::sleep(Duration::from_millis(250));
    taken.extend((100..110).filter(put));
    let free = move || medium.holds_reads.store(false, SeqCst);
    let closed = within(20 * OP_TIMEOUT, free, move || cache.close());
    assert_eq!(closed, Err(CacheCloseError::TimedOut));
    let after = medium.cut();
    free();
    reader.join().unwrap();
    let cache = open_on(after, config_over(small()));
    let lost: Vec<_> = taken.iter().filter(|key| cache.get(key).unwrap() != Some(text(**key, 1))).collect();
    assert!(lost.is_empty(), "{lost:?}");
    cache.close().unwrap();
}

/// Lets the log take nothing, with so many dirty values of 2 KiB in the hot tier.
fn stuck_log(medium: &'static Double, dirty: u32) -> Cache {
    let pools = PoolConfig::builder().capacity_bytes(MIB).partitions(1).page_bytes(64 << 10);
    let pools = pools.value_bytes_max(1 << 10).objects_max(1_000).request_timeout(PATIENCE);
    let builder = impatient().pools(pools.build().unwrap()).hot_bytes(256 << 10).dirty_bytes_max(MIB);
    let cache = open_on(medium, builder);
    medium.holds_writes.store(true, SeqCst);
    let mut key = 1_000_000;
    for bytes in [8_000, 1_000, 1] {
        while cache.put_with(&key, &"x".repeat(bytes), ON_LOG).is_ok() {
            key += 1;
        }
    }
    for key in 0..dirty {
        cache.put_with(&key, &"d".repeat(2_000), DIRTY).unwrap();
    }
    cache
}

#[test]
fn put_that_evicts_many_waits_for_a_stuck_log_once() {
    let medium = Double::new(4 * MIB);
    let cache = stuck_log(medium, 90);
    let handle = cache.handle();
    let free = move || medium.holds_writes.store(false, SeqCst);
    // Each of those that it evicts is too long for the pools.
    let worst = within(PATIENCE, free, move || {
        let mut worst = (0, Duration::ZERO);
        for key in 500..508 {
            let (begun, before) = (Instant::now(), handle.stats().hot.evictions);
            handle.put_with(&key, &"d".repeat(20_000), DIRTY).unwrap();
            worst = worst.max((handle.stats().hot.evictions - before, begun.elapsed()));
            assert!(worst.1 < 4 * OP_TIMEOUT, "{worst:?}");
        }
        worst
    });
    assert!(worst.0 > 5, "{worst:?}");
    for key in 0..90 {
        assert_eq!(cache.get(&key).unwrap(), Some("d".repeat(2_000)), "{key}");
    }
    free();
    eventually("the log takes writes again", || cache.flush().is_ok());
    assert_eq!(cache.stats().dirty_bytes, 0);
    cache.close().unwrap();
}

#[test]
fn flush_and_close_give_up_on_a_stuck_log_in_time() {
    let medium = Double::new(4 * MIB);
    let cache = stuck_log(medium, 60);
    let begun = Instant::now();
    assert!(cache.flush().is_err());
    assert!(begun.elapsed() < 5 * OP_TIMEOUT, "{:?}", begun.elapsed());
    let begun = Instant::now();
    let closed = cache.close();
    let took = begun.elapsed();
    medium.holds_writes.store(false, SeqCst);
    assert!(matches!(closed, Err(CacheCloseError::Dirty { values: 60, error: Some(_) })), "{closed:?}");
    assert!(took < 8 * OP_TIMEOUT, "{took:?}");
}

/// An error whose clone waits for a word.
#[derive(Debug)]
struct Slow(Option<(Sender<()>, Receiver<()>)>);

impl Clone for Slow {
    fn clone(&self) -> Self {
        if let Self(Some((begun, go_on))) = self {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
        }
        Self(None)
    }
}

#[test]
fn end_of_a_computation_does_not_end_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(config(dir.path()).build().unwrap()).unwrap();
    let handle = cache.handle();
    let (tell_first, first_goes_on) = channel::<()>();
    let (entered, is_in) = channel();
    let (sends, is_sending) = channel();
    let (tell_sender, sender_goes_on) = channel();
    std::thread::scope(|scope| {
        let tell_entered = entered.clone();
        let first = scope.spawn(move || {
            handle.try_get_or_insert_with(&1, || {
                tell_entered.send(()).unwrap();
                first_goes_on.recv().unwrap();
                Err::<String, _>(Slow(Some((sends, sender_goes_on))))
            })
        });
        is_in.recv().unwrap();
        let waits = scope.spawn(move || handle.try_get_or_insert_with(&1, || Err(Slow(None))));
        std::thread::sleep(Duration::from_millis(100));
        tell_first.send(()).unwrap();
        // The first one has ended its computation, and tells its waiter.
        is_sending.recv_timeout(PATIENCE).unwrap();
        let (tell_next, next_goes_on) = channel::<()>();
        let next = scope.spawn(move || {
            handle.get_or_insert_with(&1, || {
                entered.send(()).unwrap();
                next_goes_on.recv().unwrap();
                text(1, 2)
            })
        });
        is_in.recv().unwrap();
        let waits_for_next = scope.spawn(move || handle.get_or_insert_with(&1, || text(1, 3)));
        std::thread::sleep(Duration::from_millis(100));
        tell_sender.send(()).unwrap();
        assert!(matches!(first.join().unwrap(), Err(ComputeError::Failed(Slow(_)))));
        assert!(matches!(waits.join().unwrap(), Err(ComputeError::Failed(Slow(None)))));
        tell_next.send(()).unwrap();
        assert_eq!(next.join().unwrap(), Ok(text(1, 2)));
        assert_eq!(waits_for_next.join().unwrap(), Ok(text(1, 2)), "its own caller did not panic");
    });
}

thread_local! {
    /// The clones and encodings of [`Touchy`] values on this thread before one panics.
    static CLONES_LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
    static ENCODINGS_LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// One of these values panics or fails when another thread encodes it.
static SPOILS: AtomicBool = AtomicBool::new(false);
const PANICS_ELSEWHERE: u32 = 1_000_001;

fn count_down(left: &Cell<u32>, what: &str) {
    let before = left.get();
    assert!(before > 0, "as planned: {what}");
    left.set(before - 1);
}

#[derive(Debug, PartialEq, Eq)]
struct Touchy(u32, Vec<u8>);

impl Clone for Touchy {
    fn clone(&self) -> Self {
        CLONES_LEFT.with(|left| count_down(left, "clone"));
        Self(self.0, self.1.clone())
    }
}

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ENCODINGS_LEFT.with(|left| count_down(left, "encoding"));
        let is_own = std::thread::current().name().is_some_and(|name| name.contains("faults"));
        assert!(self.0 != PANICS_ELSEWHERE || is_own || !SPOILS.load(SeqCst), "as planned: elsewhere");
        (self.0, &self.1).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(|(number, bytes)| Self(number, bytes))
    }
}

type TouchyCache = UnifiedCacheManager<u32, Touchy>;

fn open_touchy(dir: &Path) -> TouchyCache {
    TouchyCache::new(config(dir).build().unwrap()).unwrap()
}

/// Puts a value whose nth clone panics, for each n until none does.
fn put_with_panics(handle: UnifiedCacheHandle<u32, Touchy>, new: &Touchy, options: CachePutOptions) -> u32 {
    for clones in 0.. {
        CLONES_LEFT.set(clones);
        let put = catch_unwind(AssertUnwindSafe(|| handle.put_with(&new.0, new, options)));
        CLONES_LEFT.set(u32::MAX);
        match put {
            Ok(done) => {
                done.unwrap();
                return clones;
            }
            Err(_) => {
                let found = handle.get(&new.0).unwrap().unwrap();
                assert!(found.1 == [1] || found == *new, "{options:?}: {found:?}");
                assert!(handle.stats().dirty_bytes < 600, "{:?}", handle.stats());
            }
        }
    }
    unreachable!()
}

#[test]
fn panicking_clone_of_a_put_leaves_a_value_behind() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open_touchy(dir.path());
    let mut key = 0;
    let mut panics = 0;
    for policy in [WritePolicy::Through, WritePolicy::OnEvict, WritePolicy::MemoryOnly] {
        for below in [ON_LOG, DIRTY, CachePutOptions { placement: Placement::Warm, ..DIRTY }] {
            key += 1;
            cache.put_with(&key, &Touchy(key, vec![1]), below).unwrap();
            let options = CachePutOptions { policy: Some(policy), ..DIRTY };
            panics += put_with_panics(cache.handle(), &Touchy(key, vec![2]), options);
            assert_eq!(cache.get(&key).unwrap(), Some(Touchy(key, vec![2])));
            cache.flush().unwrap();
            assert_eq!(cache.stats().dirty_bytes, 0);
        }
    }
    assert!(panics > 0);
    cache.close().unwrap();
}

#[test]
fn panicking_encoding_of_a_condition_gives_bytes_back() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open_touchy(dir.path());
    cache.put_with(&1, &Touchy(1, vec![1]), ON_LOG).unwrap();
    let (expected, new) = (Touchy(1, vec![1]), Touchy(1, vec![2]));
    ENCODINGS_LEFT.set(1);
    let swapped = catch_unwind(AssertUnwindSafe(|| {
        cache.compare_and_swap(&1, Expected::Value(&expected), &new, DIRTY)
    }));
    ENCODINGS_LEFT.set(u32::MAX);
    assert!(swapped.is_err());
    assert_eq!((cache.stats().dirty_bytes, cache.get(&1).unwrap()), (0, Some(expected)));
}

#[test]
fn value_that_panics_when_written_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let builder = config(dir.path()).dirty_age_max(Duration::from_millis(50)).dirty_bytes_max(64 << 10);
    let cache = TouchyCache::new(builder.build().unwrap()).unwrap();
    cache.put_with(&1, &Touchy(PANICS_ELSEWHERE, vec![1]), DIRTY).unwrap();
    SPOILS.store(true, SeqCst);
    let handle = cache.handle();
    // Another thread's puts evict it, and write it to make space.
    let named = std::thread::Builder::new().name("elsewhere".into());
    let writer = named.spawn(move || {
        for key in 2..600 {
            handle.put_with(&key, &Touchy(key, vec![1; 500]), DIRTY).unwrap();
        }
    });
    writer.unwrap().join().unwrap();
    eventually("all others are written", || cache.stats().cold.keys == 598);
    assert_eq!(cache.get(&1).unwrap(), Some(Touchy(PANICS_ELSEWHERE, vec![1])));
    SPOILS.store(false, SeqCst);
    eventually("it is written, too", || cache.stats().cold.keys == 599);
    cache.close().unwrap();
}

#[test]
fn key_put_again_and_again_is_written_by_its_age() {
    let dir = tempfile::tempdir().unwrap();
    let builder = config(dir.path()).write_policy(WritePolicy::OnEvict);
    let cache = Cache::new(builder.dirty_age_max(Duration::from_millis(200)).build().unwrap()).unwrap();
    let begun = Instant::now();
    let mut round = 0;
    while cache.stats().demoted_cold == 0 {
        round += 1;
        cache.put(&1, &text(1, round)).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        assert!(begun.elapsed() < Duration::from_secs(5), "round {round} is dirty since the first");
    }
    cache.close().unwrap();
}

#[test]
fn tiers_of_a_cache_are_not_reached_by_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(config(dir.path()).write_policy(WritePolicy::OnEvict).build().unwrap()).unwrap();
    for key in 0..600 {
        cache.put(&key, &text(key, 1)).unwrap();
    }
    let (hot, warm) = (cache.hot_tiers().unwrap(), cache.warm_tiers().unwrap());
    let own = hot.register::<u32, String>("cache", 1 << 20).unwrap();
    (0..600).for_each(|key| assert!(!own.remove(&key)));
    assert!(hot.unregister("cache").unwrap());
    let own = warm.register::<u32, String>("cache").unwrap();
    (0..600).for_each(|key| assert!(own.get(&key).is_none()));
    assert!(warm.unregister("cache").unwrap());
    for key in 0..600 {
        assert_eq!(cache.get(&key), Ok(Some(text(key, 1))));
    }
    cache.put_with(&1, &text(1, 2), FLUSHED.into()).unwrap();
    cache.close().unwrap();
}
