//! The tier machine: all that a cold tier decides, without I/O, clock or allocation.
//!
//! One value, [`Tier`], owns the log: where a record goes, what is stale, which segment to clean, what to copy, when to sync,
//! erase or ask the pools. An adapter drives it by one rule: **mutate, drain, wait**.
//!
//! 1. *Mutate*: [`append`](Tier::append) a record, [`schedule`](Tier::schedule) a task, [`handle`](Tier::handle) a
//!    completion.
//! 2. *Drain*: call [`poll`](Tier::poll) until it is [`Poll::Idle`]; carry out each [`Poll::Do`] and hand its completion to
//!    `handle`. Between two polls anything more urgent may be mutated: each poll does one bounded step.
//! 3. *Wait* for the next input, at most [`poll_timeout`](Tier::poll_timeout).
//!
//! Engines inside, in the order in which `poll` asks them: the mount; slots (open segments); the opening of segments; syncs;
//! the retiring of emptied segments; compaction (shortage first, then eviction, then tasks). Each is a file of this folder
//! with a diagram of its states.

mod action;
mod ask;
mod compact;
mod config;
mod evict;
mod expire;
mod host;
mod log;
mod mount;
mod mover;
mod opening;
mod placing;
mod publish;
mod rebuild;
mod retire;
mod sample;
mod scanner;
mod slot;
mod sync;
mod task;
mod tasks;

pub use action::{Action, AppendError, Input, MediumError, MountError, Now, Poll, StaleTicket, TasksFull};
pub use config::{
    ConfigError, FREE_RESERVE, Memory, Pending, SLOTS_MAX, SlotMemory, Stream, Streams, TierConfig,
    reserve_segments,
};
pub use host::{Dropped, Due, Host, Look, Placed, Published, Released, Standing};

use crate::cleanup::Ticket;
use crate::compaction::{CompactionTask, Progress, Report};
use crate::log::{Checksum, KeyHash, Kind, Location, RecordHeader, Segment, Store, Tally, Version};
use log::{LANE_COPY, LANE_ERASE, LANE_OPENING, LANE_SCAN, LANE_SYNC, Log};
use mount::Mount;
use mover::Mover;
use placing::Incoming;
use retire::Retire;
use tasks::Tasks;

/// A client's record: a value, or the tombstone of a remove.
#[derive(Debug, Clone, Copy)]
pub struct Fresh<'a> {
    /// The identity of its key.
    pub hash: KeyHash,
    /// [`Kind::Value`] or [`Kind::Tombstone`].
    pub kind: Kind,
    /// Number of the codec that the value is encoded with.
    pub codec: u8,
    /// Bytes of the key at the start of `payload`.
    pub key_bytes: u32,
    /// Key, then encoded value. A tombstone has the 12 bytes of the hash for a key, where keys are hashed, and no value.
    pub payload: &'a [u8],
    /// [`Checksum::of`] the payload, which a client can compute before the log is free.
    pub checksum: Checksum,
    /// When it expires, in seconds of the wall clock.
    pub expires_s: Option<u32>,
    /// The newest version known of the key, written or on its way: the record gets a higher one.
    pub after: Option<Version>,
}

impl Fresh<'_> {
    fn header(&self) -> RecordHeader {
        let payload = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        RecordHeader {
            kind: self.kind,
            codec: self.codec,
            key_bytes: self.key_bytes,
            value_bytes: payload.saturating_sub(self.key_bytes),
            expires_s: self.expires_s,
            origin: None,
        }
    }
}

/// Makes a tombstone of the machine's own.
fn tombstone<'a>(
    hash: KeyHash,
    key: &'a [u8],
    origin: Option<Version>,
    moved_from: Option<Location>,
) -> Incoming<'a> {
    let header = RecordHeader {
        kind: Kind::Tombstone,
        codec: 1,
        key_bytes: u32::try_from(key.len()).unwrap_or(u32::MAX),
        value_bytes: 0,
        expires_s: None,
        origin,
    };
    Incoming { hash, header, parts: [key, &[]], payload: Checksum::of(key), moved_from }
}

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
}

