//! Futures that are dropped at each point of their way: nothing that was reserved for them is left.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use super::reader::READS_MAX;
use crate::admission::ASKED_MAX;
use crate::api::handle::ColdTierHandle;
use crate::api::open::ColdTier;
use crate::api::put::PutOptions;
use crate::config::{ColdTierConfig, Durability};
use crate::errors::TierError;
use crate::pool::{AllocationManager, PoolConfig};
use crate::storage::ServiceMedium as _;
use crate::storage::medium::FileMedium;
use crate::worker::Message;

/// Longer than any step takes on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// All places of the queue of writes.
const QUEUED_MAX: u32 = 8192;

fn open(dir: &Path) -> (ColdTier, AllocationManager) {
    open_until(dir, PATIENCE)
}

fn open_until(dir: &Path, op_timeout: Duration) -> (ColdTier, AllocationManager) {
    let pools = PoolConfig::builder().capacity_bytes(4 << 20).partitions(1).build().unwrap();
    let (manager, pools) = AllocationManager::new(&pools).unwrap();
    let config = ColdTierConfig::builder().capacity_bytes(8 << 20);
    let config = config.op_timeout(op_timeout).close_timeout(PATIENCE).build().unwrap();
    let tier = ColdTier::open(dir, "t", config, pools).unwrap();
    // The medium has allocated blocks from then on: the first put of a new tier waits for them.
    tier.put(b"first", b"0").unwrap();
    tier.flush().unwrap();
    eventually("the worker is at rest", || taken(&tier) == (0, 0, false));
    (tier, manager)
}

fn poll_once<F: Future>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls until the future is over.
fn run<F: Future>(future: F) -> F::Output {
    let (mut future, begun) = (pin!(future), Instant::now());
    loop {
        if let Poll::Ready(output) = poll_once(future.as_mut()) {
            return output;
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Places of writes that are taken, pending bytes, and whether anybody waits.
fn taken(tier: &ColdTierHandle) -> (u32, u64, bool) {
    let look = |open: &crate::api::opened::Open| {
        let admission = &open.parts[0].shared.admission;
        (admission.budget.queued(), admission.budget.pending_bytes(), admission.has_waiters())
    };
    tier.enter(look).unwrap()
}

fn set_taken(tier: &ColdTierHandle, queued: u32, asked: u32) {
    tier.enter(|open| open.parts[0].shared.admission.budget.set_taken(queued, asked)).unwrap();
}

const SYNCED: PutOptions =
    PutOptions { ttl: crate::api::ttl::Ttl::Configured, durability: Some(Durability::Synced) };

#[test]
fn put_dropped_before_its_first_poll_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    drop(tier.put_async(b"a", b"1"));
    drop(tier.remove_async(b"a"));
    assert_eq!((tier.get(b"a"), taken(&tier)), (Ok(None), (0, 0, false)));
    assert_eq!((tier.stats().puts, tier.stats().removes), (1, 0));
}

#[test]
fn put_with_space_is_over_in_its_first_poll() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    assert_eq!(poll_once(pin!(tier.put_async(b"a", b"1"))), Poll::Ready(Ok(())));
    tier.flush().unwrap();
    assert_eq!(poll_once(pin!(tier.remove_async(b"a"))), Poll::Ready(Ok(true)));
    assert_eq!(poll_once(pin!(tier.get_async(b"a"))), Poll::Ready(Ok(None)));
}

/// Whether the filesystem tells which bytes are in the page cache.
fn tells_of_its_cache(dir: &Path) -> bool {
    let medium = FileMedium::new(tempfile::tempfile_in(dir).unwrap());
    medium.write_at(0, &[7; 8192]).unwrap();
    let mut bytes = [0; 100];
    medium.read_cached(4_090, &mut bytes) == Ok(true) && bytes == [7; 100]
}

#[test]
fn value_in_the_page_cache_is_read_in_the_first_poll() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    let values = [b"short".to_vec(), vec![8; 100_000]];
    for value in &values {
        tier.put_with(b"a", value, SYNCED).unwrap();
        let mut get = pin!(tier.get_async(b"a"));
        let first = poll_once(get.as_mut());
        // Elsewhere the thread reads it.
        let found = match first {
            Poll::Ready(found) => found,
            Poll::Pending => run(get),
        };
        assert_eq!(found, Ok(Some(value.clone())));
    }
    let has_reader = tier.enter(|open| open.parts[0].reader.has_begun()).unwrap();
    assert_eq!(has_reader, !tells_of_its_cache(dir.path()));
}

