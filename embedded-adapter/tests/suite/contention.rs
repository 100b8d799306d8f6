//! Many threads share one cell and one mailbox, as interrupts would: none waits, and nothing is lost.

use core::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use coldpress_core::pool::{Pages, PagesError, Step};
use coldpress_embedded::{CleanupWorker, Mailbox, Progress, RequestError, StaticPages, TicketError, TryCell};

const ATTEMPTS: u32 = 20_000;

#[test]
fn hammered_cell_counts_each_attempt_once() {
    static CELL: TryCell<u32> = TryCell::new(0);
    static DONE: AtomicU32 = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..ATTEMPTS {
                    if CELL.try_with(|count| *count += 1).is_ok() {
                        DONE.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let done = DONE.load(Ordering::Relaxed);
    assert_eq!(CELL.try_with(|count| *count), Ok(done));
    assert_eq!(done + CELL.contended(), 4 * ATTEMPTS);
}

/// Asks until 200 requests were answered, each by its own ticket.
fn ask(mailbox: &Mailbox<4>, answered: &AtomicU32) {
    let mut open = None;
    let mut mine = 0;
    while mine < 200 {
        open = match open {
            None => match mailbox.emergency_cleanup(0) {
                Ok(ticket) => Some(ticket),
                Err(RequestError::Full | RequestError::Contended) => None,
                Err(error) => panic!("{error}"),
            },
            Some(ticket) => match mailbox.poll(ticket, 0) {
                Ok(Some(outcome)) => {
                    assert_eq!(outcome.map(|reclaimed| reclaimed.pages), Ok(1));
                    mine += 1;
                    None
                }
                Ok(None) | Err(TicketError::Contended) => Some(ticket),
                Err(error) => panic!("{error}"),
            },
        };
        thread::yield_now();
    }
    answered.fetch_add(mine, Ordering::Relaxed);
}

#[test]
fn hammered_mailbox_answers_each_request_once() {
    static MAILBOX: Mailbox<4> = Mailbox::new();
    let answered = AtomicU32::new(0);
    let replies = thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| ask(&MAILBOX, &answered));
        }
        let (mut worker, mut replies) = (CleanupWorker::new(), 0);
        while answered.load(Ordering::Relaxed) < 1_200 {
            let step = Step { pages_released: 1, done: true, ..Step::default() };
            replies += u32::from(matches!(worker.poll(&MAILBOX, 256, |_| step), Ok(Progress::Replied(_))));
            thread::yield_now();
        }
        replies
    });
    // I-REQ-1, I-REQ-2
    assert_eq!((replies, answered.load(Ordering::Relaxed)), (1_200, 1_200));
    assert_eq!((MAILBOX.waiting(), MAILBOX.stale_replies()), (Ok(0), Ok(0)));
}

#[test]
fn static_pages_are_whole_aligned_and_apart() {
    static PAGES: TryCell<StaticPages<24, 3>> = TryCell::new(StaticPages::new());
    const { assert!(StaticPages::<24, 3>::POOL_BYTES == 72 && StaticPages::<24, 3>::RAM_BYTES >= 72) };
    PAGES
        .try_with(|pages| {
            let taken = [(); 3].map(|()| pages.commit().unwrap());
            assert_eq!((pages.commit(), pages.free_pages()), (Err(PagesError::Exhausted), 0));
            for (mark, page) in (1..).zip(taken) {
                pages.bytes_mut(page).unwrap().fill(mark);
            }
            for (mark, page) in (1..).zip(taken) {
                let bytes = pages.bytes(page).unwrap();
                assert_eq!((bytes, bytes.as_ptr().align_offset(8)), ([mark; 24].as_slice(), 0));
            }
            let (from, to) = pages.pair(taken[2], taken[0]).unwrap();
            to.copy_from_slice(from);
            pages.release(taken[2]);
            assert_eq!(pages.bytes(taken[0]), Some([3; 24].as_slice()));
            assert_eq!((pages.bytes(taken[2]), pages.free_pages()), (None, 1));
        })
        .unwrap();
}
