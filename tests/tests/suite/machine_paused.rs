//! Background work that rests: an adapter with a budget lets it go on only in its slices.

use coldpress_core::compaction::CompactionTask::CompactData;
use coldpress_core::compaction::{Effort, Outcome};
use coldpress_tests::sim::{Do, Setup, World};

/// Fills segments and makes most of them stale.
fn overwritten(world: &mut World<'_>, rounds: u32) {
    for round in 0..rounds {
        for key in 1..=6 {
            world.follow(&[Do::Put(key, 40 + round % 8)]);
        }
    }
    world.follow(&[Do::Sync]);
}

/// More steps than a task of this size takes.
fn steps(world: &mut World<'_>) {
    for _ in 0..2_000 {
        world.step();
    }
}

#[test]
fn paused_task_waits_while_clients_go_on() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        overwritten(&mut world, 4);
        world.follow(&[Do::Settle]);
        world.tier.pause_background(true);
        let before = world.tier.counters();
        assert!(world.schedule(CompactData));
        steps(&mut world);
        world.follow(&[Do::Put(9, 50), Do::Sync]);
        steps(&mut world);
        let held = world.tier.counters();
        assert_eq!((held.relocated_bytes, held.victims), (before.relocated_bytes, before.victims));
        assert!(world.reports.is_empty() && world.tier.effort() == Effort::Held);
        assert_eq!(world.tier.poll_timeout(world.lasting.now), None, "it waits for no time");
        world.tier.pause_background(false);
        world.until("the report", |world| !world.reports.is_empty());
        let report = world.reports[0];
        assert!(report.outcome == Outcome::Completed && report.relocated_bytes > 0, "{report:?}");
        world.check();
    }
}

#[test]
fn paused_task_that_is_cancelled_ends() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    overwritten(&mut world, 4);
    world.follow(&[Do::Settle]);
    assert!(world.schedule(CompactData));
    world.until("a victim is in hand", |world| !world.tier.cleaning().is_over);
    world.tier.pause_background(true);
    steps(&mut world);
    assert!(world.reports.is_empty() && !world.tier.cleaning().is_over);
    world.cancel();
    world.until("the report", |world| !world.reports.is_empty());
    assert_eq!(world.reports[0].outcome, Outcome::Partial);
    world.check();
}

#[test]
fn shortage_is_met_while_background_work_rests() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.tier.pause_background(true);
        overwritten(&mut world, 4);
        // With a victim of a task in hand, too.
        assert!(world.schedule(CompactData));
        world.tier.pause_background(false);
        world.until("a victim is in hand", |world| !world.tier.cleaning().is_over);
        world.tier.pause_background(true);
        overwritten(&mut world, 200);
        let counters = world.tier.counters();
        assert!(counters.shortages > 0 && counters.freed_segments > 20, "{counters:?}");
        world.check();
    }
}
