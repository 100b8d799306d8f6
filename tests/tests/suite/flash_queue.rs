//! Queues across power cuts, over both drivers: a history is cut at every change of the flash, in every way. Acknowledged records are
//! there in their order, popped ones are gone, and the operation under way happened or did not.

use std::collections::VecDeque;

use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashQueue, Now, PutError, QueueError, buckets_for,
};
use coldpress_tests::driver::{AnyNorTier, Driver};
use coldpress_tests::flash::Flash;
use coldpress_tests::sim::Rng;

type Memory = FlashMemory<14, { buckets_for(60) }, 96>;
type Tier<'m, const UNIT: usize> = AnyNorTier<'m, &'m mut Flash<UNIT, 512>>;

const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };
const LEN_MAX: u16 = 6;

/// An operation of the history. The second queue shows that the two do not mix, the other keys that nothing else does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Push(usize, u32),
    PushOver(usize, u32),
    Pop(usize),
    Put(u32),
}

/// The content of both queues.
type Content = [VecDeque<u32>; 2];

fn record(number: u32) -> Vec<u8> {
    vec![number as u8 | 1; 4 + number as usize % 40].into_iter().chain(number.to_le_bytes()).collect()
}

fn number(record: &[u8]) -> u32 {
    let (rest, number) = record.split_last_chunk().unwrap();
    let number = u32::from_le_bytes(*number);
    assert_eq!(rest, &self::record(number)[..rest.len()], "a whole record");
    number
}

/// The states in which a cut of an operation may leave the queues, the last one where it was done.
fn after(content: &Content, act: Act) -> Vec<Content> {
    let mut states = vec![content.clone()];
    let mut next = content.clone();
    match act {
        Act::PushOver(queue, number) => {
            if next[queue].len() >= usize::from(LEN_MAX) {
                next[queue].pop_front();
                states.push(next.clone());
            }
            next[queue].push_back(number);
        }
        Act::Push(queue, number) if next[queue].len() < usize::from(LEN_MAX) => next[queue].push_back(number),
        Act::Pop(queue) => drop(next[queue].pop_front()),
        Act::Push(..) | Act::Put(_) => {}
    }
    states.push(next);
    states
}

fn mounted<'m, const UNIT: usize>(
    memory: &'m mut Memory,
    flash: &'m mut Flash<UNIT, 512>,
    driver: Driver,
) -> Tier<'m, UNIT> {
    let mut tier = AnyNorTier::new(driver, FlashConfig::new(512, 1), memory, flash, 0xFF).unwrap();
    tier.mount(NOW).unwrap();
    tier
}

fn opened<const UNIT: usize>(tier: &mut Tier<'_, UNIT>) -> [FlashQueue; 2] {
    [*b"q/0", *b"q/1"].map(|id| tier.open_queue(NOW, id, LEN_MAX).unwrap())
}

fn act<const UNIT: usize>(tier: &mut Tier<'_, UNIT>, queues: &mut [FlashQueue; 2], act: Act) {
    for _ in 0..1_000 {
        let done = match act {
            Act::Push(queue, number) => tier.push(&mut queues[queue], NOW, &record(number)),
            Act::PushOver(queue, number) => tier.push_over(&mut queues[queue], NOW, &record(number)),
            Act::Pop(queue) => tier.pop(&mut queues[queue], NOW).map(drop).map_err(QueueError::Put),
            Act::Put(number) => {
                tier.put(NOW, &[b'q', b'/', b'0', number as u8 % 4], &record(number)).map_err(QueueError::Put)
            }
        };
        match done {
            Err(QueueError::Put(PutError::NeedsCompaction)) => drop(tier.poll(NOW, 8)),
            Ok(()) | Err(QueueError::Full(_)) => return,
            Err(error) => panic!("{act:?}: {error}"),
        }
    }
    panic!("I-GC-2: {act:?} is put off for ever");
}