/// What a mount found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MountReport {
    /// Whether the medium was blank.
    pub is_new: bool,
    /// Keyed records found, live and stale.
    pub records: u64,
    /// Bytes of records that are live.
    pub live_bytes: u64,
    /// Records that did not validate, with valid ones behind them.
    pub damaged_records: u32,
    /// Segments without a footer: they were open when the tier was left.
    pub unsealed_segments: u32,
    /// Segments that are neither blank nor readable, kept as they are.
    pub quarantined_segments: u32,
    /// Segments torn while they were opened, which are erased.
    pub torn_segments: u32,
    /// Erases that had begun, or were about to, and are finished.
    pub finished_erases: u32,
    /// Bytes read.
    pub scanned_bytes: u64,
}

/// What a machine has done since it was made. All counts are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Counters {
    /// Records that clients appended.
    pub fresh_records: u64,
    /// Bytes of these on the medium.
    pub fresh_bytes: u64,
    /// Bytes written in all: records, footers, headers, markers.
    pub bytes_written: u64,
    /// Bytes read for mounting, cleaning and checking.
    pub bytes_read: u64,
    /// Records relocated, or replaced by a tombstone.
    pub moved_records: u64,
    /// Bytes of these as written.
    pub moved_bytes: u64,
    /// Victims emptied.
    pub victims: u64,
    /// Segments made free.
    pub freed_segments: u32,
    /// Bytes of segments made free, less what was written to relocate what was live in them.
    pub bytes_reclaimed: u64,
    /// Erases.
    pub erases: u64,
    /// Syncs issued.
    pub syncs: u64,
    /// Syncs that failed.
    pub sync_failures: u64,
    /// Operations of the medium that failed.
    pub failures: u64,
    /// Segments sealed early because a write or sync failed.
    pub segments_abandoned: u64,
    /// Times that free segments ran short.
    pub shortages: u64,
    /// Records evicted.
    pub evicted_records: u64,
}

/// The tier machine. See the [module](self) for how it is driven.
///
/// *Getters*: [`status`](Self::status), [`mount_report`](Self::mount_report), [`tally`](Self::tally),
/// [`segments`](Self::segments), [`counters`](Self::counters), [`appended`](Self::appended), [`written`](Self::written),
/// [`durable`](Self::durable), [`progress`](Self::progress). *Mutators*: [`append`](Self::append), [`flush`](Self::flush),
/// [`sync`](Self::sync), [`evict`](Self::evict), [`schedule`](Self::schedule), [`cancel`](Self::cancel),
/// [`close`](Self::close), [`handle`](Self::handle). *Drain*: [`poll`](Self::poll), with [`write_bytes`](Self::write_bytes)
/// and [`read_buffer`](Self::read_buffer). *Wait*: [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Tier<'m> {
    status: Status,
    log: Log<'m>,
    mount: Mount,
    retire: Retire,
    mover: Mover,
    tasks: Tasks,
}

impl<'m> Tier<'m> {
    /// Builds a machine that is about to mount its medium.
    ///
    /// # Errors
    /// [`ConfigError`] when the memory does not fit the configuration, or the configuration itself.
    pub fn new(config: TierConfig, memory: Memory<'m>) -> Result<Self, ConfigError> {
        config.check(&memory)?;
        let log = Log::new(config, memory);
        let tasks = Tasks::new(&log);
        Ok(Self {
            status: Status::Mounting,
            log,
            mount: Mount::new(),
            retire: Retire::default(),
            mover: Mover::default(),
            tasks,
        })
    }

    /// Where the machine is in its life.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// What the mount found; final once the machine runs.
    #[must_use]
    pub fn mount_report(&self) -> MountReport {
        self.mount.report()
    }

