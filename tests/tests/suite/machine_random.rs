//! Random histories with power cuts, failures and reordered completions, shrunk where they fail.

use core::time::Duration;
use std::time::Instant;

use coldpress_core::compaction::CompactionTask;
use coldpress_core::config::Streams;
use coldpress_core::segments::Policy;
use coldpress_tests::sim::{Do, Event, Setup};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

/// How long one of these tests looks for a counter-example.
const TIME: Duration = Duration::from_secs(20);

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
            setup.live(&events);
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
fn random_histories_with_shared_streams_keep_the_invariants() {
    let mut setup = Setup::new(512, 16, 1, 0x00).unwrap();
    setup.config.streams = Streams::Four;
    setup.config.policy = Policy::CostBenefit;
    search(&setup, "file of four streams that are shared");
}

#[test]
fn random_histories_on_a_device_keep_the_invariants() {
    search(&Setup::device(), "device");
}