#[test]
fn put_dropped_in_line_leaves_no_permit() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    set_taken(&tier, QUEUED_MAX, 0);
    {
        let mut put = pin!(tier.put_async(b"a", b"1"));
        assert!(poll_once(put.as_mut()).is_pending());
        assert_eq!(taken(&tier), (QUEUED_MAX, 0, true));
    }
    assert_eq!(taken(&tier), (QUEUED_MAX, 0, false), "it left the line");
    {
        let mut put = pin!(tier.put_async(b"a", b"1"));
        assert!(poll_once(put.as_mut()).is_pending());
        set_taken(&tier, 0, 0);
        eventually("the worker gives it a permit", || taken(&tier).0 == 1);
        assert!(taken(&tier).1 > 0);
    }
    assert_eq!(taken(&tier), (0, 0, false), "it gave its permit back");
    assert_eq!(tier.get(b"a"), Ok(None));
    set_taken(&tier, QUEUED_MAX, 0);
    let mut put = pin!(tier.put_async(b"a", b"1"));
    assert!(poll_once(put.as_mut()).is_pending());
    set_taken(&tier, 0, 0);
    assert_eq!(run(put), Ok(()));
    assert_eq!(tier.get(b"a"), Ok(Some(b"1".to_vec())));
    tier.flush().unwrap();
    eventually("all is given back", || taken(&tier) == (0, 0, false));
    assert!(tier.is_recount_exact().unwrap());
}

#[test]
fn put_dropped_after_it_was_sent_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    {
        let mut put = pin!(tier.put_with_async(b"a", b"1", SYNCED));
        let _ = poll_once(put.as_mut());
    }
    assert_eq!(tier.get(b"a"), Ok(Some(b"1".to_vec())));
    {
        let mut remove = pin!(tier.remove_with_async(b"a", Durability::Synced));
        let _ = poll_once(remove.as_mut());
    }
    assert_eq!(tier.get(b"a"), Ok(None));
    tier.flush().unwrap();
    eventually("all is given back", || taken(&tier) == (0, 0, false));
    assert!(tier.is_recount_exact().unwrap());
}

#[test]
fn long_put_dropped_between_pieces_leaves_the_old_value() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    tier.put_with(b"a", b"old", SYNCED).unwrap();
    let charge = || tier.enter(|open| open.parts[0].shared.admission.charges.charge()).unwrap();
    let before = charge();
    let value: Vec<u8> = (0..200_000u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    {
        let mut put = pin!(tier.put_async(b"a", &value));
        // It waits for a sync of its pieces.
        assert!(poll_once(put.as_mut()).is_pending());
        assert!(charge() > before);
    }
    assert_eq!(tier.get(b"a"), Ok(Some(b"old".to_vec())));
    eventually("its pieces are swept", || charge() == before);
    assert_eq!(run(tier.put_async(b"a", &value)), Ok(()));
    assert_eq!(run(tier.get_async(b"a")), Ok(Some(value)));
    tier.flush().unwrap();
    eventually("all is given back", || taken(&tier) == (0, 0, false));
    eventually("the sums equal a recount", || tier.is_recount_exact().unwrap());
}

