//! A close that is not waited for to its end, on a directory; and a mount that fails.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use super::*;
use crate::pool::{AllocationManager, PoolConfig};
use crate::storage::MediumFailure;
use coldpress_core::drive::{Medium, Started};

/// A medium whose writes, or syncs, wait while a flag is set.
struct Held {
    medium: Box<dyn ServiceMedium>,
    holds_writes: &'static AtomicBool,
    holds_syncs: &'static AtomicBool,
    holds_reads: &'static AtomicBool,
    /// How many of them had to wait, ever.
    held: &'static AtomicU32,
}

static NEVER: AtomicBool = AtomicBool::new(false);

impl Held {
    fn wait_while(&self, is_held: &AtomicBool) {
        self.held.fetch_add(u32::from(is_held.load(SeqCst)), SeqCst);
        wait_until(|| !is_held.load(SeqCst));
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Medium for Held {
    type Error = MediumFailure;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_shared(offset, buffer)
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<Started, MediumFailure> {
        self.wait_while(self.holds_writes);
        self.medium.write(offset, from)
    }

    fn erase(&mut self, offset: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.medium.erase(offset, bytes)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        self.wait_while(self.holds_syncs);
        self.medium.sync()
    }
}

impl ServiceMedium for Held {
    fn read_shared(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.wait_while(self.holds_reads);
        self.medium.read_shared(offset, buffer)
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        Ok(Box::new(Self { medium: self.medium.another_view()?, ..*self }))
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        self.medium.len()
    }
}

/// Closes a tier that is stuck, and opens its directory again before and after it comes loose.
fn check(
    holds_writes: &'static AtomicBool,
    holds_syncs: &'static AtomicBool,
    hold: &AtomicBool,
    held: &'static AtomicU32,
) {
    let base = tempfile::tempdir().unwrap();
    let pools = PoolConfig::builder().capacity_bytes(4 << 20).partitions(1).build().unwrap();
    let (_manager, pools) = AllocationManager::new(&pools).unwrap();
    let config = ColdTierConfig::builder().capacity_bytes(4 << 20).op_timeout(SLACK);
    let config = config.close_timeout(Duration::from_millis(50)).build().unwrap();
    let mut dir = Dir::lock(base.path(), "test", Mode::new(0o600), &config).unwrap();
    let (parts, config) = dir.open_parts(&config).unwrap();
    let hold_part = |medium| {
        Box::new(Held { medium, holds_writes, holds_syncs, holds_reads: &NEVER, held })
            as Box<dyn ServiceMedium>
    };
    let hold_views = |views: Views| Views {
        worker: hold_part(views.worker),
        reader: hold_part(views.reader),
        syncer: views.syncer.map(hold_part),
    };
    let media = parts.into_iter().map(hold_views).collect();
    let tier = ColdTier::start("test", media, config.clone(), pools.clone(), Some(dir)).unwrap();
    tier.put(b"old", b"v").unwrap();
    tier.flush().unwrap();
    hold.store(true, SeqCst);
    tier.put(b"new", b"v").unwrap();
    let handle = tier.handle();
    let flush = std::thread::spawn(move || handle.flush());
    // Else the close might be over before the worker gets there.
    wait_until(|| held.load(SeqCst) > 0);
    let begun = Instant::now();
    assert!(tier.close().is_err());
    assert!(begun.elapsed() < AFTER_CLOSE + SLACK, "the close has a deadline");
    let open = || ColdTier::open(base.path(), "test", config.clone(), pools.clone());
    assert!(matches!(open(), Err(OpenError::AlreadyOpen(_))), "the old worker may still write");
    hold.store(false, SeqCst);
    let begun = Instant::now();
    let tier = loop {
        match open() {
            Err(OpenError::AlreadyOpen(_)) if begun.elapsed().as_secs() < 120 => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => break opened.unwrap(),
        }
    };
    assert!(tier.contains(b"old").unwrap());
    // It may have been reached just in time.
    let _ = flush.join().unwrap();
}

#[test]
fn directory_with_a_stuck_write_stays_locked_until_it_ends() {
    static WRITES: AtomicBool = AtomicBool::new(false);
    static SYNCS: AtomicBool = AtomicBool::new(false);
    static HELD: AtomicU32 = AtomicU32::new(0);
    check(&WRITES, &SYNCS, &WRITES, &HELD);
}

#[test]
fn directory_with_a_stuck_sync_stays_locked_until_it_ends() {
    static WRITES: AtomicBool = AtomicBool::new(false);
    static SYNCS: AtomicBool = AtomicBool::new(false);
    static HELD: AtomicU32 = AtomicU32::new(0);
    check(&WRITES, &SYNCS, &SYNCS, &HELD);
}

fn pools() -> (AllocationManager, PoolCoordinator) {
    let pools = PoolConfig::builder().capacity_bytes(4 << 20).partitions(1).build().unwrap();
    AllocationManager::new(&pools).unwrap()
}

/// Media in memory files, each of which waits while its flag is set.
fn held_media(
    config: &ColdTierConfig,
    syncs: &'static AtomicBool,
    reads: &'static AtomicBool,
) -> (Vec<Box<dyn ServiceMedium>>, &'static AtomicU32) {
    let held = Box::leak(Box::default());
    let medium = |_| {
        let file = tempfile::tempfile().unwrap();
        file.set_len(config.geometry.medium_bytes()).unwrap();
        let medium = Box::new(crate::medium::FileMedium::new(file));
        Box::new(Held { medium, holds_writes: &NEVER, holds_syncs: syncs, holds_reads: reads, held })
            as Box<dyn ServiceMedium>
    };
    ((0..config.settings.partitions).map(medium).collect(), held)
}

/// How much longer than its deadline a call may take on a machine that is busy.
const SLACK: Duration = Duration::from_secs(60);

#[test]
fn close_of_many_stuck_partitions_has_one_deadline() {
    static SYNCS: AtomicBool = AtomicBool::new(false);
    let (_manager, pools) = pools();
    let config = ColdTierConfig::builder().capacity_bytes(32 << 20).partitions(32);
    let config = config.close_timeout(Duration::from_millis(2_000)).keep_hot_values(false).build().unwrap();
    let tier = ColdTier::open_with(held_media(&config, &SYNCS, &NEVER).0, config, pools).unwrap();
    for key in 0..200u32 {
        tier.put(&key.to_le_bytes(), b"v").unwrap();
    }
    SYNCS.store(true, SeqCst);
    let begun = Instant::now();
    assert!(tier.close().is_err());
    // Thirty-two times the deadline would be more than that.
    assert!(begun.elapsed() < AFTER_CLOSE + SLACK, "{:?}", begun.elapsed());
    SYNCS.store(false, SeqCst);
}

#[test]
fn close_does_not_wait_for_a_client_that_is_stuck_in_a_read() {
    static READS: AtomicBool = AtomicBool::new(false);
    let (_manager, pools) = pools();
    let config = ColdTierConfig::builder().capacity_bytes(2 << 20).op_timeout(SLACK);
    let config = config.close_timeout(Duration::from_millis(200)).keep_hot_values(false).build().unwrap();
    let (media, held) = held_media(&config, &NEVER, &READS);
    let tier = ColdTier::open_with(media, config, pools).unwrap();
    tier.put(b"key", b"value").unwrap();
    tier.flush().unwrap();
    READS.store(true, SeqCst);
    let handle = tier.handle();
    std::thread::scope(|scope| {
        let stuck = scope.spawn(move || handle.get(b"key"));
        wait_until(|| held.load(SeqCst) > 0);
        let begun = Instant::now();
        assert_eq!(tier.close(), Err(CloseError::TimedOut));
        assert!(begun.elapsed() < AFTER_CLOSE + SLACK);
        assert_eq!(handle.get(b"key"), Err(crate::GetError::Tier(TierError::Closed)));
        READS.store(false, SeqCst);
        assert_eq!(stuck.join().unwrap(), Ok(Some(b"value".to_vec())), "it began before the close");
    });
}

#[test]
fn open_on_a_dead_medium_is_given_up() {
    static SYNCS: AtomicBool = AtomicBool::new(true);
    let (_manager, pools) = pools();
    let config = ColdTierConfig::builder().capacity_bytes(2 << 20).open_timeout(Duration::from_millis(50));
    let config = config.close_timeout(Duration::from_millis(50)).build().unwrap();
    let begun = Instant::now();
    let opened = ColdTier::open_with(held_media(&config, &SYNCS, &NEVER).0, config, pools);
    assert!(matches!(opened, Err(OpenError::TimedOut)), "{opened:?}");
    assert!(begun.elapsed() < SLACK);
    SYNCS.store(false, SeqCst);
}

#[test]
fn log_with_no_sequences_left_refuses_writes_and_is_read() {
    use coldpress_core::format::{Marker, Sequence};
    let (_manager, pools) = pools();
    let config = ColdTierConfig::builder().capacity_bytes(2 << 20).keep_hot_values(false);
    let config = config.codec(crate::CodecId::Raw).op_timeout(Duration::from_secs(120)).build().unwrap();
    let (mut media, _) = held_media(&config, &NEVER, &NEVER);
    let marker = Marker { erases: 1, sequence_issued: Sequence::new(u32::MAX - 4) };
    let _ = media[0].write(0, &marker.encode()).unwrap();
    let again = vec![media[0].another_view().unwrap()];
    let tier = ColdTier::open_with(media, config.clone(), pools.clone()).unwrap();
    tier.put(b"first", b"v").unwrap();
    tier.flush().unwrap();
    // More than what can still be opened holds; where it is noticed depends on how far the worker is.
    let refused = (0..600u32).find_map(|key| tier.put(&key.to_le_bytes(), &[7; 1_000]).err());
    assert!(
        refused.as_ref().is_none_or(|error| *error == crate::PutError::Tier(TierError::WornOut)),
        "{refused:?}"
    );
    assert_eq!(tier.flush(), Err(TierError::WornOut));
    assert_eq!(tier.remove(b"first"), Err(crate::RemoveError::Tier(TierError::WornOut)));
    assert_eq!(tier.get(b"first"), Ok(Some(b"v".to_vec())));
    assert_eq!(tier.get(&0u32.to_le_bytes()), Ok(Some(vec![7; 1_000])));
    assert!(matches!(tier.close(), Err(CloseError::Unwritten { writes: 1.., .. })));
    let tier = ColdTier::open_with(again, config, pools).unwrap();
    assert_eq!(tier.get(b"first"), Ok(Some(b"v".to_vec())));
}

/// A build with debug assertions panics in the worker instead, and the tier is poisoned.
#[cfg(not(debug_assertions))]
#[test]
fn broken_log_ends_its_partition_and_names_the_invariant() {
    use coldpress_core::invariant::Invariant;
    let (_manager, pools) = pools();
    let base = tempfile::tempdir().unwrap();
    let config = ColdTierConfig::builder().capacity_bytes(4 << 20).op_timeout(SLACK);
    let config = config.keep_hot_values(false).build().unwrap();
    let open = || ColdTier::open(base.path(), "test", config.clone(), pools.clone()).unwrap();
    let tier = open();
    tier.put(b"old", b"v").unwrap();
    tier.put(b"key", b"v").unwrap();
    tier.flush().unwrap();
    let corrupt = |open: &Open| -> Result<(), TierError> {
        let (hash, part) = open.route(b"key");
        let part = open.part(part)?;
        // The log will hear of more bytes that are live no more than were.
        part.shared.mutate(&open.terms, &hash, |entry| entry.stored_mut().unwrap().record_bytes += 1 << 16);
        Ok(())
    };
    assert_eq!(tier.handle().enter(corrupt), Ok(Ok(())));
    let _ = tier.put(b"key", b"w");
    let broken = TierError::Broken(Invariant::LiveCounts);
    assert_eq!(tier.flush(), Err(broken.clone()));
    assert_eq!(tier.put(b"new", b"v"), Err(crate::PutError::Tier(broken)));
    assert_eq!(tier.get(b"old"), Ok(Some(b"v".to_vec())), "reads go on");
    assert_eq!(tier.close(), Err(CloseError::Broken(Invariant::LiveCounts)));
    let tier = open();
    assert_eq!(tier.get(b"old"), Ok(Some(b"v".to_vec())), "what was synced is there");
    tier.put(b"new", b"v").unwrap();
    tier.close().unwrap();
}

/// A file whose device fails, as the system says it.
struct Dead {
    medium: crate::medium::FileMedium,
    fails: Fails,
    /// Reads that succeed before they fail.
    free_reads: &'static AtomicU32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    Reads(crate::medium::MediumError),
    Refresh,
    Sync,
}

const PATH: &str = "/srv/cold/docs/part-0.cold";

impl Dead {
    fn check(&self, fails: bool, operation: &'static str) -> Result<(), MediumFailure> {
        let kind = if let Fails::Reads(kind) = self.fails { kind } else { crate::medium::MediumError::Io };
        let failure = || {
            let error = io::Error::from_raw_os_error(5);
            MediumFailure::new(kind, FileError::new(operation, Path::new(PATH), &error))
        };
        if fails { Err(failure()) } else { Ok(()) }
    }
}

impl Medium for Dead {
    type Error = MediumFailure;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_shared(offset, buffer)
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<Started, MediumFailure> {
        self.medium.write(offset, from)
    }

    fn erase(&mut self, offset: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.medium.erase(offset, bytes)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        self.check(self.fails == Fails::Sync, "sync")?;
        self.medium.sync()
    }
}

impl ServiceMedium for Dead {
    fn read_shared(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        let is_free = self.free_reads.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        self.check(matches!(self.fails, Fails::Reads(_)) && !is_free, "read")?;
        self.medium.read_shared(offset, buffer)
    }

    fn refresh(&mut self) -> Result<(), MediumFailure> {
        self.check(self.fails == Fails::Refresh, "refresh")
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        self.medium.len()
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        let medium = self.medium.try_clone().map_err(|_| crate::medium::MediumError::Io)?;
        Ok(Box::new(Self { medium, ..*self }))
    }
}

#[test]
fn failed_mount_names_the_operation_the_path_and_the_code() {
    use crate::medium::{FileMedium, MediumError};
    let (_manager, pools) = pools();
    let config = ColdTierConfig::builder().capacity_bytes(2 << 20).build().unwrap();
    let file = tempfile::tempfile().unwrap();
    file.set_len(config.geometry.medium_bytes()).unwrap();
    let medium = || FileMedium::new(file.try_clone().unwrap());
    let open =
        |medium: Box<dyn ServiceMedium>| ColdTier::open_with(vec![medium], config.clone(), pools.clone());
    let tier = open(Box::new(medium())).unwrap();
    tier.put(b"key", b"value").unwrap();
    tier.close().unwrap();
    let failed = |fails, reads| {
        let free_reads: &'static AtomicU32 = Box::leak(Box::new(AtomicU32::new(reads)));
        open(Box::new(Dead { medium: medium(), fails, free_reads })).unwrap_err()
    };
    // The first two reads find the store. Those behind them are the mount's.
    for (fails, reads, operation) in [
        (Fails::Refresh, 0, "refresh"),
        (Fails::Reads(MediumError::Io), 2, "read"),
        (Fails::Reads(MediumError::Io), 0, "read"),
        (Fails::Reads(MediumError::Unreadable), 2, "read"),
        (Fails::Reads(MediumError::Unreadable), 0, "read"),
        (Fails::Sync, 0, "sync"),
    ] {
        let error = failed(fails, reads);
        let (OpenError::Medium(failure) | OpenError::Unread { failure, .. }) = &error else {
            panic!("{fails:?}: {error:?}")
        };
        let cause = failure.file_error().unwrap();
        assert_eq!((cause.operation(), cause.path(), cause.os_code()), (operation, Path::new(PATH), Some(5)));
        let said = format!("can't {operation} {PATH}: Input/output error (os error 5)");
        assert!(error.to_string().ends_with(&said), "{error}");
        let source: &dyn core::error::Error = &error;
        assert!(source.source().unwrap().source().unwrap().is::<FileError>());
    }
    assert_eq!(open(Box::new(medium())).unwrap().get(b"key"), Ok(Some(b"value".to_vec())));
}
