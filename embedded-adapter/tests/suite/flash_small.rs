//! A tier without memory for tasks: it stores, compacts and mounts as any other, and takes no task.

use crate::ram::Ram;
use coldpress_core::compaction::{CompactionTask, TasksFull};
use coldpress_core::drive::Now;
use coldpress_embedded::TicketError;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, TaskMailbox, TaskWorker, buckets_for,
};

const SEGMENTS: usize = 12;
const KEYS: u32 = 20;
const ROUNDS: u32 = 40;

type Flash = Ram<4, 1024>;
type Memory = FlashMemory<SEGMENTS, { buckets_for(KEYS as usize) }, 64, 0>;
type Tier<'m> = FlashTier<'m, NorMedium<Flash>>;

const NOW: Now = Now { monotonic_ms: 1_000, wall_s: 1_000 };

fn mounted(memory: &mut Memory, flash: Flash) -> Tier<'_> {
    let mut tier = FlashTier::new(FlashConfig::new(1024, 9), memory, NorMedium::new(flash)).unwrap();
    tier.mount(NOW).unwrap();
    tier
}

fn put(tier: &mut Tier<'_>, key: u32, value: &[u8]) {
    for _ in 0..1_000 {
        match tier.put(NOW, &key.to_le_bytes(), value) {
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => drop(tier.poll(NOW, 8)),
            result => return result.unwrap(),
        }
    }
    panic!("put off a thousand times\n{:?}", tier.stats());
}

fn check(tier: &mut Tier<'_>, round: u32) {
    for key in 0..KEYS {
        let (name, mut value) = (key.to_le_bytes(), [0; 40]);
        let found = tier.get(NOW, &name, &mut value).unwrap();
        let wanted = [round as u8; 40];
        assert_eq!(found, (key % 5 != 0).then_some(wanted.as_slice()), "key {key} in round {round}");
    }
}

#[test]
fn tier_without_tasks_compacts_removes_and_mounts() {
    let (mut memory, mut flash) = (Memory::without_tasks(), Flash::new(SEGMENTS));
    for round in 0..ROUNDS {
        let mut tier = mounted(&mut memory, flash);
        if round > 0 {
            check(&mut tier, round - 1);
        }
        for key in 0..KEYS {
            put(&mut tier, key, &[round as u8; 40]);
        }
        for key in (0..KEYS).step_by(5) {
            assert_eq!(tier.remove(NOW, &key.to_le_bytes()), Ok(true));
        }
        check(&mut tier, round);
        flash = tier.into_medium().into_flash();
    }
    let tier = mounted(&mut memory, flash);
    assert!(tier.stats().erases_total > u64::from(ROUNDS), "every segment was compacted: {:?}", tier.stats());
}

#[test]
fn task_of_a_tier_without_tasks_is_given_back() {
    let mut memory = Memory::without_tasks();
    let mut tier = mounted(&mut memory, Flash::new(SEGMENTS));
    for task in CompactionTask::ALL {
        assert_eq!(tier.schedule(task), Err(TasksFull(task)));
    }
    assert_eq!((tier.progress(), tier.take_report()), (None, None));
    tier.cancel();
    assert!((0..16).any(|_| tier.poll(NOW, 8).is_idle), "nothing is left to do");
}

#[test]
fn ticket_of_a_tier_without_tasks_is_stale() {
    let mut memory = Memory::without_tasks();
    let mut tier = mounted(&mut memory, Flash::new(SEGMENTS));
    let (mailbox, mut worker) = (TaskMailbox::<2>::new(), TaskWorker::new());
    let tickets = [(); 2].map(|()| mailbox.schedule(CompactionTask::CompactData).unwrap());
    for ticket in tickets {
        assert_eq!(mailbox.poll(ticket), Ok(None), "it waits");
        let _ = worker.poll(&mailbox, &mut tier, NOW, 8);
        assert_eq!(mailbox.poll(ticket), Err(TicketError::Stale), "it ended without a report");
    }
    assert!(mailbox.schedule(CompactionTask::CompactData).is_ok(), "its place is free again");
}