    /// The store on the medium.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.log.store
    }

    /// The segment table.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        self.log.segments
    }

    /// A summary of the segment table. Bounds: one pass over it.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.log.tally()
    }

    /// What was done so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.log.counters
    }

    /// The wall clock of the tier, in seconds: it never goes back, and starts no earlier than the newest time on the medium.
    #[must_use]
    pub const fn clock_s(&self) -> u32 {
        self.log.clock_s
    }

    /// Appends so far: the position of the last one.
    #[must_use]
    pub const fn appended(&self) -> u64 {
        self.log.appended
    }

    /// Every append up to this position is written and published.
    ///
    /// Records that [`Host::unwritten`] handed back are not waited for: they get a new position when they are appended again.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.log.written()
    }

    /// Every append up to this position is durable, with the same exception.
    #[must_use]
    pub const fn durable(&self) -> u64 {
        self.log.syncs.durable
    }

    /// Tells whether only a new mount helps: a sync failed, and records that it should have made durable can't be read back.
    ///
    /// From then on nothing counts as durable and nothing is freed, so that the synced versions before them are kept; the next
    /// mount finds those (rules 1 and 9). Everything else can still be read.
    #[must_use]
    pub fn needs_remount(&self) -> bool {
        self.log.has_lost_records()
    }

    /// Tells whether a victim is being cleaned or a task runs.
    #[must_use]
    pub fn is_compacting(&self) -> bool {
        !self.mover.is_idle() || !self.tasks.is_idle()
    }

    /// The running task and how far it is.
    #[must_use]
    pub fn progress(&self) -> Option<(CompactionTask, Progress)> {
        self.tasks.progress()
    }

    /// Takes the report of a task that ended; the oldest first. The last eight are kept.
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
        if self.status != Status::Running {
            return Err(AppendError::NotMounted);
        }
        self.log.observe(now);
        match self.log.append_fresh(now, fresh) {
            Err(AppendError::Busy)
                if !self.log.is_backing_off(now)
                    && !self.tasks.evict.is_active()
                    && self.log.is_written()
                    && Tasks::is_stuck(&self.log, &self.mover) =>
            {
                Err(AppendError::Full)
            }
            result => result,
        }
    }

    /// Wants everything appended so far to be written.
    pub fn flush(&mut self) {
        self.log.flush();
    }

    /// Wants everything appended so far to be written and durable.
    pub fn sync(&mut self) {
        self.log.flush();
        let position = self.log.appended;
        self.log.syncs.want_position(position);
    }

    /// Wants about this many bytes of the oldest records to be evicted; a larger want that is under way stays.
    pub fn evict(&mut self, bytes: u64) {
        self.tasks.evict.want(bytes);
    }

    /// Queues a task.
    ///
    /// # Errors
    /// [`TasksFull`] gives the task back when [`TASK_QUEUE_CAPACITY`](crate::compaction::TASK_QUEUE_CAPACITY) wait, or the
    /// machine is closing.
    pub fn schedule(&mut self, task: CompactionTask) -> Result<(), TasksFull> {
        self.tasks.schedule(task)
    }

    /// Ends the running task at its next step; what it did stays done, and its report says `Partial`.
    pub fn cancel(&mut self) {
        self.tasks.cancel(&mut self.mover);
    }

    /// Takes no more records and tasks; makes durable what was taken.
    pub fn close(&mut self) {
        if self.status == Status::Running {
            self.status = Status::Closing;
            self.tasks.close(&mut self.mover);
            self.mover.cancel();
            self.sync();
        }
    }

    /// The bytes of a write that was asked for; empty when the ticket is stale.
    #[must_use]
    pub fn write_bytes(&self, ticket: Ticket) -> &[u8] {
        match ticket.index {
            LANE_OPENING if self.log.opening.is_waiting(ticket) => self.log.opening.lent(),
            LANE_ERASE if self.retire.is_waiting(ticket) => self.retire.lent(&self.log),
            slot => {
                let slot = self.log.slots.get(usize::from(slot)).filter(|s| s.is_waiting(ticket));
                slot.map_or(&[], |s| s.lent())
            }
        }
    }

    /// The buffer for a read that was asked for, as long as what is to be read; empty when the ticket is stale.
    pub fn read_buffer(&mut self, ticket: Ticket) -> &mut [u8] {
        match ticket.index {
            LANE_COPY => self.log.copy.lent(ticket),
            LANE_SCAN => self.log.scan.lent(ticket),
            _ => None,
        }
        .unwrap_or_default()
    }

    /// Takes one step.
    ///
    /// # Bounds
    /// One action, or one bounded step inside: at most `step_bytes` and one record of copying, or 256 entries of a footer, or
    /// one pass over the segment table.
    pub fn poll<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        match self.status {
            Status::Mounting => self.poll_mount(now, host),
            Status::Running => self.poll_running(now, host),
            Status::Closing => self.poll_closing(now, host),
            Status::Closed | Status::Failed(_) => Poll::Idle,
        }
    }

    fn poll_mount<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        match self.mount.poll(now, &mut self.log, host) {
            Ok(_) if self.mount.is_done() => {
                self.log.observe(now);
                self.status = Status::Running;
                Poll::Again
            }
            Ok(poll) => poll,
            Err(error) => {
                self.status = Status::Failed(error);
                Poll::Idle
            }
        }
    }

    fn poll_running<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        self.log.observe(now);
        if let Some(action) = self.log.poll_slots(now) {
            return Poll::Do(action);
        }
        // When all sequences are issued nothing can be opened any more; appends say so.
        if let Ok(Some(action)) = self.log.poll_opening(now) {
            return Poll::Do(action);
        }
        if let Some(action) = self.log.poll_sync(now) {
            return Poll::Do(action);
        }
        match self.retire.poll(now, &mut self.log, host) {
            Poll::Idle => {}
            step => return step,
        }
        let step = self.tasks.poll(now, &mut self.log, &mut self.mover, host);
        // A step that waits for a write or an opening has only just asked for it: the next poll makes it.
        if step == Poll::Idle && core::mem::take(&mut self.log.is_stirred) { Poll::Again } else { step }
    }

    /// Writes and syncs what was appended; tasks end, segments on their way to be free are left to the next mount.
    fn poll_closing<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        self.log.observe(now);
        if let Some(action) = self.log.poll_slots(now) {
            return Poll::Do(action);
        }
        // What a failed sync put under suspicion is written again before all is durable; that may take a new segment.
        let has_suspects = self.log.has_suspects();
        if has_suspects && let Ok(Some(action)) = self.log.poll_opening(now) {
            return Poll::Do(action);
        }
        if let Some(action) = self.log.poll_sync(now) {
            return Poll::Do(action);
        }
        if has_suspects || !self.mover.is_idle() || !self.tasks.is_idle() {
            match self.tasks.poll(now, &mut self.log, &mut self.mover, host) {
                Poll::Idle => {}
                step => return step,
            }
        }
        let is_durable = self.log.syncs.durable >= self.log.appended && self.log.syncs.is_idle();
        if is_durable && self.mover.is_idle() && self.log.is_written() {
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
    /// [`StaleTicket`] when nothing with this ticket is outstanding: the input was dropped.
    ///
    /// # Bounds
    /// A completed write publishes its records, at most as many as a slot's memory holds.
    pub fn handle<H: Host>(&mut self, now: Now, input: Input, host: &mut H) -> Result<(), StaleTicket> {
        let (ticket, result) = match input {
            Input::Cleanup(reply) => return self.tasks.take_reply(now, &self.log, reply),
            Input::CleanupUnavailable(ticket) => return self.tasks.take_unavailable(now, &self.log, ticket),
            Input::Done { ticket, result } => (ticket, result),
        };
        match ticket.index {
            LANE_OPENING if self.log.opening.is_waiting(ticket) => self.log.finish_opening_write(now, result),
            LANE_COPY if self.mover.is_waiting(&self.log, ticket) => self.log.copy.done(result),
            LANE_SCAN if self.log.scan_is_waiting(ticket) => self.log.scan.done(result),
            LANE_SYNC if self.log.syncs.is_waiting(ticket) => {
                self.log.finish_sync(now, result, host);
                if result.is_err() && self.status == Status::Mounting {
                    self.log.suspect_unsealed();
                }
            }
            LANE_ERASE if self.retire.is_waiting(ticket) => self.retire.done(now, &mut self.log, result),
            slot => {
                let slot = usize::from(slot);
                if !self.log.slots.get(slot).is_some_and(|s| s.is_waiting(ticket)) {
                    return Err(StaleTicket(ticket));
                }
                self.log.finish_slot_write(now, slot, result, host);
            }
        }
        Ok(())
    }

    /// Returns how long the machine can wait without an input, in milliseconds; `None` for as long as there is none.
    #[must_use]
    pub fn poll_timeout(&self, now: Now) -> Option<u64> {
        let until = |at: u64| at.saturating_sub(now.monotonic_ms);
        let retry = self.log.is_backing_off(now).then(|| until(self.log.retry_at_ms));
        let deadline = self.tasks.next_deadline_ms().map(until);
        let pace = self.tasks.pace_wait_ms(&self.log, &self.mover);
        [retry, deadline, pace].into_iter().flatten().min()
    }
}
