//! Every order in which completions can come, for small histories, with a power cut at every moment of each.

use coldpress_core::cleanup::CleanupError;
use coldpress_core::compaction::CompactionTask::{self, CompactData};
use coldpress_core::compaction::PoolOutcome;
use coldpress_tests::sim::{Do, Key, Pools, STRIDE, Setup, World, order_everywhere};

#[test]
fn writes_and_syncs_completed_in_any_order_lose_nothing() {
    let script =
        [Do::Put(1, 30), Do::AskSync, Do::Put(1, 20), Do::Remove(1), Do::AskSync, Do::Put(1, 25), Do::Sync];
    println!("small: {:?}", order_everywhere(&Setup::file(), &script, 3, 80_000));
}

#[test]
fn compaction_completed_in_any_order_loses_nothing() {
    let mut script: Vec<Do> = (0..24).map(|n| Do::Put(1 + n % 3, 50)).collect();
    script.extend([Do::AskSync, Do::Queue(CompactData), Do::Remove(1), Do::Put(2, 20), Do::Sync, Do::Settle]);
    println!("compaction: {:?}", order_everywhere(&Setup::file(), &script, 1, 3_000));
}

/// A tier in which every task has something to do.
fn worn(world: &mut World<'_>) {
    for round in 0..7u32 {
        let put = |key: Key| if key == 3 { Do::PutFor(key, 40, 1) } else { Do::Put(key, 40 + round) };
        world.follow(&(1..=5).map(put).collect::<Vec<_>>());
    }
    world.follow(&[Do::Remove(2), Do::Sync, Do::Tick(2_000), Do::Settle]);
}

#[test]
fn running_task_cancelled_at_any_step_leaves_all_readable() {
    let setup = Setup::file();
    let mut cases = 0;
    for task in CompactionTask::ALL {
        for pools in [Pools::Answer, Pools::Fail, Pools::Silent, Pools::Unavailable] {
            for steps in (0..).step_by(STRIDE) {
                cases += 1;
                let mut arena = setup.arena();
                let mut world = setup.mount(&mut arena, setup.blank());
                world.pools = pools;
                worn(&mut world);
                assert!(world.schedule(task));
                // The task ends by itself, or waits for pools that stay silent.
                let has_ended = (0..steps).any(|_| !world.step());
                world.cancel();
                world.until("the end of the task", |world| !world.tier.is_compacting());
                world.settle();
                world.check();
                assert_eq!(world.reports.len(), 1, "{task}: one report a task");
                world.follow(&[Do::Put(9, 40), Do::Sync, Do::Run(CompactData), Do::Settle]);
                world.check();
                let left = world.end();
                let mut arena = setup.arena();
                setup.mount(&mut arena, left.cut(&[])).check_recovered();
                if has_ended {
                    break;
                }
            }
        }
    }
    println!("cancelled: {cases} cases");
    assert!(cases > 40);
}

#[test]
fn silent_pools_end_the_task_at_the_deadline() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.pools = Pools::Silent;
    worn(&mut world);
    let started_ms = world.lasting.now.monotonic_ms;
    let report = world.run(CompactData);
    assert_eq!(report.pool, PoolOutcome::Failed(CleanupError::TimedOut));
    assert!(report.victims.freed > 0, "the part in the log is done");
    assert_eq!(world.lasting.now.monotonic_ms - started_ms, u64::from(setup.config.cleanup_timeout_ms));
}
