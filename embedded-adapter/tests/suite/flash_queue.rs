//! Queues on a flash tier, against a model.

use core::cell::RefCell;
use std::collections::VecDeque;

use crate::ram::Ram;
use crate::shared::Shared;
use crate::slow::Slow;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashQueue, FlashTier, GetError, Medium, NorMedium, PutError, QUEUE_LEN_MAX,
    QueueError, Wait, buckets_for,
};

type Memory = FlashMemory<16, { buckets_for(60) }, 128>;
type Tier<'m> = FlashTier<'m, NorMedium<Ram<4, 1024>>>;

const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };

fn mounted(memory: &mut Memory, flash: Ram<4, 1024>) -> Tier<'_> {
    let mut tier = FlashTier::new(FlashConfig::new(1024, 1), memory, NorMedium::new(flash)).unwrap();
    tier.mount(NOW).unwrap();
    while !tier.poll(NOW, 64).is_idle {}
    tier
}

/// Repeats a call until it is not put off, and polls between.
fn until_done<M: Medium, T>(
    tier: &mut FlashTier<'_, M>,
    mut call: impl FnMut(&mut FlashTier<'_, M>) -> Result<T, QueueError>,
) -> Result<T, QueueError> {
    for _ in 0..1_000 {
        match call(tier) {
            Err(QueueError::Put(PutError::NeedsCompaction)) => drop(tier.poll(NOW, 16)),
            done => return done,
        }
    }
    panic!("I-GC-2: put off a thousand times");
}

fn push(tier: &mut Tier<'_>, queue: &mut FlashQueue, record: &[u8]) -> Result<(), QueueError> {
    until_done(tier, |tier| queue.push(tier, NOW, record))
}

fn pop(tier: &mut Tier<'_>, queue: &mut FlashQueue) -> bool {
    until_done(tier, |tier| Ok(queue.pop(tier, NOW)?)).unwrap()
}

fn peek(tier: &mut Tier<'_>, queue: &mut FlashQueue) -> Result<Option<Vec<u8>>, GetError> {
    queue.peek(tier, NOW, &mut [0; 128]).map(|record| record.map(<[u8]>::to_vec))
}

/// Takes all records out of a queue.
fn drained(tier: &mut Tier<'_>, queue: &mut FlashQueue) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(record) = peek(tier, queue).unwrap() {
        all.push(record);
        assert!(pop(tier, queue));
    }
    assert!(queue.is_empty() && !pop(tier, queue));
    all
}

#[test]
fn queues_follow_a_model_over_many_mounts() {
    let (mut memory, mut flash, mut state) = (Memory::new(), Ram::new(16), 1u64);
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut model = [VecDeque::new(), VecDeque::new()];
    let (mut refused, mut number) = (0, 0u32);
    for _ in 0..60 {
        let mut tier = mounted(&mut memory, flash);
        let len_max = [5, 20];
        let mut queues = [0, 1].map(|queue| {
            FlashQueue::open(&mut tier, NOW, [b'q', 0xFF, queue], len_max[usize::from(queue)]).unwrap()
        });
        for _ in 0..60 {
            let which = below(2) as usize;
            let (queue, model, len_max) = (&mut queues[which], &mut model[which], len_max[which]);
            assert_eq!(queue.len() as usize, model.len());
            number += 1;
            let record = [number.to_le_bytes().as_slice(), &vec![number as u8; below(90) as usize]].concat();
            match below(10) {
                0..4 => match push(&mut tier, queue, &record) {
                    Ok(()) => model.push_back(record),
                    Err(error) => {
                        assert_eq!(error, QueueError::Full(len_max));
                        assert_eq!(model.len(), usize::from(len_max));
                        refused += 1;
                    }
                },
                4..6 => {
                    until_done(&mut tier, |tier| queue.push_over(tier, NOW, &record)).unwrap();
                    model.push_back(record);
                    if model.len() > usize::from(len_max) {
                        model.pop_front();
                    }
                }
                6..9 => assert_eq!(pop(&mut tier, queue), model.pop_front().is_some()),
                _ => {
                    let key = [b'q', below(7) as u8];
                    while tier.put(NOW, &key, &record) == Err(PutError::NeedsCompaction) {
                        let _ = tier.poll(NOW, 16);
                    }
                }
            }
            assert_eq!(peek(&mut tier, queue).unwrap().as_ref(), model.front());
        }
        flash = tier.into_medium().into_flash();
    }
    assert!(refused > 20 && flash.erases > 100, "{refused}, {} erases", flash.erases);
    let mut tier = mounted(&mut memory, flash);
    for ((which, model), len_max) in (0u8..).zip(&model).zip([5, 20]) {
        let mut queue = FlashQueue::open(&mut tier, NOW, [b'q', 0xFF, which], len_max).unwrap();
        assert_eq!(VecDeque::from(drained(&mut tier, &mut queue)), *model);
    }
}

