//! Futures of queues that are dropped at every await point of a history: the operation happened or did not, and the queues go on.

use std::collections::VecDeque;

use coldpress_embedded::flash::{
    AsyncNorMedium, FlashConfig, FlashMemory, FlashQueue, FlashTier, NorMedium, Now, PutError, QueueError,
    buckets_for,
};
use coldpress_tests::flash::{Flash, Waiting, run};

type Memory = FlashMemory<12, { buckets_for(40) }, 96>;
type Chip = Flash<4, 512>;
type Tier<'m> = FlashTier<'m, AsyncNorMedium<Waiting<&'m mut Chip>>>;
type Content = VecDeque<u32>;

const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };
const LEN_MAX: u16 = 4;
const ID: [u8; 3] = *b"log";

#[derive(Debug, Clone, Copy)]
enum Act {
    Push(u32),
    PushOver(u32),
    Pop,
}

/// The call after the one whose future was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The queue is opened again.
    Open,
    /// Another record is pushed.
    Push,
}

fn record(number: u32) -> Vec<u8> {
    [vec![number as u8; 40], number.to_le_bytes().to_vec()].concat()
}

fn number(record: &[u8]) -> u32 {
    let number = u32::from_le_bytes(*record.last_chunk().unwrap());
    assert_eq!(record, self::record(number), "a whole record");
    number
}

/// The states in which a dropped operation may leave the queue, the last one where it was done.
fn after(content: &Content, act: Act) -> Vec<Content> {
    let (mut states, mut next) = (vec![content.clone()], content.clone());
    match act {
        Act::PushOver(number) => {
            if next.len() >= usize::from(LEN_MAX) {
                next.pop_front();
                states.push(next.clone());
            }
            next.push_back(number);
        }
        Act::Push(number) if next.len() < usize::from(LEN_MAX) => next.push_back(number),
        Act::Push(_) => {}
        Act::Pop => drop(next.pop_front()),
    }
    states.push(next);
    states
}

async fn act(tier: &mut Tier<'_>, queue: &mut FlashQueue, act: Act) {
    for _ in 0..1_000 {
        let done = match act {
            Act::Push(number) => queue.push_async(tier, NOW, &record(number)).await,
            Act::PushOver(number) => queue.push_over_async(tier, NOW, &record(number)).await,
            Act::Pop => queue.pop_async(tier, NOW).await.map(drop).map_err(QueueError::Put),
        };
        match done {
            Err(QueueError::Put(PutError::NeedsCompaction)) => drop(tier.poll(NOW, 8).await),
            Ok(()) | Err(QueueError::Full(_)) => return,
            Err(error) => panic!("{act:?}: {error}"),
        }
    }
    panic!("I-GC-2: {act:?} is put off for ever");
}

async fn drained(tier: &mut Tier<'_>, queue: &mut FlashQueue) -> Content {
    let (mut all, mut out) = (Content::new(), [0; 96]);
    while let Some(record) = queue.peek_async(tier, NOW, &mut out).await.unwrap() {
        all.push_back(number(record));
        act(tier, queue, Act::Pop).await;
    }
    assert!(queue.is_empty());
    all
}

fn whole<T>(future: impl Future<Output = T>) -> T {
    run(future, None).0.unwrap()
}

/// Lives a history whose future at an await point is dropped, torn or not. Returns whether there was such a point.
fn live(drop_at: u64, tear: Option<u64>, next: Next) -> bool {
    let (mut memory, mut flash) = (Memory::new(), Chip::new(12, 0xFF));
    let waiting = Waiting::new(&mut flash);
    let mut tier =
        FlashTier::new(FlashConfig::new(512, 1), &mut memory, AsyncNorMedium::new(waiting)).unwrap();
    whole(tier.mount(NOW)).unwrap();
    let mut queue = whole(FlashQueue::open_async(&mut tier, NOW, ID, LEN_MAX)).unwrap();
    let (mut content, mut points, mut dropped) = (Content::new(), 0, false);
    for step in 0..36u32 {
        let step = match step % 9 {
            0..3 => Act::Push(step),
            3..7 => Act::PushOver(step),
            _ => Act::Pop,
        };
        let states = after(&content, step);
        let left = (!dropped).then(|| drop_at - points);
        tier.medium().flash().tear_with(tear);
        let (done, passed) = run(act(&mut tier, &mut queue, step), left);
        tier.medium().flash().tear_with(None);
        points += passed;
        if done.is_some() {
            content = states.last().unwrap().clone();
        } else {
            dropped = true;
            let case = || format!("{step:?} dropped at {drop_at}, {tear:?}, {next:?}");
            if next == Next::Push {
                whole(act(&mut tier, &mut queue, Act::PushOver(900)));
            }
            let mut again = whole(FlashQueue::open_async(&mut tier, NOW, ID, LEN_MAX)).unwrap();
            let found = whole(drained(&mut tier, &mut again));
            let is_right = states.iter().any(|state| match next {
                Next::Open => *state == found,
                // A push that was dropped gives its place to this one.
                Next::Push => after(state, Act::PushOver(900)).last() == Some(&found),
            });
            assert!(is_right, "{}: {found:?}, none of {states:?}", case());
            // A push over a full queue that was dropped before its push left one record less.
            let pushed = match step {
                Act::Push(number) | Act::PushOver(number) => Some(number),
                Act::Pop => None,
            };
            assert!(next == Next::Open || pushed.is_none_or(|number| !found.contains(&number)), "{}", case());
            content = Content::new();
            queue = again;
        }
    }
    assert_eq!(whole(drained(&mut tier, &mut queue)), content);
    drop(tier);
    // No record comes back at the next mount, over the other kind of flash.
    let mut tier = FlashTier::new(FlashConfig::new(512, 1), &mut memory, NorMedium::new(&mut flash)).unwrap();
    tier.mount(NOW).unwrap();
    let mut queue = FlashQueue::open(&mut tier, NOW, ID, LEN_MAX).unwrap();
    assert_eq!(queue.peek(&mut tier, NOW, &mut [0; 96]), Ok(None));
    dropped
}

#[test]
fn queue_future_dropped_anywhere_happened_or_did_not() {
    let mut tried = 0;
    for next in [Next::Open, Next::Push] {
        for tear in [None, Some(0), Some(3), Some(7)] {
            let mut drop_at = 0;
            while live(drop_at, tear, next) {
                (drop_at, tried) = (drop_at + 1, tried + 1);
            }
            assert!(drop_at > 200, "{drop_at} await points");
        }
    }
    println!("{tried} futures of queues dropped");
}
