//! The tier machine itself: its life, and the order in which its engines are polled.

use super::phase::Phase;
use crate::cleanup::Ticket;
use crate::compaction::{
    Cleaning, CompactionTask, Effort, Reclaimer, Report, RunningTask, TaskMemory, Tasks, TasksFull,
    debt_permille,
};
use crate::config::{ConfigError, TierConfig};
use crate::drive::{Input, Now, Poll, StaleTicket, TaskId};
use crate::format::{Location, Seed, SegmentIndex, Sequence, Store};
use crate::index::{Dropped, Due, Host, Released};
use crate::invariant::Invariant;
use crate::recovery::{MountError, MountReport, Restore};
use crate::segments::{Segment, SyncPoint, Tally};
use crate::writer::{AppendError, Counters, Engine, Fresh, Log, Memory};

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Status {
    /// It finds out what the medium holds.
    Mounting,
    /// It takes records and tasks.
    Running,
    /// It takes no more, and makes durable what it has.
    Closing,
    /// Everything it took is durable.
    Closed,
    /// The mount failed; nothing was written.
    Failed(MountError),
    /// It found its own state broken after the mount. It writes nothing more, and stored records can be read. A new machine can
    /// mount the medium.
    Broken(Invariant),
}

/// The tier machine. See the [module](super) for how it is driven.
///
/// *Getters*: [`status`](Self::status), [`mount_report`](Self::mount_report), [`tally`](Self::tally),
/// [`segments`](Self::segments), [`counters`](Self::counters), [`appended`](Self::appended), [`written`](Self::written),
/// [`durable`](Self::durable), [`progress`](Self::progress), [`has_task`](Self::has_task). *Mutators*: [`append`](Self::append), [`flush`](Self::flush),
/// [`sync`](Self::sync), [`evict`](Self::evict), [`confirm_clock`](Self::confirm_clock), [`schedule`](Self::schedule), [`cancel`](Self::cancel),
/// [`close`](Self::close), [`handle`](Self::handle). *Drain*: [`poll`](Self::poll), with [`write_bytes`](Self::write_bytes)
/// and [`read_buffer`](Self::read_buffer). *Wait*: [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Tier<'m> {
    pub(super) status: Status,
    pub(super) log: Log<'m>,
    phase: Phase,
    tasks: Tasks<'m>,
}

impl<'m> Tier<'m> {
    /// Builds a machine that is about to mount its medium.
    ///
    /// Without memory for `tasks` it takes none, evicts nothing and can't tidy at rest. All else goes on as with it: free segments
    /// are made where they run short.
    ///
    /// # Errors
    /// [`ConfigError`] when the memory does not fit the configuration, or the configuration itself.
    pub fn new(
        config: TierConfig,
        memory: Memory<'m>,
        tasks: Option<&'m mut TaskMemory>,
    ) -> Result<Self, ConfigError> {
        memory.check(&config)?;
        if config.cleans_at_rest && tasks.is_none() {
            return Err(ConfigError::TaskMemory);
        }
        let log = Log::new(config, memory);
        let tasks = Tasks::new(&log, tasks);
        Ok(Self { status: Status::Mounting, log, phase: Phase::new(), tasks })
    }

    /// Forgets everything, as a machine that was just built, and is about to mount its medium again. Completions of what was
    /// outstanding are stale. Tasks that had not ended end without a report, and no other task gets their ids.
    pub fn restart(&mut self) {
        self.status = Status::Mounting;
        self.log.restart();
        self.phase = Phase::new();
        self.tasks.restart(&self.log);
    }

    /// Where the machine is in its life.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Stops if an invariant was found broken since the last call. Tells whether the machine is broken.
    #[inline(never)]
    pub(super) fn stop_if_broken(&mut self) -> bool {
        let is_broken = self.log.is_broken();
        if is_broken {
            self.stop();
        }
        is_broken
    }

    /// Stops for good: some invariant is broken.
    #[cold]
    #[inline(never)]
    fn stop(&mut self) {
        let Some(invariant) = self.log.broken() else { return };
        self.tasks.refuse();
        match self.status {
            Status::Failed(_) => {}
            Status::Mounting => self.status = Status::Failed(MountError::Broken(invariant)),
            _ => self.status = Status::Broken(invariant),
        }
    }

