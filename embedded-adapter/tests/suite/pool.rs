//! A pool in static memory, cleaned up through the mailbox, checked object by object.

use coldpress_core::cleanup::{CleanupError, Reclaimed};
use coldpress_core::pool::{ArrayTables, Handle, Limits, Pool, SizeClasses, Terms};
use coldpress_embedded::{CleanupWorker, Mailbox, Progress, StaticPages, TryCell};

const PAGE: usize = 256;
const PAGES: usize = 16;
type Region = StaticPages<PAGE, PAGES>;
type Tables = ArrayTables<u16, 128, PAGES, 128, 2>;
type StaticPool = Pool<&'static mut Region, Tables>;

fn pool(region: &'static TryCell<Region>, limits: Limits) -> StaticPool {
    let classes = [32, 64];
    let classes = SizeClasses::new(&classes).unwrap();
    Pool::new(region.take().unwrap(), Tables::new(), classes, limits).unwrap()
}

/// Fills eight pages of each class and frees three objects of four; each one that is left holds its number.
fn fill_with_holes(pool: &mut StaticPool, terms: Terms) -> Vec<(Handle, u8)> {
    let lengths = [32u32; 64].into_iter().chain([60; 32]);
    let all = (0..).zip(lengths).map(|(mark, len)| {
        let handle = pool.allocate(len, terms, u16::from(mark)).unwrap();
        pool.bytes_mut(handle).unwrap().fill(mark);
        (handle, mark)
    });
    // All are allocated before the first is freed, so that pages are left with holes.
    let all: Vec<_> = all.collect();
    let (kept, freed): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, mark)| mark % 4 == 0);
    for (handle, _) in freed {
        pool.free(handle).unwrap();
    }
    kept
}

/// Polls until the reply is out; returns how many steps it took.
fn serve(
    worker: &mut CleanupWorker,
    mailbox: &Mailbox<2>,
    pool: &mut StaticPool,
    dropped: &mut Vec<u16>,
) -> u32 {
    for steps in 1..1_000 {
        let progress = worker.poll_pool(mailbox, pool, 100, 128, |object| dropped.push(object.tag)).unwrap();
        pool.audit().unwrap();
        if matches!(progress, Progress::Replied(_)) {
            return steps;
        }
    }
    panic!("not done after 1,000 steps");
}

#[test]
fn holed_pool_defragmented_frees_pages_and_keeps_every_object() {
    static REGION: TryCell<Region> = TryCell::new(Region::new());
    let mut pool = pool(&REGION, Limits { spare_pages_max: 0, ..Limits::default() });
    let kept = fill_with_holes(&mut pool, Terms::default());
    assert_eq!(pool.pages().free_pages(), 0);

    let (mailbox, mut worker) = (Mailbox::<2>::new(), CleanupWorker::new());
    let ticket = mailbox.trigger_defragmentation(0).unwrap();
    let steps = serve(&mut worker, &mailbox, &mut pool, &mut Vec::new());

    let reclaimed = mailbox.poll(ticket, 1).unwrap().unwrap().unwrap();
    // 16 objects of 32 bytes and 8 of 60 fit two pages each: twelve of sixteen go back (I-POOL-2).
    assert_eq!((reclaimed.pages, reclaimed.bytes), (12, 12 * PAGE as u64));
    assert_eq!(pool.pages().free_pages(), 12);
    assert!(steps > 1, "the work is spread over steps");
    for (handle, mark) in kept {
        // I-POOL-1
        assert!(pool.bytes(handle).unwrap().iter().all(|byte| *byte == mark), "{mark}");
    }
}

#[test]
fn full_pool_emergency_drops_the_expired_and_tells_which() {
    static REGION: TryCell<Region> = TryCell::new(Region::new());
    let low_watermark_bytes = 4 * PAGE as u64;
    let limits = Limits { spare_pages_max: 0, low_watermark_bytes, ..Limits::default() };
    let mut pool = pool(&REGION, limits);
    let kept = fill_with_holes(&mut pool, Terms { expires_s: Some(50), ..Terms::default() });

    let (mailbox, mut worker, mut dropped) = (Mailbox::<2>::new(), CleanupWorker::new(), Vec::new());
    let ticket = mailbox.emergency_cleanup(0).unwrap();
    serve(&mut worker, &mailbox, &mut pool, &mut dropped);

    let reclaimed: Result<Reclaimed, CleanupError> = mailbox.poll(ticket, 1).unwrap().unwrap();
    assert_eq!(reclaimed.map(|reclaimed| (reclaimed.pages, reclaimed.dropped_objects)), Ok((16, 24)));
    dropped.sort_unstable();
    assert_eq!(dropped, kept.iter().map(|(_, mark)| u16::from(*mark)).collect::<Vec<_>>());
    assert!(kept.iter().all(|(handle, _)| pool.bytes(*handle).is_err()));
}
