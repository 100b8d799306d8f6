//! The report of a task, compared with counts of the driver.

use coldpress_core::cleanup::CleanupError;
use coldpress_core::compaction::CompactionTask::{CompactData, OptimizeCompression, RebuildIndex};
use coldpress_core::compaction::{Outcome, PoolOutcome};
use coldpress_core::drive::MediumError;
use coldpress_core::segments::{Segment, SegmentState};
use coldpress_tests::sim::{Do, Effect, Key, Pools, Setup, World};

/// Fills segments and makes most of them stale.
fn overwritten(world: &mut World<'_>) {
    for round in 0..4 {
        for key in 1..=6 {
            world.follow(&[Do::Put(key, 40 + round)]);
        }
    }
    world.follow(&[Do::Sync, Do::Settle]);
}

#[test]
fn task_with_nothing_to_do_is_refused_else_completed() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        let report = world.run(OptimizeCompression);
        assert_eq!((report.outcome, report.checked_records), (Outcome::Refused, 0));
        overwritten(&mut world);
        let before = world.tier.counters();
        let report = world.run(CompactData);
        let after = world.tier.counters();
        assert_eq!(report.outcome, Outcome::Completed, "{report:?}");
        assert_eq!(report.bytes_written, after.bytes_written - before.bytes_written);
        assert!(report.bytes_written >= report.relocated_bytes && report.relocated_bytes > 0, "{report:?}");
        assert_eq!((report.fresh_bytes, report.write_amplification_permille()), (0, None));
    }
}

#[test]
fn report_amplification_is_written_over_appended_bytes() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    overwritten(&mut world);
    let before = world.tier.counters();
    assert!(world.schedule(CompactData));
    world.step();
    world.follow(&[Do::Put(9, 50), Do::Sync]);
    world.until("the report", |world| !world.reports.is_empty());
    let (after, report) = (world.tier.counters(), world.reports[0]);
    let fresh = after.fresh_bytes - before.fresh_bytes;
    assert_eq!(report.fresh_bytes, fresh);
    let permille = (after.bytes_written - before.bytes_written) * 1000 / fresh;
    assert_eq!(report.write_amplification_permille(), Some(permille));
    assert!(permille > 1000, "what was relocated is written again");
}

#[test]
fn task_on_a_failing_medium_fails_and_loses_nothing() {
    for setup in [Setup::file(), Setup::flash()] {
        for task in [CompactData, RebuildIndex, OptimizeCompression] {
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, setup.blank());
            overwritten(&mut world);
            let from = world.lasting.medium.counts().operations;
            world.lasting.medium.faults.during(from, from + 100_000, Effect::clean(MediumError::Io));
            let report = world.run(task);
            assert_eq!(report.outcome, Outcome::Failed, "{task}: {report:?}");
            assert_eq!(report.log_bytes_reclaimed, 0);
            world.lasting.medium.faults.clear();
            world.tick(10_000);
            world.settle();
            world.check();
            assert_eq!(world.run(CompactData).outcome, Outcome::Completed, "{task}: and then it can");
        }
    }
}

#[test]
fn task_without_a_free_segment_is_deferred() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    for key in (1..=22).chain((1..=22).step_by(2)) {
        world.follow(&[Do::Put(key, 60), Do::Sync]);
    }
    // Erases fail from here on: no segment becomes free any more, and outputs use up the free ones.
    world.lasting.medium.faults.refuses_erases = true;
    let report = world.run(CompactData);
    assert_eq!((report.outcome, report.victims.freed), (Outcome::Partial, 0), "{report:?}");
    assert!(report.relocated_records > 0 && world.tier.tally().free <= 1, "{}", world.sketch());
    world.settle();
    let report = world.run(CompactData);
    assert_eq!(report.outcome, Outcome::Deferred, "{report:?}");
    world.lasting.medium.faults.clear();
    world.tick(10_000);
    world.settle();
    let report = world.run(CompactData);
    assert!(matches!(report.outcome, Outcome::Completed | Outcome::Refused), "and later it can: {report:?}");
    world.check();
}