#[test]
fn places_that_go_around_keep_their_order() {
    assert_eq!(size_of::<FlashQueue>(), 16);
    for len_max in 1..6u16 {
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory, Ram::new(16));
        // An open at every fill and every place of the ring.
        for number in 0..40u8 {
            let mut queue = FlashQueue::open(&mut tier, NOW, *b"abc", len_max).unwrap();
            until_done(&mut tier, |tier| queue.push_over(tier, NOW, &[number])).unwrap();
            let mut opened = FlashQueue::open(&mut tier, NOW, *b"abc", len_max).unwrap();
            assert_eq!(opened.len(), queue.len());
            assert_eq!(opened.len(), u32::from(len_max.min(u16::from(number) + 1)));
            assert_eq!(opened.is_full(), opened.len() == u32::from(len_max));
            let oldest = number.saturating_sub(len_max as u8 - 1);
            assert_eq!(peek(&mut tier, &mut opened), Ok(Some(vec![oldest])));
        }
        let mut queue = FlashQueue::open(&mut tier, NOW, *b"abc", len_max).unwrap();
        let expected: Vec<Vec<u8>> = (40 - len_max as u8..40).map(|number| vec![number]).collect();
        assert_eq!(drained(&mut tier, &mut queue), expected);
        assert_eq!(push(&mut tier, &mut queue, b"more"), Ok(()));
    }
}

#[test]
fn queue_of_another_bound_is_refused_until_it_is_empty() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Ram::new(16));
    let mut queue = FlashQueue::open(&mut tier, NOW, *b"abc", 6).unwrap();
    for number in 0..6u8 {
        push(&mut tier, &mut queue, &[number]).unwrap();
    }
    for bound in [1, 3, 7, u16::MAX] {
        let opened = FlashQueue::open(&mut tier, NOW, *b"abc", bound).map(|queue| queue.len());
        assert_eq!(opened, Err(QueueError::Bound(6)));
    }
    // As a new firmware does: the old queue is emptied into the new one.
    let mut old = FlashQueue::open(&mut tier, NOW, *b"abc", 6).unwrap();
    let mut new = FlashQueue::open(&mut tier, NOW, *b"abd", 3).unwrap();
    while let Some(record) = peek(&mut tier, &mut old).unwrap() {
        until_done(&mut tier, |tier| new.push_over(tier, NOW, &record)).unwrap();
        pop(&mut tier, &mut old);
    }
    assert_eq!(drained(&mut tier, &mut new), [[3], [4], [5]]);
    // The least that a queue takes is one, the most half of the places that a key can name.
    let mut queue = FlashQueue::open(&mut tier, NOW, *b"abc", 0).unwrap();
    push(&mut tier, &mut queue, &[7]).unwrap();
    assert_eq!(push(&mut tier, &mut queue, &[8]), Err(QueueError::Full(1)));
    assert_eq!(drained(&mut tier, &mut queue), [[7]]);
    let mut queue = FlashQueue::open(&mut tier, NOW, *b"abc", u16::MAX).unwrap();
    push(&mut tier, &mut queue, &[8]).unwrap();
    let queue = FlashQueue::open(&mut tier, NOW, *b"abc", QUEUE_LEN_MAX).map(|queue| queue.len());
    assert_eq!(queue, Ok(1));
}

/// Changes a bit of the record that is 40 of these bytes.
fn spoil(flash: &mut Ram<4, 1024>, byte: u8) {
    let at = flash.bytes.windows(40).position(|bytes| bytes == [byte; 40]).unwrap();
    flash.bytes[at + 20] ^= 1;
}

