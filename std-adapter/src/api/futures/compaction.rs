//! Compaction tasks, awaited.

use core::time::Duration;

use oneshot::AsyncReceiver;

use crate::api::compaction::{
    CompactionError, CompactionSystem, CompactionTask, Report, deadline_after, merged,
};
use crate::api::opened::Open;
use crate::config::Durability;
use crate::errors::TierError;

impl CompactionSystem {
    /// Queues a task in every partition. As [`schedule_compaction`](Self::schedule_compaction), for a future.
    ///
    /// Dropped before it is over, the task may run in some of the partitions.
    ///
    /// # Errors
    /// As [`schedule_compaction`](Self::schedule_compaction).
    pub async fn schedule_compaction_async(&self, task: CompactionTask) -> Result<(), CompactionError> {
        self.schedule_async(task).await?;
        Ok(())
    }

    /// Queues a task in all partitions and waits for their reports, which are merged into one. As
    /// [`run_compaction`](Self::run_compaction), for a future.
    ///
    /// Dropped before it is over, the task goes on; [`cancel`](Self::cancel) ends it.
    ///
    /// # Errors
    /// As [`run_compaction`](Self::run_compaction).
    pub async fn run_compaction_async(
        &self,
        task: CompactionTask,
        timeout: Duration,
    ) -> Result<Report, CompactionError> {
        let tier = self.tier()?;
        // Pending and buffered records are no part of any segment yet.
        tier.flush_to_async(Durability::Flushed).await?;
        let deadline = deadline_after(timeout);
        let mut whole: Option<Report> = None;
        for (part, report) in self.schedule_async(task).await?.into_iter().enumerate() {
            let report = tier.answer(part, report, deadline).await?;
            whole = Some(whole.map_or(report, |whole| merged(whole, report)));
        }
        whole.ok_or(CompactionError::Tier(TierError::Closed))
    }

    /// Queues a task in every partition; returns the receivers of its reports.
    async fn schedule_async(
        &self,
        task: CompactionTask,
    ) -> Result<Vec<AsyncReceiver<Report>>, CompactionError> {
        let tier = self.tier()?;
        tier.enter(Open::check_writes)??;
        let deadline = tier.deadline()?;
        let (mut accepted, mut reports) = (Vec::new(), Vec::new());
        for part in 0..tier.enter(|open| open.parts.len())? {
            let ((accept, is_accepted), (report, receiver)) =
                (oneshot::async_channel(), oneshot::async_channel());
            let message = self.message(task, part, accept.into(), Some(report.into()));
            tier.send_message_async(part, message, deadline).await?;
            accepted.push(is_accepted);
            reports.push(receiver);
        }
        let mut outcome = Ok(reports);
        for (part, is_accepted) in accepted.into_iter().enumerate() {
            if tier.answer(part, is_accepted, deadline).await?.is_err() {
                outcome = Err(CompactionError::Full(task));
            }
        }
        outcome
    }
}
