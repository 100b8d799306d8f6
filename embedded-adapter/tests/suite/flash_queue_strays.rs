//! Queues whose popped records come back, whose records can't be read for a while, and whose answers were not taken.

use core::cell::Cell;

use coldpress_core::drive::MediumError;
use coldpress_embedded::flash::{
    DeviceMedium, FlashConfig, FlashMemory, FlashQueue, FlashTier, GetError, Medium, NorMedium, Now,
    PutError, QueueError, Started, buckets_for,
};

use crate::ram::Ram;
use crate::slow::Slow;

type Memory = FlashMemory<16, { buckets_for(60) }, 128>;

const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };
const ID: [u8; 3] = *b"abc";
/// Behind the number in each record, so that records are found in the bytes of the flash.
const MARK: u8 = 0xEE;

/// A medium of which a part can't be read, or whose writes are done and fail.
struct Partly<'f> {
    flash: NorMedium<Ram<4, 1024>>,
    unread: &'f Cell<(u32, u32)>,
    fails: &'f Cell<bool>,
}

impl Medium for Partly<'_> {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        let (from, to) = self.unread.get();
        if at < u64::from(to) && at + bytes.len() as u64 > u64::from(from) {
            return Err(MediumError::Unreadable);
        }
        self.flash.read(at, bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        let written = self.flash.write(at, bytes);
        if self.fails.get() { Err(MediumError::Io) } else { written }
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.flash.erase(at, bytes)
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}

impl DeviceMedium for Partly<'_> {
    fn write_unit_bytes(&self) -> u32 {
        4
    }
    fn erase_unit_bytes(&self) -> u32 {
        1024
    }
    fn medium_bytes(&self) -> u64 {
        16 * 1024
    }
}

/// The switches of a medium.
#[derive(Default)]
struct Switches {
    unread: Cell<(u32, u32)>,
    fails: Cell<bool>,
}

impl Switches {
    fn mount<'m, 'f>(
        &'f self,
        memory: &'m mut Memory,
        flash: NorMedium<Ram<4, 1024>>,
    ) -> FlashTier<'m, Partly<'f>> {
        let medium = Partly { flash, unread: &self.unread, fails: &self.fails };
        let mut tier = FlashTier::new(FlashConfig::new(1024, 1), memory, medium).unwrap();
        tier.mount(NOW).unwrap();
        for _ in 0..1_000 {
            if tier.poll(NOW, 64).is_idle {
                break;
            }
        }
        tier
    }
}

fn blank() -> NorMedium<Ram<4, 1024>> {
    NorMedium::new(Ram::new(16))
}

