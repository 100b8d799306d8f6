//! The waiters for tasks, and the spans of these.

use coldpress_core::compaction::TaskId;

use super::message::Scheduled;

/// The tasks that the machine was given and has not reported, each by its id.
///
/// # Bounds
/// No more than the machine holds: it gives a task back when too many wait. Each call looks at each of them once.
#[derive(Debug, Default)]
pub(super) struct ScheduledTasks {
    tasks: Vec<(TaskId, Scheduled)>,
}

impl ScheduledTasks {
    pub(super) fn insert(&mut self, id: TaskId, scheduled: Scheduled) {
        self.tasks.push((id, scheduled));
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&Scheduled> {
        self.tasks.iter().find(|(known, _)| *known == id).map(|(_, scheduled)| scheduled)
    }

    /// Takes a task that ended.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Scheduled> {
        let at = self.tasks.iter().position(|(known, _)| *known == id)?;
        Some(self.tasks.remove(at).1)
    }

    /// Removes tasks that the machine does not have, and returns how many: their clients learn that no report will come.
    pub(super) fn drop_lost(&mut self, has_task: impl Fn(TaskId) -> bool) -> usize {
        let before = self.tasks.len();
        self.tasks.retain(|(id, _)| has_task(*id));
        before - self.tasks.len()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use coldpress_core::compaction::{CompactionTask, Report};
    use coldpress_core::format::Store;
    use coldpress_core::machine::Tier;
    use crossbeam_channel::{Receiver, TryRecvError, bounded};
    use tracing::Span;

    use super::*;
    use crate::config::ColdTierConfig;
    use crate::worker::memory::Buffers;

    fn scheduled() -> (Scheduled, Receiver<Report>) {
        let (report, receiver) = bounded(1);
        (Scheduled { report: Some(report.into()), pools: None, span: Span::none() }, receiver)
    }

    #[test]
    fn lost_task_alone_is_released_and_its_client_notified() {
        let config = ColdTierConfig::builder().capacity_bytes(4 << 20).build().unwrap();
        let store = Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 };
        let mut buffers = Buffers::new(&config, config.record_bytes_max());
        let machine = config.machine(store, Duration::from_secs(1));
        let (memory, task_memory) = buffers.lend();
        let mut tier = Tier::new(machine, memory, Some(task_memory)).unwrap();
        let mut tasks = ScheduledTasks::default();
        let clients = [(); 3].map(|()| {
            let (id, (scheduled, receiver)) =
                (tier.schedule(CompactionTask::CompactData).unwrap(), scheduled());
            tasks.insert(id, scheduled);
            (id, receiver)
        });
        let [(first, _), (second, ref lost), (third, ref waiting)] = clients;
        // They may end in any order.
        assert!(tasks.remove(first).is_some() && tasks.remove(first).is_none() && tasks.get(first).is_none());
        assert_eq!(tasks.drop_lost(|id| tier.has_task(id)), 0);
        assert_eq!(tasks.drop_lost(|id| id != second), 1);
        assert!(tasks.get(second).is_none() && tasks.get(third).is_some());
        assert_eq!(lost.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(waiting.try_recv(), Err(TryRecvError::Empty));
    }
}