#[test]
fn flush_dropped_in_line_leaves_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    set_taken(&tier, 0, ASKED_MAX);
    {
        let mut flush = pin!(tier.flush_async());
        assert!(poll_once(flush.as_mut()).is_pending());
        assert!(taken(&tier).2);
    }
    assert!(!taken(&tier).2);
    let mut flush = pin!(tier.flush_async());
    assert!(poll_once(flush.as_mut()).is_pending());
    set_taken(&tier, 0, 0);
    assert_eq!(run(flush), Ok(()));
}

#[test]
fn reads_beyond_the_queue_wait_in_line() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    let counts = || tier.enter(|open| open.parts[0].reader.counts()).unwrap();
    let (release, held) = crossbeam_channel::bounded::<()>(0);
    let first = move |_: &ColdTierHandle| held.recv().is_err();
    let mut reads: Vec<_> = vec![Box::pin(tier.on_reader(0, first))];
    assert!(poll_once(reads[0].as_mut()).is_pending());
    eventually("the reader has the first", || counts() == (0, 0));
    let (order, done) = crossbeam_channel::unbounded();
    let read = |at: usize| {
        let order = order.clone();
        Box::pin(tier.on_reader(0, move |_| order.send(at).is_ok()))
    };
    let mut behind: Vec<_> = (0..READS_MAX + 10).map(read).collect();
    behind.iter_mut().for_each(|read| assert!(poll_once(read.as_mut()).is_pending()));
    assert_eq!(counts(), (READS_MAX, 10));
    // One in the queue and two in the line are dropped: a read of the first is not made.
    drop(behind.remove(READS_MAX + 4));
    drop(behind.remove(READS_MAX));
    drop(behind.remove(7));
    assert_eq!(counts(), (READS_MAX, 8));
    drop(release);
    assert_eq!(run(reads.remove(0)), Ok(true));
    for read in behind {
        assert_eq!(run(read), Ok(true));
    }
    let expected = (0..READS_MAX + 10).filter(|at| ![7, READS_MAX, READS_MAX + 4].contains(at));
    assert_eq!(done.try_iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(counts(), (0, 0));
}

#[test]
fn read_that_panics_panics_in_its_future_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    let handle = tier.handle();
    let read = |_: &ColdTierHandle| -> u8 { panic!("as a medium does") };
    let panicked = std::thread::spawn(move || run(handle.on_reader(0, read)));
    assert!(panicked.join().is_err());
    assert_eq!(run(tier.on_reader(0, |_| 7)), Ok(7));
}

#[test]
fn dropped_flushes_do_not_pile_up_behind_one_that_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    for _ in 0..5_000 {
        let mut flush = pin!(tier.flush_async());
        let _ = poll_once(flush.as_mut());
    }
    assert_eq!(run(tier.flush_async()), Ok(()));
    let asked = || tier.enter(|open| open.parts[0].shared.admission.budget.asked()).unwrap();
    eventually("all places are given back", || asked() == 0);
}

#[test]
fn message_beyond_the_deadline_is_timed_out() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open(dir.path());
    set_taken(&tier, 0, ASKED_MAX);
    let send = tier.send_message_async(0, Message::Cancel, Instant::now());
    assert_eq!(poll_once(pin!(send)), Poll::Ready(Err(TierError::TimedOut)));
    set_taken(&tier, 0, 0);
}

#[test]
fn future_that_nobody_polls_leaves_its_line_at_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = open_until(dir.path(), Duration::from_millis(200));
    set_taken(&tier, QUEUED_MAX, 0);
    let mut put = pin!(tier.put_async(b"a", b"1"));
    assert!(poll_once(put.as_mut()).is_pending());
    set_taken(&tier, 0, 0);
    eventually("it gets a permit, and loses it", || {
        let (queued, bytes, has_waiters) = taken(&tier);
        queued == 0 && bytes == 0 && !has_waiters
    });
    // Its last try needs no permit: there is space.
    assert_eq!(poll_once(put.as_mut()), Poll::Ready(Ok(())));
    tier.flush().unwrap();
    eventually("all is given back", || taken(&tier) == (0, 0, false));
}