fn push<M: Medium>(tier: &mut FlashTier<'_, M>, queue: &mut FlashQueue, number: u8) {
    for round in 0..10_000 {
        let now = Now { monotonic_ms: 1 + 100 * round, ..NOW };
        match queue.push(tier, now, &[number, MARK]) {
            Ok(()) => return,
            Err(QueueError::Put(_)) => drop(tier.poll(now, 16)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never pushed");
}

fn drained<M: Medium>(tier: &mut FlashTier<'_, M>, queue: &mut FlashQueue) -> Vec<u8> {
    let (mut all, mut out) = (Vec::new(), [0; 128]);
    while let Some(record) = queue.peek(tier, NOW, &mut out).unwrap() {
        all.push(record[0]);
        assert!(queue.pop(tier, NOW).unwrap());
    }
    all
}

#[test]
fn record_whose_tombstone_is_damaged_hides_no_other() {
    let (mut cases, mut came_back) = (0, 0);
    for bound in [1u16, 2, 3, 4, 8] {
        for live in 1..=bound as u8 {
            for popped in 1..=2 * bound as u8 + 3 {
                for age in 1..=popped.min(2 * bound as u8 + 2) {
                    let (mut memory, switches) = (Memory::new(), Switches::default());
                    let mut tier = switches.mount(&mut memory, blank());
                    let mut queue = FlashQueue::open(&mut tier, NOW, ID, bound).unwrap();
                    for number in 0..popped + live {
                        if queue.len() == u32::from(live) {
                            queue.pop(&mut tier, NOW).unwrap();
                        }
                        push(&mut tier, &mut queue, number);
                    }
                    let place = u16::from(popped - age) % (2 * bound + 2);
                    let key = [b'a', b'b', b'c', 0, bound as u8, 0, place as u8];
                    let mut flash = tier.into_medium().flash.into_flash();
                    let last = flash.bytes.windows(7).rposition(|bytes| bytes == key);
                    // The last record of the key is the tombstone, unless the place was taken again.
                    let Some(at) = last.filter(|at| flash.bytes[at + 8] != MARK) else { continue };
                    flash.bytes[at + 1] ^= 1;
                    let mut tier = switches.mount(&mut memory, NorMedium::new(flash));
                    let mut queue = FlashQueue::open(&mut tier, NOW, ID, bound).unwrap();
                    let has_more = queue.len() > u32::from(live);
                    // A queue with a record too many makes space for a push over it.
                    let mut over = FlashQueue::open(&mut tier, NOW, ID, bound).unwrap();
                    let found = drained(&mut tier, &mut queue);
                    let expected: Vec<u8> = (popped..popped + live).collect();
                    let kept: Vec<u8> =
                        found.iter().copied().filter(|number| expected.contains(number)).collect();
                    let case =
                        || format!("bound {bound}, {live} records, {popped} popped, age {age}: {found:?}");
                    assert!(kept.len() == expected.len(), "{}", case());
                    over.push_over(&mut tier, NOW, &[200, MARK]).unwrap();
                    assert!(over.len() <= bound.into(), "{}", case());
                    (cases, came_back) = (cases + 1, came_back + u32::from(has_more));
                }
            }
        }
    }
    assert!(cases > 500 && came_back > 50, "{cases} cases, {came_back} with a record more");
}

#[test]
fn records_that_can_be_read_again_hide_none_that_were_pushed() {
    for bound in [2u16, 3, 4] {
        let (mut memory, switches) = (Memory::new(), Switches::default());
        let mut tier = switches.mount(&mut memory, blank());
        let mut queue = FlashQueue::open(&mut tier, NOW, ID, bound).unwrap();
        for number in 0..2 * bound as u8 {
            queue.push_over(&mut tier, NOW, &[number, MARK, 0x55]).unwrap();
        }
        let flash = tier.into_medium().flash.into_flash();
        let at = flash.bytes.windows(3).position(|bytes| bytes == [0, MARK, 0x55]).unwrap() as u32;
        switches.unread.set((at / 1024 * 1024 + 64, (at / 1024 + 1) * 1024));
        let mut tier = switches.mount(&mut memory, NorMedium::new(flash));
        let mut queue = FlashQueue::open(&mut tier, NOW, ID, bound).unwrap();
        assert!(queue.is_empty());
        for number in 0..bound as u8 {
            push(&mut tier, &mut queue, 100 + number);
        }
        switches.unread.set((0, 0));
        let flash = tier.into_medium().flash;
        let mut tier = switches.mount(&mut memory, flash);
        let mut queue = FlashQueue::open(&mut tier, NOW, ID, bound).unwrap();
        let found = drained(&mut tier, &mut queue);
        let new: Vec<u8> = found.iter().copied().filter(|number| *number >= 100).collect();
        assert_eq!(new, (100..100 + bound as u8).collect::<Vec<_>>(), "bound {bound}: {found:?}");
    }
}

#[test]
fn records_of_two_bounds_are_each_opened_by_their_own() {
    let (mut memory, switches) = (Memory::new(), Switches::default());
    let mut tier = switches.mount(&mut memory, blank());
    let mut queue = FlashQueue::open(&mut tier, NOW, ID, 2).unwrap();
    push(&mut tier, &mut queue, 0);
    push(&mut tier, &mut queue, 1);
    assert_eq!(drained(&mut tier, &mut queue), [0, 1]);
    switches.fails.set(true);
    // It is on the flash, and came to nothing as far as this mount knows.
    assert!(matches!(queue.push(&mut tier, NOW, &[9, MARK]), Err(QueueError::Put(_))));
    switches.fails.set(false);
    let mut queue = FlashQueue::open(&mut tier, NOW, ID, 3).unwrap();
    push(&mut tier, &mut queue, 3);
    push(&mut tier, &mut queue, 4);
    let flash = tier.into_medium().flash;
    let mut tier = switches.mount(&mut memory, flash);
    assert!(matches!(FlashQueue::open(&mut tier, NOW, ID, 4), Err(QueueError::Bound(2 | 3))));
    for (bound, expected) in [(2, vec![9]), (3, vec![3, 4])] {
        let mut queue = FlashQueue::open(&mut tier, NOW, ID, bound).unwrap();
        assert_eq!(drained(&mut tier, &mut queue), expected);
    }
    assert!(FlashQueue::open(&mut tier, NOW, ID, 4).unwrap().is_empty());
}

#[test]
fn key_with_a_place_beyond_the_ring_is_no_record() {
    for place in [6u8, 9, 200] {
        let (mut memory, switches) = (Memory::new(), Switches::default());
        let mut tier = switches.mount(&mut memory, blank());
        tier.put(NOW, &[b'a', b'b', b'c', 0, 2, 0, place], b"x").unwrap();
        tier.put(NOW, &[b'a', b'b', b'c', 0, 2, 0, 1], b"y").unwrap();
        let mut queue = FlashQueue::open(&mut tier, NOW, ID, 2).unwrap();
        assert_eq!(queue.len(), 1);
        assert_eq!(drained(&mut tier, &mut queue), [b'y']);
    }
}

#[test]
fn unreadable_record_of_another_key_is_no_hindrance() {
    let (mut memory, switches) = (Memory::new(), Switches::default());
    let mut tier = switches.mount(&mut memory, blank());
    tier.put(NOW, b"stranger", &[0xAB; 60]).unwrap();
    let mut queue = FlashQueue::open(&mut tier, NOW, ID, 4).unwrap();
    (0..3).for_each(|number| push(&mut tier, &mut queue, number));
    let at =
        tier.medium().flash.flash().bytes.windows(8).position(|bytes| bytes == b"stranger").unwrap() as u32;
    switches.unread.set((at - 8, at + 52));
    let mut queue = FlashQueue::open(&mut tier, NOW, ID, 4).unwrap();
    assert_eq!(queue.len(), 3);
    assert_eq!(queue.peek(&mut tier, NOW, &mut [0; 8]).map(|record| record.is_some()), Ok(true));
}

#[test]
fn pop_made_again_after_other_calls_drops_one_record() {
    for between in 0..4 {
        let mut memory = Memory::new();
        let slow = Slow::new(blank());
        let mut tier = FlashTier::new(FlashConfig::new(1024, 1), &mut memory, slow).unwrap();
        while !tier.poll(NOW, 64).is_idle {}
        tier.mount(NOW).unwrap();
        let mut queue = FlashQueue::open(&mut tier, NOW, ID, if between == 3 { 4 } else { 9 }).unwrap();
        for number in 0..4u8 {
            while queue.push(&mut tier, NOW, &[number, MARK]).is_err() {}
        }
        assert!(matches!(queue.pop(&mut tier, NOW), Err(PutError::Busy(_))));
        let mut out = [0; 8];
        match between {
            1 => while queue.push(&mut tier, NOW, &[9, MARK]).is_err() {},
            2 => {
                let seen = loop {
                    match queue.peek(&mut tier, NOW, &mut out) {
                        Err(GetError::Busy) => {}
                        seen => break seen.unwrap().map(|record| record[0]),
                    }
                };
                assert_eq!(seen, Some(1));
            }
            3 => while queue.push_over(&mut tier, NOW, &[9, MARK]).is_err() {},
            _ => {}
        }
        let again = loop {
            match queue.pop(&mut tier, NOW) {
                Err(PutError::Busy(_)) => {}
                again => break again,
            }
        };
        assert_eq!(again, Ok(true));
        let mut left = Vec::new();
        while !queue.is_empty() {
            match queue.peek(&mut tier, NOW, &mut out) {
                Ok(Some(record)) => left.push(record[0]),
                Ok(None) => break,
                Err(_) => continue,
            }
            while queue.pop(&mut tier, NOW).is_err() {}
        }
        let expected: &[u8] = if between % 2 == 1 { &[1, 2, 3, 9] } else { &[1, 2, 3] };
        assert_eq!(left, expected, "between: {between}");
    }
}

#[test]
fn pop_that_was_put_off_and_a_push_over_drop_one_record() {
    let (mut memory, switches) = (Memory::new(), Switches::default());
    let mut tier = switches.mount(&mut memory, blank());
    let mut queue = FlashQueue::open(&mut tier, NOW, ID, 2).unwrap();
    push(&mut tier, &mut queue, 0);
    push(&mut tier, &mut queue, 1);
    switches.fails.set(true);
    assert!(matches!(queue.pop(&mut tier, NOW), Err(PutError::Medium(_))));
    switches.fails.set(false);
    // The tier waits before it writes again: the record is still there.
    assert!(matches!(queue.pop(&mut tier, NOW), Err(PutError::Busy(_))));
    assert_eq!(queue.peek(&mut tier, NOW, &mut [0; 8]), Ok(Some(&[0, MARK][..])));
    let later = Now { monotonic_ms: 1_000_000, ..NOW };
    for _ in 0..1_000 {
        if queue.push_over(&mut tier, later, &[9, MARK]).is_ok() {
            break;
        }
        tier.poll(later, 16);
    }
    assert_eq!(queue.pop(&mut tier, later), Ok(true));
    for expected in [1, 9] {
        assert_eq!(queue.peek(&mut tier, later, &mut [0; 8]), Ok(Some(&[expected, MARK][..])));
        assert_eq!(queue.pop(&mut tier, later), Ok(true));
    }
    assert_eq!(queue.pop(&mut tier, later), Ok(false));
}
