//! Tasks scheduled through a mailbox: each ticket gets its own report.

use crate::ram::Ram;
use coldpress_core::compaction::{CompactionTask, Outcome, Report};
use coldpress_core::drive::Now;
use coldpress_embedded::TicketError;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, RunningTask, TaskMailbox, TaskWorker,
    buckets_for,
};

type Flash = Ram<4, 1024>;
type Memory = FlashMemory<14, { buckets_for(60) }, 160>;
type Tier<'m> = FlashTier<'m, NorMedium<Flash>>;

const NOW: Now = Now { monotonic_ms: 1_000, wall_s: 1_000 };

fn put(tier: &mut Tier<'_>, key: u32) {
    for _ in 0..1_000 {
        match tier.put(NOW, &key.to_le_bytes(), &[7; 60]) {
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => drop(tier.poll(NOW, 16)),
            result => return result.unwrap(),
        }
    }
    panic!("put off a thousand times\n{:?}", tier.stats());
}

/// A tier at rest, of which most of the log is stale.
fn churned(memory: &mut Memory) -> Tier<'_> {
    let mut tier = FlashTier::new(FlashConfig::new(1024, 9), memory, NorMedium::new(Flash::new(14))).unwrap();
    tier.mount(NOW).unwrap();
    for round in 0..300u32 {
        put(&mut tier, round % 20);
    }
    rest(&mut tier);
    tier
}

fn rest(tier: &mut Tier<'_>) {
    for _ in 0..1_000 {
        if tier.poll(NOW, 16).is_idle {
            return;
        }
    }
    panic!("no rest in sight\n{:?}", tier.stats());
}

/// Gives two tasks to the tier: the first one runs then, the second one waits in the tier.
fn give_two<const N: usize>(
    mailbox: &TaskMailbox<N>,
    worker: &mut TaskWorker,
    tier: &mut Tier<'_>,
) -> RunningTask {
    let _ = worker.poll(mailbox, tier, NOW, 1);
    let first = tier.progress().unwrap();
    let _ = worker.poll(mailbox, tier, NOW, 1);
    assert_eq!(tier.progress().map(|running| running.id), Some(first.id));
    first
}

/// Polls step by step until each of these tickets has its report.
fn reports<const N: usize, const TICKETS: usize>(
    mailbox: &TaskMailbox<N>,
    worker: &mut TaskWorker,
    tier: &mut Tier<'_>,
    tickets: [coldpress_core::cleanup::Ticket; TICKETS],
) -> [Report; TICKETS] {
    let mut found = [None; TICKETS];
    for _ in 0..20_000 {
        let _ = worker.poll(mailbox, tier, NOW, 1);
        for (ticket, found) in tickets.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            *found = mailbox.poll(*ticket).unwrap();
        }
        if found.iter().all(Option::is_some) {
            return found.map(Option::unwrap);
        }
    }
    panic!("no end in sight: {found:?}");
}

#[test]
fn tasks_of_one_kind_of_several_clients_have_a_report_each() {
    let mut memory = Memory::new();
    let mut tier = churned(&mut memory);
    let (mailbox, mut worker) = (TaskMailbox::<4>::new(), TaskWorker::new());
    let tickets = [(); 4].map(|()| mailbox.schedule(CompactionTask::RebuildIndex).unwrap());
    // The tier is given two at a time; the others wait in the mailbox.
    let [first, second, third, fourth] = reports(&mailbox, &mut worker, &mut tier, tickets);
    let ids = [first, second, third, fourth].map(|report| report.id.number());
    assert!(
        ids.windows(2).all(|pair| pair[0] < pair[1]),
        "in the order in which they were asked for: {ids:?}"
    );
    assert!(first.checked_records > 0 && first.outcome == Outcome::Completed, "{first:?}");
}

#[test]
fn task_cancelled_between_two_others_shifts_no_report() {
    let mut memory = Memory::new();
    let mut tier = churned(&mut memory);
    let (mailbox, mut worker) = (TaskMailbox::<3>::new(), TaskWorker::new());
    let tasks = [CompactionTask::RebuildIndex, CompactionTask::CompactData, CompactionTask::RebuildIndex];
    let tickets = tasks.map(|task| mailbox.schedule(task).unwrap());
    assert_eq!(give_two(&mailbox, &mut worker, &mut tier).task, tasks[0]);
    // The second one has not begun.
    mailbox.cancel(tickets[1]).unwrap();
    let reports = reports(&mailbox, &mut worker, &mut tier, tickets);
    assert_eq!(reports.map(|report| report.task), tasks);
    assert_eq!(
        reports.map(|report| report.outcome),
        [Outcome::Completed, Outcome::Partial, Outcome::Completed]
    );
    assert!(reports[0].id != reports[2].id);
}

#[test]
fn task_cancelled_before_the_tier_has_it_shifts_no_report() {
    let mut memory = Memory::new();
    let mut tier = churned(&mut memory);
    let (mailbox, mut worker) = (TaskMailbox::<3>::new(), TaskWorker::new());
    let tasks = [CompactionTask::RebuildIndex, CompactionTask::CompactData, CompactionTask::RebuildIndex];
    let tickets = tasks.map(|task| mailbox.schedule(task).unwrap());
    mailbox.cancel(tickets[1]).unwrap();
    assert_eq!(mailbox.poll(tickets[1]), Err(TicketError::Stale));
    let reports = reports(&mailbox, &mut worker, &mut tier, [tickets[0], tickets[2]]);
    assert!(reports.iter().all(|report| report.task == CompactionTask::RebuildIndex), "{reports:?}");
}

// Without the stale tickets they never end, and the next report goes to one of them.
#[test]
fn task_that_a_format_took_away_leaves_a_stale_ticket() {
    let mut memory = Memory::new();
    let mut tier = churned(&mut memory);
    let (mailbox, mut worker) = (TaskMailbox::<4>::new(), TaskWorker::new());
    let lost = [(); 2].map(|()| mailbox.schedule(CompactionTask::RebuildIndex).unwrap());
    let before = give_two(&mailbox, &mut worker, &mut tier);
    tier.format();
    while tier.mount(NOW).is_err() {}
    let next = mailbox.schedule(CompactionTask::CleanupExpired).unwrap();
    let [report] = reports(&mailbox, &mut worker, &mut tier, [next]);
    assert_eq!(report.task, CompactionTask::CleanupExpired);
    assert!(report.id.number() > before.id.number() + 1, "ids from before are not issued again");
    for ticket in lost {
        assert_eq!(mailbox.poll(ticket), Err(TicketError::Stale));
    }
}