#[test]
fn progress_under_overwrites_never_falls_and_keeps_its_total() {
    for setup in [Setup::file(), Setup::flash()] {
        for task in [CompactData, RebuildIndex, OptimizeCompression] {
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, setup.blank());
            overwritten(&mut world);
            assert!(world.schedule(task));
            let (mut total, mut done, mut turns) = (None, 0, 0);
            while world.reports.is_empty() {
                if turns % 5 == 4 {
                    let _ = world.put(turns % 6 + 1 as Key, 40, None);
                }
                if !world.step() {
                    world.tick(1);
                }
                turns += 1;
                let Some(running) = world.tier.progress() else { continue };
                let progress = running.progress;
                assert_eq!(*total.get_or_insert(progress.total), progress.total, "{task}: the total moved");
                assert!(progress.done >= done, "{task}: {} after {done}", progress.done);
                assert!(progress.permille() < 1000, "{task}: whole before its end");
                done = progress.done;
            }
        }
    }
}

#[test]
fn rebuild_reads_written_records_of_open_segments() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::Put(1, 20), Do::Put(2, 20), Do::Sync, Do::Settle]);
        let states: Vec<_> = world.tier.segments().iter().map(|s| s.state()).collect();
        assert!(!states.contains(&SegmentState::Sealed), "{states:?}");
        let report = world.run(RebuildIndex);
        assert!(report.checked_records >= 2, "{report:?}");
        assert_eq!((report.damaged_records, report.repaired_records), (0, 0));
        world.check();
    }
}

/// A task that has done its part and waits for pools that stay silent.
fn asking(world: &mut World<'_>) {
    world.pools = Pools::Silent;
    overwritten(world);
    assert!(world.schedule(CompactData));
    world.settle();
    assert!(world.reports.is_empty() && world.tier.progress().is_some(), "it waits");
}

// Without the rule a cancelled task waits for the deadline of pools that will not answer.
#[test]
fn task_cancelled_while_it_asks_the_pools_ends_at_once() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    asking(&mut world);
    let before = world.lasting.now;
    world.cancel();
    world.settle();
    let report = world.reports[0];
    assert_eq!(world.lasting.now, before, "no time passed");
    assert_eq!(
        (report.outcome, report.pool),
        (Outcome::Partial, PoolOutcome::Failed(CleanupError::Cancelled))
    );
    assert!(report.victims.freed > 0, "the part in the log is done");
    assert_eq!(world.run(RebuildIndex).outcome, Outcome::Completed, "the next one runs");
}

// Without the rule the tier is closed with the task still waiting, and its report never comes.
#[test]
fn tier_closed_while_a_task_asks_the_pools_reports_the_task() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    asking(&mut world);
    world.close();
    assert_eq!(world.reports.len(), 1);
    assert_eq!(world.reports[0].pool, PoolOutcome::Failed(CleanupError::Cancelled));
}

// Without the rule the task waits for its victims to be free, and none ever is before the next mount.
#[test]
fn task_ends_where_only_a_mount_helps() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        overwritten(&mut world);
        world.follow(&[Do::Put(9, 40), Do::Flush, Do::Settle]);
        let at = world.host.entry(&world.hash(9)).unwrap().newest.placed.location;
        world.lasting.medium.spoil(at.segment.get(), at.offset);
        world.lasting.medium.faults.sync_fails = 1;
        world.sync();
        assert!(world.tier.needs_remount(), "the record under suspicion can't be read back");
        let report = world.run(CompactData);
        assert_eq!(report.outcome, Outcome::Partial, "{report:?}");
        let is_waiting = |s: &Segment| s.state() == SegmentState::Emptied;
        assert!(world.tier.segments().iter().any(is_waiting), "its last victims wait for the mount");
    }
}
