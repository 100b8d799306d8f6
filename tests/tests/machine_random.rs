//! Random histories with power cuts, failures and reordered completions, shrunk where they fail.

use core::time::Duration;
use std::collections::BTreeSet;
use std::time::Instant;

use coldpress_core::compaction::CompactionTask;
use coldpress_core::tier::{AppendError, MediumError, Streams};
use coldpress_tests::sim::{
    Change, Chooser, Delays, Do, Effect, Fate, Lasting, Op, Pools, Rng, Setup, World, mixed,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

/// How long one of these tests looks for a counter-example.
const TIME: Duration = Duration::from_secs(20);

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
enum Event {
    Act(Do),
    /// The power fails; the seed tells what lands.
    Cut(u64),
    /// The process ends; the system keeps what was written, and may lose it later.
    Kill,
    /// So many operations from now one fails, in the way numbered.
    Fail(u64, u8),
    /// Completions come in another order from now on.
    Reorder(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let key = 1u16..10;
    prop_oneof![
        20 => (key.clone(), 4u32..64).prop_map(|(key, len)| Event::Act(Do::Put(key, len))),
        4 => (key.clone(), 4u32..64, 1u32..4).prop_map(|(key, len, ttl)| Event::Act(Do::PutFor(key, len, ttl))),
        6 => key.prop_map(|key| Event::Act(Do::Remove(key))),
        3 => Just(Event::Act(Do::Sync)),
        3 => Just(Event::Act(Do::AskSync)),
        2 => Just(Event::Act(Do::Flush)),
        2 => (1u64..2_000).prop_map(|ms| Event::Act(Do::Tick(ms))),
        2 => Just(Event::Act(Do::Settle)),
        4 => (0usize..4).prop_map(|task| Event::Act(Do::Queue(CompactionTask::ALL[task]))),
        1 => (0usize..4).prop_map(|task| Event::Act(Do::Run(CompactionTask::ALL[task]))),
        1 => Just(Event::Act(Do::Cancel)),
        1 => (20u64..300).prop_map(|bytes| Event::Act(Do::Evict(bytes))),
        3 => any::<u64>().prop_map(Event::Cut),
        1 => Just(Event::Kill),
        2 => (0u64..40, 0u8..6).prop_map(|(after, way)| Event::Fail(after, way)),
        1 => any::<u64>().prop_map(Event::Reorder),
    ]
}

fn effect(way: u8) -> Effect {
    match way {
        0 => Effect::clean(MediumError::Io),
        1 => Effect::clean(MediumError::NoSpace),
        2 => Effect::short(MediumError::NoSpace, 1),
        3 => Effect::short(MediumError::Io, 30),
        _ => Effect::done(MediumError::Io),
    }
}

/// A fate for each unsynced operation, by a seed.
fn fates(lasting: &Lasting, seed: u64) -> Vec<Fate> {
    let mut rng = Rng::new(seed);
    let geometry = lasting.medium.geometry();
    // A flash begins nothing in a segment before its erase has ended.
    let mut half_erased = BTreeSet::new();
    let fate = |op: &Op| {
        let fate = match rng.below(4) {
            _ if half_erased.contains(&op.segment) => Fate::Lost,
            0 => Fate::Lost,
            // What came after a failed sync may be firm by now, so a doubtful erase is not torn.
            1 if !op.is_doubtful() || op.what != Change::Erase => Fate::Torn(rng.index(op.len(geometry))),
            _ => Fate::Kept,
        };
        if op.what == Change::Erase && fate != Fate::Kept && geometry.write_unit() > 1 {
            half_erased.insert(op.segment);
        }
        fate
    };
    lasting.medium.unsynced().map(fate).collect()
}

/// Runs events until the world ends, or they do. Returns what lasts and how many events were used.
fn live(world: &mut World<'_>, events: &[Event]) -> (usize, Option<Event>) {
    for (at, event) in events.iter().enumerate() {
        match *event {
            Event::Act(what) => match world.act(what) {
                // A tier may be full: then nothing happened, and removing still works.
                Ok(()) | Err(AppendError::Full) => world.check_current(),
                Err(error) => panic!("{what:?}: {error}"),
            },
            Event::Fail(after, way) => {
                let number = world.lasting.medium.counts().operations + after;
                world.lasting.medium.faults.at(number, effect(way));
                world.may_overcount = true;
            }
            Event::Reorder(seed) => {
                world.chooser = Chooser::Random(Rng::new(seed));
                world.delays = Delays { io: false, ..Delays::ALL };
                world.pools = [Pools::Answer, Pools::Fail, Pools::Silent, Pools::Unavailable]
                    [Rng::new(mixed(seed)).index(4)];
            }
            Event::Cut(_) | Event::Kill => return (at + 1, Some(*event)),
        }
    }
    (events.len(), None)
}

fn run(setup: &Setup, events: &[Event]) {
    let mut lasting = setup.blank();
    let mut rest = events;
    let mut arena = setup.arena();
    loop {
        let (used, end, left) = {
            let mut world = setup.mount(&mut arena, lasting);
            world.check_recovered();
            let (used, end) = live(&mut world, rest);
            if end.is_none() {
                world.lasting.medium.faults.clear();
                world.chooser = Chooser::Prompt;
                world.sync();
                world.settle();
                world.check();
            }
            (used, end, world.end())
        };
        rest = &rest[used..];
        lasting = match end {
            Some(Event::Cut(seed)) => left.cut(&fates(&left, seed)),
            Some(_) => left.kill(),
            None => left.cut(&[]),
        };
        if end.is_none() {
            break;
        }
    }
    setup.mount(&mut arena, lasting).check_recovered();
}

/// Looks for a counter-example, a batch of cases a seed, until the time is over.
fn search(setup: &Setup, name: &str) {
    let started = Instant::now();
    let mut seed = 0;
    while started.elapsed() < TIME {
        seed += 1;
        let config = Config {
            cases: 64,
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            max_shrink_iters: 4_000,
            ..Config::default()
        };
        let found = TestRunner::new(config).run(&prop::collection::vec(event(), 1..120), |events| {
            run(setup, &events);
            Ok(())
        });
        match found {
            Ok(()) => {}
            Err(TestError::Fail(why, events)) => panic!("{name}, seed {seed}: {why}\n{events:?}"),
            Err(TestError::Abort(why)) => panic!("{name}, seed {seed}: {why}"),
        }
    }
    println!("{name}: {} histories", seed * 64);
}

#[test]
fn random_histories_on_a_file_keep_the_invariants() {
    search(&Setup::file(), "file");
}

#[test]
fn random_histories_on_a_flash_keep_the_invariants() {
    let mut setup = Setup::new(1024, 16, 8, 0xFF).unwrap();
    setup.config.streams = Streams::Four;
    setup.config.wear_spread_max = 1;
    search(&setup, "flash of four streams");
}

#[test]
fn random_histories_on_a_device_keep_the_invariants() {
    search(&Setup::device(), "device");
}