/// Takes everything out of the queues.
fn drained<const UNIT: usize>(tier: &mut Tier<'_, UNIT>, queues: &mut [FlashQueue; 2]) -> Content {
    [0, 1].map(|queue| {
        let (mut all, mut out) = (VecDeque::new(), [0; 96]);
        while let Some(record) = tier.peek(&mut queues[queue], NOW, &mut out).unwrap() {
            all.push_back(number(record));
            act(tier, queues, Act::Pop(queue));
        }
        assert!(queues[queue].is_empty());
        all
    })
}

fn history(seed: u64) -> Vec<Act> {
    let mut rng = Rng::new(seed);
    let step = |number: u32| {
        let queue = rng.below(2) as usize;
        match rng.below(10) {
            0..3 => Act::Push(queue, number),
            3..6 => Act::PushOver(queue, number),
            6..9 => Act::Pop(queue),
            _ => Act::Put(number),
        }
    };
    (1..400).map(step).collect()
}

/// The first life is over this driver. Those after a cut are over both in turn.
fn cut_everywhere<const UNIT: usize>(driver: Driver, seed: u64) {
    let acts = history(seed);
    let (mut memory, mut flash) = (Memory::new(), Flash::<UNIT, 512>::new(14, 0xFF));
    flash.keep_tape();
    let mut tier = mounted(&mut memory, &mut flash, driver);
    let mut queues = opened(&mut tier);
    // The content before each operation, and how many changes of the flash were made before its end.
    let (mut contents, mut ends) = (vec![Content::default()], Vec::new());
    for step in &acts {
        act(&mut tier, &mut queues, *step);
        ends.push(tier.flash().tape_len());
        let next = after(&contents[contents.len() - 1], *step).pop();
        contents.extend(next);
        let lens = [0, 1].map(|queue| queues[queue].len() as usize);
        assert_eq!(lens, contents[contents.len() - 1].clone().map(|queue| queue.len()));
    }
    assert!(tier.stats().counters.victims > 2, "segments were cleaned");
    drop(tier);
    let mut tried = 0u64;
    for (moment, change) in flash.take_tape().iter().enumerate() {
        let step = ends.iter().take_while(|end| **end <= moment).count();
        let expected = match acts.get(step) {
            Some(act) => after(&contents[step], *act),
            None => vec![contents[step].clone()],
        };
        for tear in change.tears() {
            let (mut flash, driver) = (change.torn(tear), Driver::of_seed(tried));
            let mut tier = mounted(&mut memory, &mut flash, driver);
            let mut queues = opened(&mut tier);
            // The queues go on where they are.
            act(&mut tier, &mut queues, Act::PushOver(0, 1_000));
            let mut found = drained(&mut tier, &mut queues);
            assert_eq!(found[0].pop_back(), Some(1_000));
            let is_right = expected.iter().any(|expected| {
                let mut expected = expected.clone();
                // The push dropped the oldest record of a full queue.
                if expected[0].len() >= usize::from(LEN_MAX) {
                    expected[0].pop_front();
                }
                found == expected
            });
            assert!(
                is_right,
                "{driver:?}, change {moment}, {tear:?}, {:?}: {found:?}, none of {expected:?}",
                acts.get(step)
            );
            // All were popped, so nothing comes back.
            drop(tier);
            let mut tier = mounted(&mut memory, &mut flash, driver.other());
            let mut queues = opened(&mut tier);
            assert_eq!(drained(&mut tier, &mut queues), Content::default());
            tried += 1;
        }
    }
    println!("units of {UNIT}, {driver:?}: {tried} cuts");
    assert!(tried > 5_000, "{tried}");
}

#[test]
fn queues_in_units_of_4_cut_anywhere_keep_their_order() {
    cut_everywhere::<4>(Driver::Blocking, 1);
}

#[test]
fn queues_in_units_of_1_cut_anywhere_keep_their_order() {
    cut_everywhere::<1>(Driver::Async, 2);
}

#[test]
fn queues_in_units_of_8_cut_anywhere_keep_their_order() {
    cut_everywhere::<8>(Driver::Async, 3);
}