    /// The findings of the mount; final once the machine runs.
    #[must_use]
    pub fn mount_report(&self) -> MountReport {
        self.phase.report()
    }

    /// The store on the medium.
    #[must_use]
    pub const fn store(&self) -> &Store {
        self.log.layout.store()
    }

    /// The start of record checksums of the store; final once the machine runs.
    #[must_use]
    pub const fn seed(&self) -> Seed {
        self.log.layout.seed()
    }

    /// The segment table.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        self.log.segments.as_slice()
    }

    /// A summary of the segment table. Bounds: one pass over it.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.log.segments.tally()
    }

    /// The work that was done so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        Counters { clock_refusals: self.log.durability.clock().refusals(), ..self.log.counters }
    }

    /// Appends so far: the position of the last one.
    #[must_use]
    pub const fn appended(&self) -> u64 {
        self.log.appended()
    }

    /// Every append up to this position is written and published.
    ///
    /// Records that were handed to [`Index::unwritten`](crate::index::Index::unwritten) do not count: they get a new position
    /// when they are appended again.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.log.written()
    }

    /// Writes that failed may have left records in segments up to this sequence, and in none above it.
    #[must_use]
    pub const fn version_floor(&self) -> Sequence {
        self.log.version_floor()
    }

    /// Whether no record waits to be written; relocated records count too.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.log.is_written()
    }

    /// Every append up to this position is durable, with the same exception.
    #[must_use]
    pub const fn durable(&self) -> u64 {
        self.log.durability.durable()
    }

    /// Writes and erases that are complete.
    ///
    /// A state of the index that was reached by then, by publishing or dropping, is durable once
    /// [`completed_durable`](Self::completed_durable) is no less.
    #[must_use]
    pub const fn completed(&self) -> SyncPoint {
        self.log.durability.completed()
    }

    /// So many of the [completed](Self::completed) writes and erases are durable, the machine's own included.
    #[must_use]
    pub const fn completed_durable(&self) -> SyncPoint {
        self.log.durability.synced_clear()
    }

    /// Tells whether only a new mount helps: a sync failed, and records that it should have made durable can't be read back.
    ///
    /// From then on nothing counts as durable and nothing is freed, so that the synced versions before them are kept; the next
    /// mount finds those (rules 1 and 9). Everything else can still be read.
    #[must_use]
    pub fn needs_remount(&self) -> bool {
        self.log.segments.has_lost_records()
    }

    /// Tells whether the medium may hold copies that are not counted, because segments or records could not be read. No tombstone is
    /// dropped meanwhile (rule 6).
    #[must_use]
    pub const fn has_uncounted(&self) -> bool {
        self.log.copies.is_withholding()
    }

    /// Tells whether all sequences were issued, and no segment with one is still to be opened. From then on a record is accepted only
    /// where an open segment has space for it, and nothing is compacted. Stored records can be read, and mounted again.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.log.is_at_end()
    }

    /// Tells whether a victim is being cleaned or a task runs.
    #[must_use]
    pub fn is_compacting(&self) -> bool {
        !self.tasks.is_idle()
    }

    /// The victim that is being cleaned, else the last one.
    #[must_use]
    pub fn cleaning(&self) -> Cleaning {
        self.tasks.cleaning()
    }

    /// The age of a sealed segment: the bytes that clients have appended since it was sealed.
    #[must_use]
    pub fn age_bytes(&self, segment: SegmentIndex) -> u64 {
        self.log.age_bytes(segment)
    }

    /// How far free segments are below the high watermark, in permille; 1,000 when fresh records have to wait.
    #[must_use]
    pub fn debt_permille(&self) -> u16 {
        debt_permille(&self.log)
    }

    /// The running task and how far it is.
    #[must_use]
    pub fn progress(&self) -> Option<RunningTask> {
        self.tasks.progress()
    }

    /// Tells whether a task waits, runs, or has a report that was not taken. For any other task no report will come.
    ///
    /// # Bounds
    /// Looks at each task that it has.
    #[must_use]
    pub fn has_task(&self, id: TaskId) -> bool {
        self.tasks.has_report(id) || !matches!(self.status, Status::Broken(_)) && self.tasks.has_task(id)
    }

    /// Takes the report of a task that ended, with the id that [`schedule`](Self::schedule) returned; the oldest first. The last
    /// [`REPORTS_KEPT`](crate::compaction::REPORTS_KEPT) are kept: a poll ends one task at most.
    pub fn take_report(&mut self) -> Option<Report> {
        self.tasks.take_report()
    }

    /// Appends a record to the buffer of an open segment.
    ///
    /// # Errors
    /// [`AppendError`]; the record was not taken and can be offered again.
    ///
    /// # Bounds
    /// Copies the record once; looks at each slot once.
    pub fn append(&mut self, now: Now, fresh: &Fresh<'_>) -> Result<Location, AppendError> {
        self.append_split(now, fresh, &[])
    }

    /// Appends a record whose payload lies in two pieces: that of `fresh`, then `rest`. The checksum is over both.
    ///
    /// # Errors
    /// As for [`append`](Self::append), with its bounds.
    pub fn append_split(
        &mut self,
        now: Now,
        fresh: &Fresh<'_>,
        rest: &[u8],
    ) -> Result<Location, AppendError> {
        if self.status != Status::Running {
            return Err(self.refusal());
        }
        self.log.observe(now);
        let result = self.log.append_fresh(now, fresh, rest);
        self.or_full(now, result)
    }

    /// Turns `Busy` into `Full` where nothing gives space any more.
    pub(super) fn or_full<T>(&mut self, now: Now, result: Result<T, AppendError>) -> Result<T, AppendError> {
        if self.stop_if_broken() {
            return Err(self.refusal());
        }
        match result {
            Err(AppendError::Busy)
                if !self.log.is_backing_off(now)
                    && !self.log.has_batch()
                    && self.log.is_written()
                    && !self.log.copies.is_resetting()
                    && self.tasks.is_stuck(&self.log) =>
            {
                Err(AppendError::Full)
            }
            result => result,
        }
    }

    /// Why no record is taken by a machine that does not run.
    #[cold]
    #[inline(never)]
    pub(super) const fn refusal(&self) -> AppendError {
        match self.status {
            Status::Broken(_) => AppendError::Broken,
            _ => AppendError::NotMounted,
        }
    }

    /// Tells whether a client's record of this length has a place, now or as soon as a free segment is opened. Where it has
    /// none, the machine cleans segments for it from now on, as if it had been offered.
    ///
    /// # Bounds
    /// One pass over the segment table.
    pub fn reserve(&mut self, record_bytes: u32) -> bool {
        self.status == Status::Running && !self.log.copies.is_resetting() && self.log.reserve(record_bytes)
    }

    /// Drops a record whose time is over, as [`CleanupExpired`](CompactionTask::CleanupExpired) does, where a client's record needs
    /// the space now.
    pub fn drop_due<H: Host>(&mut self, now: Now, due: &Due, host: &mut H) -> Dropped {
        self.log.observe(now);
        if self.status != Status::Running || self.log.copies.is_resetting() {
            return Dropped::NotCurrent;
        }
        self.log.durability.owe_time();
        let dropped = host.drop_current(&due.hash, due.location);
        if dropped == Dropped::Now {
            self.log.release(&Released { location: due.location, record_bytes: due.record_bytes });
            self.stop_if_broken();
        }
        dropped
    }

    /// Wants everything appended so far to be written. Returns whether any of it was not wanted before: then a poll writes it.
    pub fn flush(&mut self) -> bool {
        self.log.flush()
    }

    /// Wants everything appended so far to be written and durable.
    pub fn sync(&mut self) {
        self.log.sync();
    }

    /// Wants about this many bytes of records to be evicted: expired ones first, then the oldest. A larger want that is under
    /// way stays. Without memory for tasks nothing is evicted.
    pub fn evict(&mut self, bytes: u64) {
        self.tasks.evict(bytes);
    }

    /// Drops all records that are due now, without a task. Their space comes back once the drops are written. Without memory for
    /// tasks nothing is dropped.
    pub fn expire(&mut self) {
        self.tasks.expire();
    }

    /// Tells whether an eviction is under way, or its tombstones are not published yet.
    #[must_use]
    pub fn is_evicting(&self) -> bool {
        self.tasks.is_evicting() || self.log.has_relocated()
    }

    /// Queues a task; returns the id that its requests to the pools and its report bear.
    ///
    /// # Errors
    /// [`TasksFull`] gives the task back when [`TASK_QUEUE_CAPACITY`](crate::compaction::TASK_QUEUE_CAPACITY) wait, when the
    /// machine is closing or [broken](Status::Broken), or where no memory was lent for tasks.
    pub fn schedule(&mut self, task: CompactionTask) -> Result<TaskId, TasksFull> {
        self.tasks.schedule(task)
    }

    /// Gives up records that can't be read: the next [`RebuildIndex`](CompactionTask::RebuildIndex) that begins also frees segments
    /// that it still can't read whole. Records in the unreadable parts are lost; their keys may have an older value, or none.
    /// Without this call such segments are kept, since a medium that fails now may be read later.
    pub const fn give_up_unread(&mut self) {
        self.tasks.give_up_unread();
    }

    /// Pauses background work, or lets it go on: steps of tasks, their victims, and the tidying. Work that gives space in a shortage,
    /// or that other work waits for, is not paused. An adapter with a budget for background work pauses it between its slices. At
    /// first it is not paused.
    pub const fn pause_background(&mut self, is_paused: bool) {
        self.tasks.pausing().is_paused = is_paused;
    }

    /// The kind of work that the last poll did. After [`Effort::Held`] there is work for a poll that is not paused.
    #[must_use]
    pub const fn effort(&self) -> Effort {
        self.tasks.effort()
    }

    /// Ends the running task at its next step; what it did stays done, and its report says `Partial`.
    pub fn cancel(&mut self) {
        self.tasks.cancel();
    }

    /// Takes no more records and tasks, and makes all accepted records durable.
    pub fn close(&mut self) {
        if self.status == Status::Running {
            self.status = Status::Closing;
            self.tasks.close();
            self.sync();
        }
    }

    /// The bytes of a write that was asked for; empty when the ticket is stale.
    #[must_use]
    pub fn write_bytes(&self, ticket: Ticket) -> &[u8] {
        let lent = match &self.phase {
            Phase::Mounted { reclaim, .. } if reclaim.is_waiting(ticket) => Some(reclaim.lent(&self.log)),
            _ => self.log.lent(ticket),
        };
        let Some(lent) = lent else { return &[] };
        // A write has at least one byte.
        self.log.watch.hold(Invariant::WrittenBytes, !lent.is_empty());
        lent
    }

    /// The buffer for a read that was asked for, of exactly the length to read; empty when the ticket is stale.
    pub fn read_buffer(&mut self, ticket: Ticket) -> &mut [u8] {
        self.log.lent_to_read(ticket).unwrap_or_default()
    }

    /// Takes one step.
    ///
    /// # Bounds
    /// One action, or one bounded step inside: at most `step_bytes` and one record of copying, or `step_records` entries of a
    /// footer. A step may also make a few passes over the segment table.
    pub fn poll<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        let step = self.step(now, host);
        // A broken state may have led to this step, so its action does not reach the medium.
        if self.stop_if_broken() { Poll::Idle } else { step }
    }

    fn step<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        self.tasks.pausing().note(Effort::None);
        match self.status {
            Status::Mounting => self.poll_mount(now, host),
            Status::Running => {
                let step = self.poll_running(now, host);
                self.again_if_stirred(step)
            }
            Status::Closing => {
                let step = self.poll_closing(now, host);
                self.again_if_stirred(step)
            }
            Status::Closed | Status::Failed(_) | Status::Broken(_) => Poll::Idle,
        }
    }

    fn poll_mount<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        let Phase::Mounting(mount) = &mut self.phase else { return Poll::Idle };
        let step = mount.poll(now, &mut self.log, host);
        match mount.outcome() {
            None => step,
            Some(Ok(())) => {
                self.phase = Phase::Mounted {
                    report: mount.report(),
                    reclaim: Reclaimer::default(),
                    restore: Restore::default(),
                };
                self.log.observe(now);
                self.log.begin_blocks();
                self.log.measure_fill();
                self.status = Status::Running;
                Poll::Again
            }
            Some(Err(error)) => {
                self.status = Status::Failed(error);
                Poll::Idle
            }
        }
    }

    /// The log's own parts come first, since the engines wait for them.
    fn poll_running<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        self.log.observe(now);
        match self.log.poll(now, host) {
            Poll::Idle => {}
            step => return step,
        }
        // No engine writes between the members of a batch.
        if self.log.has_batch() {
            self.log.expire_batch(now);
            return Poll::Idle;
        }
        match self.phase.poll_reclaim(now, &mut self.log, host) {
            Poll::Idle => self.phase.poll_tasks(now, &mut self.tasks, &mut self.log, host),
            step => step,
        }
    }

    /// An engine may only just have asked for the write or opening that it waits for: the next poll makes it.
    fn again_if_stirred(&mut self, step: Poll) -> Poll {
        if step == Poll::Idle && self.log.take_stirred() { Poll::Again } else { step }
    }

    /// Writes and syncs what was appended; tasks end, segments on their way to be free are left to the next mount.
    fn poll_closing<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        self.log.observe(now);
        self.log.give_up_batch();
        match self.log.poll_closing(now, host) {
            Poll::Idle => {}
            step => return step,
        }
        let has_suspects = self.log.segments.has_suspects();
        // A segment whose opening failed is erased again: records under suspicion may need it.
        if has_suspects {
            match self.phase.poll_reclaim(now, &mut self.log, host) {
                Poll::Idle => {}
                step => return step,
            }
        }
        if has_suspects || !self.tasks.is_idle() {
            match self.phase.poll_tasks(now, &mut self.tasks, &mut self.log, host) {
                Poll::Idle => {}
                step => return step,
            }
        }
        let is_durable =
            self.log.durability.durable() >= self.log.appended() && self.log.durability.is_idle();
        if is_durable && self.tasks.is_idle() && self.log.is_written() {
            if self.log.seal_one() {
                return if self.log.is_backing_off(now) { Poll::Idle } else { Poll::Again };
            }
            self.status = Status::Closed;
        }
        Poll::Idle
    }

    /// Takes an input.
    ///
    /// # Errors
    /// [`StaleTicket`] when nothing with this ticket is outstanding: the input was dropped. A machine that is
    /// [broken](Status::Broken) drops every input.
    ///
    /// # Bounds
    /// A completed write publishes its records, at most as many as a slot's memory holds.
    pub fn handle<H: Host>(&mut self, now: Now, input: Input, host: &mut H) -> Result<(), StaleTicket> {
        // The results of operations under way are dropped: the next mount finds out.
        if self.stop_if_broken() {
            return Ok(());
        }
        let (ticket, result) = match input {
            Input::Cleanup(reply) => return self.tasks.take_reply(now, &self.log, reply),
            Input::CleanupUnavailable(ticket) => return self.tasks.take_unavailable(now, &self.log, ticket),
            Input::Done { ticket, result } => (ticket, result),
        };
        if let Some(reclaim) = self.phase.reclaim()
            && reclaim.is_waiting(ticket)
        {
            reclaim.done(now, &mut self.log, result);
            return Ok(());
        }
        let is_sync = self.log.durability.is_waiting(ticket);
        self.log.complete(now, ticket, result, host)?;
        if let (true, Err(error), Status::Mounting) = (is_sync, result, self.status) {
            // No later sync proves that the bytes found are durable: blank segments may hold their old records again (rule 9).
            self.status = Status::Failed(MountError::Medium(error));
        }
        Ok(())
    }

    /// Returns how long the machine can wait without an input, in milliseconds; `None` for as long as there is none.
    #[must_use]
    pub fn poll_timeout(&self, now: Now) -> Option<u64> {
        let until = |at: u64| at.saturating_sub(now.monotonic_ms);
        let retry = self.log.retry_ms(now).map(until);
        let deadline = self.tasks.next_deadline_ms().map(until);
        let pace = self.tasks.pace_wait_ms(&self.log);
        let blocks = self.log.blocks_retry_ms().map(until);
        let batch = self.log.batch_retry_ms().map(until);
        if matches!(self.status, Status::Broken(_)) {
            return None;
        }
        let is_quiet = self.status == Status::Running && retry.is_none();
        let tidy = self.tasks.tidy_due_ms(&self.log).filter(|_| is_quiet).map(|at| until(at).max(1));
        [retry, deadline, pace, blocks, batch, tidy].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