#[test]
fn damaged_record_is_reported_or_passed_and_the_others_stay() {
    let (mut memory, flash) = (Memory::new(), RefCell::new(Ram::new(16)));
    let mut tier =
        FlashTier::new(FlashConfig::new(1024, 1), &mut memory, NorMedium::new(Shared(&flash))).unwrap();
    tier.mount(NOW).unwrap();
    while !tier.poll(NOW, 64).is_idle {}
    let mut queue = FlashQueue::open(&mut tier, NOW, *b"abc", 9).unwrap();
    for number in 0..6u8 {
        until_done(&mut tier, |tier| queue.push(tier, NOW, &[0xA0 + number; 40])).unwrap();
    }
    spoil(&mut flash.borrow_mut(), 0xA0);
    let mut out = [0; 40];
    assert_eq!(queue.peek(&mut tier, NOW, &mut out), Err(GetError::Damaged));
    assert_eq!(queue.pop(&mut tier, NOW), Ok(true));
    assert_eq!(queue.peek(&mut tier, NOW, &mut out), Ok(Some([0xA1; 40].as_slice())));
    drop(tier);

    // A mount finds no record where one was damaged, with others behind it.
    let mut flash = flash.into_inner();
    spoil(&mut flash, 0xA1);
    spoil(&mut flash, 0xA3);
    let mut tier = mounted(&mut memory, flash);
    let mut queue = FlashQueue::open(&mut tier, NOW, *b"abc", 9).unwrap();
    // The lost one between counts until it is passed.
    assert_eq!(queue.len(), 4);
    push(&mut tier, &mut queue, &[0xA6; 40]).unwrap();
    assert_eq!(drained(&mut tier, &mut queue), [[0xA2; 40], [0xA4; 40], [0xA5; 40], [0xA6; 40]]);
}

#[test]
fn lost_records_are_passed() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Ram::new(16));
    let mut queue = FlashQueue::open(&mut tier, NOW, *b"abc", 8).unwrap();
    for number in 0..7u8 {
        push(&mut tier, &mut queue, &[number]).unwrap();
    }
    for place in [0u8, 2, 3, 6] {
        let key = [b'a', b'b', b'c', 0, 8, 0, place];
        assert_eq!(tier.remove(NOW, &key), Ok(true));
    }
    assert!(pop(&mut tier, &mut queue), "of the record 1");
    assert_eq!(drained(&mut tier, &mut queue), [[4], [5]]);
}

#[test]
fn reserved_id_is_refused_and_other_keys_are_no_records() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Ram::new(16));
    let opened = FlashQueue::open(&mut tier, NOW, *b"\xFFcp", 3).map(|queue| queue.len());
    assert_eq!(opened, Err(QueueError::Put(PutError::Reserved)));
    // Keys of other lengths are nobody's business here.
    tier.put(NOW, b"abd", b"x").unwrap();
    tier.put(NOW, b"abd12345", b"x").unwrap();
    tier.put(NOW, b"abd123", b"x").unwrap();
    let opened = FlashQueue::open(&mut tier, NOW, *b"abd", 3).map(|queue| queue.len());
    assert_eq!(opened, Ok(0));
    drop(tier);
    let flash = NorMedium::new(Ram::<4, 1024>::new(16));
    let mut tier = FlashTier::new(FlashConfig::new(1024, 1), &mut memory, flash).unwrap();
    let opened = FlashQueue::open(&mut tier, NOW, *b"abc", 3).map(|queue| queue.len());
    assert_eq!(opened, Err(QueueError::Get(GetError::NotMounted)));
}

#[test]
fn calls_on_a_busy_medium_are_made_again_and_done_once() {
    let mut memory = Memory::new();
    let slow = Slow::new(NorMedium::new(Ram::new(16)));
    let mut tier = FlashTier::new(FlashConfig::new(1024, 1), &mut memory, slow).unwrap();
    while !tier.poll(NOW, 64).is_idle {}
    tier.mount(NOW).unwrap();
    let mut queue = FlashQueue::open(&mut tier, NOW, *b"abc", 3).unwrap();
    let mut waits = 0;
    let mut again = |error| {
        assert_eq!(error, QueueError::Put(PutError::Busy(Wait::Operation)));
        waits += 1;
    };
    for number in 0..5u8 {
        while let Err(error) = queue.push_over(&mut tier, NOW, &[number]) {
            again(error);
        }
    }
    assert_eq!(queue.len(), 3);
    let mut all = Vec::new();
    while !queue.is_empty() {
        let record = queue.peek(&mut tier, NOW, &mut [0; 8]).unwrap().map(<[u8]>::to_vec);
        all.extend(record);
        while let Err(error) = queue.pop(&mut tier, NOW) {
            again(error.into());
        }
    }
    assert_eq!(all, [[2], [3], [4]]);
    // Five puts and five removes, each with a program under way.
    assert!(waits >= 10, "{waits}");
    assert_eq!(tier.stats().counters.fresh_records, 10);
}
