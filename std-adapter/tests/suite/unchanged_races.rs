//! Threads that put the same values at the same time, with removes in between: each history has an order that explains it.

use core::sync::atomic::AtomicU64;

use coldpress_std::{CodecId, ColdTierHandle, CompactionTask, PutOptions};

use crate::common::{FLUSHED, PATIENCE, SYNCED, eventually, open_on, pools, recount, small, value};
use crate::double::Double;
use crate::linear::{Step, at_once, is_explained};

/// One operation on the key, and its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    Put(u32),
    Removed(bool),
    Got(Option<u32>),
}

/// The value after an operation, if that may be next.
fn after(there: Option<u32>, outcome: Announced) -> Option<Option<u32>> {
    match outcome {
        Announced::Put(number) => Some(Some(number)),
        Announced::Removed(was_there) => (was_there == there.is_some()).then_some(None),
        Announced::Got(found) => (found == there).then_some(there),
    }
}

fn perform(tier: ColdTierHandle, key: &[u8], choice: u32, values: &[Vec<u8>]) -> Announced {
    let options = [PutOptions::default(), PutOptions::default(), FLUSHED, SYNCED][choice as usize % 4];
    let number = choice / 4 % 2;
    match choice / 8 % 5 {
        0..=2 => {
            tier.put_with(key, &values[number as usize], options).unwrap();
            Announced::Put(number)
        }
        3 => Announced::Removed(tier.remove(key).unwrap()),
        _ => {
            let found = tier.get(key).unwrap();
            Announced::Got(
                found.map(|found| u32::try_from(values.iter().position(|v| *v == found).unwrap()).unwrap()),
            )
        }
    }
}

/// Lives of one key in which threads do a few operations each at the same time.
fn race(len: usize, rounds: u32) {
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).skip_unchanged(true).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let handle = tier.handle();
    let values = [value(0, 0, len), value(0, 2, len)];
    let clock = AtomicU64::new(0);
    for round in 0..rounds {
        let key = (round % 8).to_le_bytes();
        // Puts are compared with a pending write in one half of the rounds, with a record in the other.
        let first = if round % 2 == 0 { FLUSHED } else { PutOptions::default() };
        tier.put_with(&key, &values[0], first).unwrap();
        let choices = (0..3).map(|thread| value(round, thread, 3));
        let mut steps = at_once(&clock, choices, |choice| perform(handle, &key, choice, &values));
        let found = tier.get(&key).unwrap().map(|found| u32::from(found == values[1]));
        steps.push(Step::run(&clock, || Announced::Got(found)));
        assert!(is_explained(&steps, Some(0), after), "round {round}: {steps:?}");
        if round % 64 == 0 {
            tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
        }
        if round % 128 == 0 {
            tier.flush().unwrap();
            let cut = open_on(&double.cut(), &config, &pools);
            assert_eq!(cut.get(&key).unwrap(), tier.get(&key).unwrap());
        }
    }
    assert!(tier.stats().unchanged_puts > u64::from(rounds) / 8, "{:?}", tier.stats());
    eventually("all is written", || tier.flush().is_ok());
    recount(&tier);
}

#[test]
fn racing_unchanged_puts_of_short_values_are_explained() {
    race(100, 2_000);
}

#[test]
fn racing_unchanged_puts_of_long_values_are_explained() {
    race(12_000, 400);
}

#[test]
fn history_that_no_order_explains_is_found() {
    let step = |outcome, from, to| Step { outcome, from, to };
    let put_then_lost = [step(Announced::Put(1), 0, 1), step(Announced::Got(None), 2, 3)];
    assert!(!is_explained(&put_then_lost, None, after));
    let at_once = [step(Announced::Put(1), 0, 3), step(Announced::Got(None), 1, 2)];
    assert!(is_explained(&at_once, None, after));
}
