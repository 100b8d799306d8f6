//! Threads that write the same key on conditions: each history has an order that explains it.

use core::sync::atomic::AtomicU64;
use core::time::Duration;

use coldpress_std::{CodecId, ColdTierHandle, CompactionTask, Durability, Expected, PutOptions, Ttl, Update};

use crate::common::{FLUSHED, PATIENCE, SYNCED, eventually, open_on, pools, recount, small, value};
use crate::double::Double;
use crate::linear::{Step, at_once, is_explained};

/// One operation on the key, and its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Put(u32),
    PutIfAbsent(u32, bool),
    Swapped {
        from: u32,
        to: u32,
        is_done: bool,
    },
    /// From the value that was there to the other one, from none to the first.
    Toggled(u32),
    RemovedIf(u32, bool),
    Removed(bool),
    Touched(bool),
    Got(Option<u32>),
}

fn after(there: Option<u32>, outcome: Outcome) -> Option<Option<u32>> {
    let done = |holds: bool, is_done: bool, then: Option<u32>| {
        (holds == is_done).then_some(if is_done { then } else { there })
    };
    match outcome {
        Outcome::Put(number) => Some(Some(number)),
        Outcome::PutIfAbsent(number, is_done) => done(there.is_none(), is_done, Some(number)),
        Outcome::Swapped { from, to, is_done } => done(there == Some(from), is_done, Some(to)),
        Outcome::Toggled(to) => (to == there.map_or(0, |there| 1 - there)).then_some(Some(to)),
        Outcome::RemovedIf(number, is_done) => done(there == Some(number), is_done, None),
        Outcome::Removed(was_there) => done(there.is_some(), was_there, None),
        Outcome::Touched(is_there) => done(there.is_some(), is_there, there),
        Outcome::Got(found) => (found == there).then_some(there),
    }
}

fn number_of(values: &[Vec<u8>], bytes: &[u8]) -> u32 {
    u32::try_from(values.iter().position(|value| value == bytes).expect("one of the values")).unwrap()
}

fn perform(tier: ColdTierHandle, key: &[u8], choice: u32, values: &[Vec<u8>]) -> Outcome {
    let options = [PutOptions::default(), PutOptions::default(), FLUSHED, SYNCED][choice as usize % 4];
    let number = choice / 4 % 2;
    let (own, other) = (&values[number as usize], &values[1 - number as usize]);
    match choice / 8 % 8 {
        0 => {
            tier.put_with(key, own, options).unwrap();
            Outcome::Put(number)
        }
        1 => Outcome::PutIfAbsent(number, tier.put_if_absent(key, own, options).unwrap()),
        2 => {
            let is_done = tier.compare_and_swap(key, Expected::Value(other), own, options).unwrap();
            Outcome::Swapped { from: 1 - number, to: number, is_done }
        }
        3 => {
            let toggle = |bytes: Option<&[u8]>| {
                let next = bytes.map_or(0, |bytes| 1 - number_of(values, bytes));
                Update::Put(values[next as usize].clone())
            };
            let Update::Put(bytes) = tier.update(key, options, toggle).unwrap() else { unreachable!() };
            Outcome::Toggled(number_of(values, &bytes))
        }
        4 => {
            let expected = Expected::Value(own.as_slice());
            Outcome::RemovedIf(number, tier.compare_and_remove(key, expected, Durability::Buffered).unwrap())
        }
        5 => Outcome::Removed(tier.remove(key).unwrap()),
        6 => {
            let ttl = if number == 0 { Ttl::Never } else { Duration::from_secs(3_600).into() };
            Outcome::Touched(tier.touch_with(key, PutOptions { ttl, ..options }).unwrap())
        }
        _ => Outcome::Got(tier.get(key).unwrap().map(|bytes| number_of(values, &bytes))),
    }
}

/// Lives of one key in which threads do a few operations each at the same time.
fn race(len: usize, rounds: u32) {
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let handle = tier.handle();
    let values = [value(0, 0, len), value(0, 2, len)];
    let clock = AtomicU64::new(0);
    for round in 0..rounds {
        let key = (round % 8).to_le_bytes();
        // The key has a pending value, one in the log, or none.
        let first = if round % 2 == 0 { FLUSHED } else { PutOptions::default() };
        tier.put_with(&key, &values[0], first).unwrap();
        let there = if round % 3 == 0 { tier.remove(&key).map(|_| None).unwrap() } else { Some(0) };
        let choices = (0..3).map(|thread| value(round, 8 + 2 * thread, 4));
        let mut steps = at_once(&clock, choices, |choice| perform(handle, &key, choice, &values));
        let found = tier.get(&key).unwrap().map(|bytes| number_of(&values, &bytes));
        steps.push(Step::run(&clock, || Outcome::Got(found)));
        assert!(is_explained(&steps, there, after), "round {round}: {steps:?}");
        if round % 32 == 0 {
            tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
        }
        if round % 64 == 0 {
            tier.flush().unwrap();
            let cut = open_on(&double.cut(), &config, &pools);
            assert_eq!(cut.get(&key).unwrap(), tier.get(&key).unwrap());
            assert_eq!(cut.ttl(&key).unwrap().is_some(), found.is_some());
        }
    }
    let stats = tier.stats();
    assert!(
        stats.unmet_conditions > u64::from(rounds) / 8 && stats.touches > u64::from(rounds) / 8,
        "{stats:?}"
    );
    eventually("all is written", || tier.flush().is_ok());
    recount(&tier);
}

#[test]
fn racing_conditional_writes_of_short_values_are_explained() {
    race(100, 2_000);
}

#[test]
fn racing_conditional_writes_of_long_values_are_explained() {
    race(12_000, 300);
}

#[test]
fn lost_update_is_explained_by_no_order() {
    let step = |outcome, from, to| Step { outcome, from, to };
    let both = [step(Outcome::PutIfAbsent(0, true), 0, 3), step(Outcome::PutIfAbsent(1, true), 1, 2)];
    assert!(!is_explained(&both, None, after));
    let lost = [step(Outcome::Toggled(1), 0, 3), step(Outcome::Toggled(1), 1, 2)];
    assert!(!is_explained(&lost, Some(0), after));
    let late =
        [step(Outcome::Swapped { from: 0, to: 1, is_done: true }, 0, 1), step(Outcome::Got(Some(0)), 2, 3)];
    assert!(!is_explained(&late, Some(0), after));
}
