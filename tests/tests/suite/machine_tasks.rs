//! The ids of tasks connect each report with its task.

use coldpress_core::compaction::CompactionTask::{CompactData, RebuildIndex};
use coldpress_core::compaction::{CompactionTask, Outcome, TASK_QUEUE_CAPACITY, TaskId};
use coldpress_tests::sim::{Do, Pools, Setup, World};

/// Fills segments and makes most of them stale.
fn overwritten(world: &mut World<'_>) {
    for round in 0..4 {
        for key in 1..=6 {
            world.follow(&[Do::Put(key, 40 + round)]);
        }
    }
    world.follow(&[Do::Sync, Do::Settle]);
}

fn running(world: &World<'_>) -> Option<TaskId> {
    world.tier.progress().map(|running| running.id)
}

fn reported(world: &World<'_>) -> Vec<(TaskId, CompactionTask)> {
    world.reports.iter().map(|report| (report.id, report.task)).collect()
}

#[test]
fn task_id_differs_for_each_task_and_its_report_bears_it() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        overwritten(&mut world);
        // The first one waits for the pools; as many as have a place wait behind it.
        world.pools = Pools::Silent;
        let mut tasks = CompactionTask::ALL.into_iter().cycle();
        let mut taken = Vec::new();
        let mut take = |world: &mut World<'_>| {
            let task = tasks.next().unwrap();
            let id = world.schedule_task(task).unwrap();
            assert!(taken.iter().all(|(other, _)| *other != id), "{id} twice");
            taken.push((id, task));
            id
        };
        let first = take(&mut world);
        world.settle();
        assert_eq!(running(&world), Some(first));
        for _ in 0..TASK_QUEUE_CAPACITY {
            let _ = take(&mut world);
        }
        assert_eq!(world.schedule_task(CompactData), None, "the queue is full");
        world.cancel();
        world.until("the next task", |world| running(world).is_some_and(|id| id != first));
        let last = take(&mut world);
        assert!(world.tier.has_task(last) && !world.tier.has_task(first));
        world.pools = Pools::Answer;
        world.until("all reports", |world| !world.tier.is_compacting());
        assert_eq!(taken.len(), TASK_QUEUE_CAPACITY + 2);
        assert_eq!(reported(&world), taken);
        assert!(!world.tier.has_task(last), "its report was taken");
    }
}

#[test]
fn task_cancelled_between_two_others_shifts_no_report() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        overwritten(&mut world);
        let tasks = [RebuildIndex, RebuildIndex, RebuildIndex];
        let ids = tasks.map(|task| world.schedule_task(task).unwrap());
        world.until("the second task", |world| running(world) == Some(ids[1]));
        world.cancel();
        world.until("all reports", |world| !world.tier.is_compacting());
        assert_eq!(reported(&world), ids.map(|id| (id, RebuildIndex)));
        let outcomes: Vec<_> = world.reports.iter().map(|report| report.outcome).collect();
        assert_eq!(outcomes, [Outcome::Completed, Outcome::Partial, Outcome::Completed]);
    }
}

#[test]
fn task_that_a_close_drops_is_not_known_afterwards() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    overwritten(&mut world);
    world.pools = Pools::Silent;
    let ids = [CompactData, CompactData].map(|task| world.schedule_task(task).unwrap());
    world.settle();
    assert!(ids.iter().all(|id| world.tier.has_task(*id)));
    world.close();
    assert_eq!(reported(&world), [(ids[0], CompactData)]);
    assert!(ids.iter().all(|id| !world.tier.has_task(*id)), "one was reported, the other never will be");
    assert_eq!(world.schedule_task(CompactData), None, "a closed tier takes none");
}
