//! A medium that starts its operations, and reports their end later.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use core::time::Duration;
use std::sync::Mutex;
use std::time::Instant;

use coldpress_std::medium::{Medium, MediumError, MediumFailure, ServiceMedium, Started};
use coldpress_std::{CodecId, ColdTier, ColdTierConfig, CompactionTask, PutError, TierError};

use crate::common::{PATIENCE, SYNCED, eventually, open_on, pools, small, value};

/// The state that all views of a medium share.
struct Platter {
    bytes: Mutex<Vec<u8>>,
    started: AtomicU64,
    asked: AtomicU64,
    /// So many of the next writes, or syncs, fail at their end.
    writes_fail: AtomicU32,
    syncs_fail: AtomicU32,
}

/// The change that an operation makes at its end.
enum Effect {
    Write { at: usize, bytes: Vec<u8> },
    Sync,
    None,
}

/// A view: what it started has no effect before its end was seen, and nothing else is asked of it before.
struct Late {
    platter: &'static Platter,
    under_way: Option<(Instant, Effect)>,
}

const TAKES: Duration = Duration::from_micros(300);

impl Late {
    fn new(config: &ColdTierConfig) -> Self {
        let bytes = Mutex::new(vec![0; usize::try_from(config.capacity_bytes()).unwrap()]);
        let platter = Box::leak(Box::new(Platter {
            bytes,
            started: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            writes_fail: AtomicU32::new(0),
            syncs_fail: AtomicU32::new(0),
        }));
        Self { platter, under_way: None }
    }

    fn start(&mut self, effect: Effect) -> Result<Started, MediumFailure> {
        assert!(self.under_way.is_none(), "one operation after the other");
        self.platter.started.fetch_add(1, SeqCst);
        self.under_way = Some((Instant::now() + TAKES, effect));
        Ok(Started::UnderWay)
    }

    fn end(&self, effect: Effect) -> Result<(), MediumFailure> {
        let fails = |left: &AtomicU32| left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        match effect {
            Effect::Write { .. } if fails(&self.platter.writes_fail) => Err(MediumError::Io.into()),
            Effect::Sync if fails(&self.platter.syncs_fail) => Err(MediumError::Io.into()),
            Effect::Write { at, bytes } => {
                self.platter.bytes.lock().unwrap()[at..at + bytes.len()].copy_from_slice(&bytes);
                Ok(())
            }
            Effect::Sync | Effect::None => Ok(()),
        }
    }
}

impl Medium for Late {
    type Error = MediumFailure;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
        assert!(self.under_way.is_none(), "a read while an operation is under way");
        self.read_shared(at, bytes)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
        self.start(Effect::Write { at: usize::try_from(at).unwrap(), bytes: bytes.to_vec() })
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
        let bytes = vec![0; usize::try_from(bytes).unwrap()];
        self.start(Effect::Write { at: usize::try_from(at).unwrap(), bytes })
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        self.start(Effect::Sync)
    }

    fn allocate(&mut self, _: u64, _: u64) -> Result<Started, MediumFailure> {
        self.start(Effect::None)
    }

    fn is_done(&mut self) -> Option<Result<(), MediumFailure>> {
        self.platter.asked.fetch_add(1, SeqCst);
        let (_, effect) = self.under_way.take_if(|(ends, _)| Instant::now() >= *ends)?;
        Some(self.end(effect))
    }
}

impl ServiceMedium for Late {
    fn read_shared(&self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
        let at = usize::try_from(at).unwrap();
        let all = self.platter.bytes.lock().unwrap();
        bytes.copy_from_slice(all.get(at..at + bytes.len()).ok_or(MediumError::Unreadable)?);
        Ok(())
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        Ok(Box::new(Self { platter: self.platter, under_way: None }))
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        Ok(self.platter.bytes.lock().unwrap().len() as u64)
    }
}

fn config() -> ColdTierConfig {
    small().codec(CodecId::Raw).keep_hot_values(false).skip_unchanged(false).build().unwrap()
}

fn assert_holds(tier: &ColdTier, rounds: u32) {
    for key in 0..40_u32 {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, rounds, 20_000)), "{key}");
    }
}

#[test]
fn operations_under_way_are_waited_for_to_their_end() {
    let (_manager, pools) = pools();
    let (config, rounds) = (config(), 8);
    let medium = Late::new(&config);
    let tier = open_on(&medium, &config, &pools);
    for round in 0..=rounds {
        for key in 0..40_u32 {
            tier.put(&key.to_le_bytes(), &value(key, round, 20_000)).unwrap();
        }
        tier.flush().unwrap();
    }
    tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    assert_holds(&tier, rounds);
    tier.close().unwrap();
    let [started, asked] = [&medium.platter.started, &medium.platter.asked].map(|count| count.load(SeqCst));
    assert!(started > 100, "{started}");
    // An operation takes 300 microseconds, and a wait is twice as long as the one before.
    assert!(asked <= 4 * started, "{asked} looks at {started} operations");
    assert_holds(&open_on(&medium, &config, &pools), rounds);
}

#[test]
fn failure_at_the_end_of_an_operation_reaches_the_client() {
    let (_manager, pools) = pools();
    let (config, failed) = (config(), PutError::Tier(TierError::Medium(MediumError::Io.into())));
    let medium = Late::new(&config);
    let tier = open_on(&medium, &config, &pools);
    for fails in [&medium.platter.writes_fail, &medium.platter.syncs_fail] {
        // It may be a write or sync of the machine's own that fails.
        eventually("a client is told", || {
            eventually("the last failure is over", || tier.flush().is_ok());
            fails.store(1, SeqCst);
            let put = tier.put_with(b"key", b"value", SYNCED);
            put.is_err_and(|error| error == failed)
        });
        fails.store(0, SeqCst);
        eventually("it is written again", || tier.flush().is_ok());
        assert_eq!(tier.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
    }
    drop(tier);
    let tier = open_on(&medium, &config, &pools);
    assert_eq!(tier.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
}
