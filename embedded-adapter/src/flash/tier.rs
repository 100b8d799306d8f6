//! The flash tier: one machine, its index and its medium.

use coldpress_core::cleanup::Ticket;
use coldpress_core::compaction::TasksFull;
use coldpress_core::compaction::{CompactionTask, Report, RunningTask, TaskId};
use coldpress_core::drive::{Action, MediumError, Now};
use coldpress_core::format::Geometry;
use coldpress_core::machine::{Status, Tier};
use coldpress_core::recovery::MountReport;

use super::access::Access;
use super::commit::PendingBatch;
use super::config::FlashConfig;
use super::driving::{STEPS_MAX, Step, Work};
use super::error::{BuildError, FlashMountError, GetError};
use super::index::{IndexOnFlash, TableIndex};
use super::large::{FailedCommits, LargePut};
use super::medium::DeviceMedium;
use super::memory::FlashMemory;
use super::pending::Pending;
use super::reader::Flash;
use super::stats::Worst;
use super::table::Table;

/// A cold tier on flash, without an allocator. See the [module](super) for how it is used.
///
/// *Start*: [`new`](Self::new), [`mount`](Self::mount), [`format`](Self::format). *Data*: [`put`](Self::put), [`put_with_ttl`](Self::put_with_ttl),
/// [`get`](Self::get), [`contains`](Self::contains), [`remove`](Self::remove), [`next_key`](Self::next_key),
/// [`len`](Self::len), [`sync`](Self::sync). *Several keys*: [`commit_batch`](Self::commit_batch). *Long values*: [`begin`](Self::begin), [`put_piece`](Self::put_piece),
/// [`commit`](Self::commit), [`get_in_pieces`](Self::get_in_pieces), [`sweep`](Self::sweep). *Work*: [`poll`](Self::poll), [`reserve`](Self::reserve). *Tasks*:
/// [`schedule`](Self::schedule), [`cancel`](Self::cancel), [`progress`](Self::progress),
/// [`take_report`](Self::take_report), [`answer`](Self::answer). *Clock*: [`confirm_clock`](Self::confirm_clock),
/// [`clock_refused_s`](Self::clock_refused_s), [`clock_behind_s`](Self::clock_behind_s), [`clock_s`](Self::clock_s). *To look on*: [`status`](Self::status),
/// [`stats`](Self::stats), [`erases`](Self::erases), [`worst`](Self::worst).
#[derive(Debug)]
pub struct FlashTier<'m, M> {
    pub(super) tier: Tier<'m>,
    pub(super) index: TableIndex<'m>,
    pub(super) flash: Flash<M>,
    pub(super) keys_max: u32,
    pub(super) record_bytes_max: u32,
    pub(super) has_pools: bool,
    pub(super) skips_unchanged: bool,
    /// How far the clock may lie behind after a mount, in seconds.
    pub(super) time_every_s: u32,
    /// An action that the last call could not afford.
    pub(super) held: Option<Action>,
    /// The operation that the medium has not ended.
    pub(super) under_way: Option<Ticket>,
    /// The record that was appended and whose outcome no call has returned.
    pub(super) pending: Option<Pending>,
    /// The batch that is being written, or whose outcome no call has returned.
    pub(super) batch: Option<PendingBatch>,
    /// Appends that the sync which was put off makes durable.
    pub(super) syncing: Option<u64>,
    /// The segment to erase next where the flash is formatted.
    pub(super) formatting: Option<u32>,
    /// The long value that is being written.
    pub(super) large: Option<LargePut>,
    pub(super) failed_commits: FailedCommits,
    /// Whether pieces may be left over that belong to no value.
    pub(super) has_orphans: bool,
    /// Where the search for them goes on.
    pub(super) swept: usize,
    /// The last failure of the medium.
    pub(super) failure: Option<MediumError>,
    pub(super) worst: Worst,
}

impl<'m, M: Access> FlashTier<'m, M> {
    /// Bytes of RAM that the value takes, beside its [`FlashMemory`].
    pub const RAM_BYTES: usize = size_of::<Self>();

    /// Builds a tier that is about to mount its medium. Nothing is read or written yet.
    ///
    /// # Errors
    /// [`BuildError`] when medium, memory and configuration do not fit each other.
    pub fn new<
        const SEGMENTS: usize,
        const BUCKETS: usize,
        const RECORD: usize,
        const TASKS: usize,
        const BATCH: usize,
    >(
        config: FlashConfig,
        memory: &'m mut FlashMemory<SEGMENTS, BUCKETS, RECORD, TASKS, BATCH>,
        mut medium: M,
    ) -> Result<Self, BuildError>
    where
        M: DeviceMedium,
    {
        let keys_max = u32::try_from(FlashMemory::<SEGMENTS, BUCKETS, RECORD, TASKS, BATCH>::KEYS_MAX)
            .unwrap_or(u32::MAX);
        let segments = u32::try_from(SEGMENTS).unwrap_or(u32::MAX);
        let lent = memory.lend();
        let record_bytes_max = lent.record_bytes_max;
        let machine = config.machine(&medium, segments, record_bytes_max)?;
        let geometry = machine.geometry;
        let places =
            u32::try_from(geometry.medium_bytes() / u64::from(geometry.write_unit())).unwrap_or(u32::MAX);
        let places_max = u32::try_from(FlashMemory::<SEGMENTS, BUCKETS, RECORD, TASKS, BATCH>::PLACES_MAX)
            .unwrap_or(u32::MAX);
        let index = TableIndex::new(Table::new(lent.buckets, places), lent.sequences, lent.known, places_max);
        // Another tier may have left an operation of its own.
        medium.give_up();
        let tier = Tier::new(machine, lent.memory, lent.tasks).map_err(BuildError::Config)?;
        Ok(Self {
            tier,
            index,
            flash: Flash {
                medium,
                geometry,
                seed: machine.store.seed(&geometry),
                secret: config.secret,
                reads: 0,
                bytes_read: 0,
                read_failure: None,
            },
            keys_max,
            record_bytes_max,
            has_pools: config.has_pools,
            skips_unchanged: config.skips_unchanged,
            time_every_s: config.time_every_s,
            held: None,
            under_way: None,
            pending: None,
            batch: None,
            syncing: None,
            formatting: None,
            large: None,
            failed_commits: FailedCommits::default(),
            has_orphans: true,
            swept: 0,
            failure: None,
            worst: Worst::default(),
        })
    }

    /// Goes on with the mount, up to the next operation that is under way.
    pub(super) fn go_on_mounting(&mut self, now: Now) -> Result<MountReport, FlashMountError> {
        self.retry_format();
        let mut allowance = self.allowance(STEPS_MAX);
        while self.status() == Status::Mounting && self.index.refusal.is_none() {
            match self.step(now, &mut allowance, &mut Work::default()) {
                Step::Done => {}
                Step::Spent => allowance = self.allowance(STEPS_MAX),
                // The next call goes on.
                Step::Waiting => break,
                // The mount was refused, or waits for something that does not come.
                Step::Idle => break,
            }
        }
        self.mounted()
    }

    /// The findings of the mount.
    ///
    /// # Errors
    /// [`FlashMountError`] where it failed, or is not over.
    pub fn mounted(&self) -> Result<MountReport, FlashMountError> {
        match (self.status(), self.index.refusal) {
            (Status::Failed(error), _) => Err(FlashMountError::Mount(error)),
            (Status::Broken(invariant), _) => {
                Err(FlashMountError::Mount(coldpress_core::recovery::MountError::Broken(invariant)))
            }
            (_, Some(error)) => Err(error),
            (Status::Mounting, None) if self.is_waiting() => Err(FlashMountError::Busy),
            (Status::Mounting, None) => Err(match self.failure.filter(|_| self.formatting.is_some()) {
                Some(error) => FlashMountError::Format(error),
                None => FlashMountError::Unfinished,
            }),
            _ => Ok(self.tier.mount_report()),
        }
    }

    /// The state of the tier.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.tier.status()
    }

    /// Confirms the wall clock, as it is or as it will be within the next minute; at any time, before the mount too.
    ///
    /// A jump ahead beyond [`clock_jump_s_max`](FlashConfig::clock_jump_s_max) counts as time that has passed. Where the wall clock is
    /// behind, the tier's time keeps its distance to it from then on, across mounts, so no expired value comes back.
    pub fn confirm_clock(&mut self) {
        self.tier.confirm_clock();
    }

    /// How far the wall clock is ahead of the tier's time, in seconds, if it is refused because it jumped too far; else `None`.
    /// The tier follows the monotonic clock meanwhile.
    #[must_use]
    pub const fn clock_refused_s(&self) -> Option<u32> {
        self.tier.clock_refused_s()
    }

    /// How far the wall clock passed in is behind the tier's time, in seconds, unless that was confirmed: it was ahead before, or
    /// is wrong now. The tier follows the monotonic clock meanwhile.
    #[must_use]
    pub const fn clock_behind_s(&self) -> u32 {
        self.tier.clock_behind_s()
    }

    /// The tier's time, in seconds, by which values expire. It follows the wall clock, except where that jumped or is behind; it never
    /// goes back.
    pub fn clock_s(&mut self, now: Now) -> u32 {
        self.tier.observe(now)
    }

    /// The shape of the medium.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.flash.geometry
    }

    /// The medium.
    #[must_use]
    pub const fn medium(&self) -> &M {
        &self.flash.medium
    }

    /// Gives the medium back. Acknowledged writes are on it; the next mount finds them.
    pub fn into_medium(self) -> M {
        self.flash.medium
    }

    /// How many keys have a value. Keys whose time is over count until they are dropped.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.index.table.values().saturating_sub(self.index.pieces)
    }

    /// Whether no key has a value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues one of the four compaction tasks; [`poll`](Self::poll) carries it out. Returns the id that its report will bear.
    ///
    /// # Errors
    /// [`TasksFull`] gives the task back when [`TASK_QUEUE_CAPACITY`](coldpress_core::compaction::TASK_QUEUE_CAPACITY) wait, where the
    /// tier is broken, or where its [`FlashMemory`] has no memory for tasks.
    pub fn schedule(&mut self, task: CompactionTask) -> Result<TaskId, TasksFull> {
        if task == CompactionTask::CleanupExpired {
            self.index.due.restart();
        }
        self.tier.schedule(task)
    }

    /// Ends the running task at its next step; what it did stays done, and its report says `Partial`.
    pub fn cancel(&mut self) {
        self.tier.cancel();
    }

    /// The running task and how far it is.
    #[must_use]
    pub fn progress(&self) -> Option<RunningTask> {
        self.tier.progress()
    }

    /// Takes the report of a task that ended, with its id; the oldest first. The last
    /// [`REPORTS_KEPT`](coldpress_core::compaction::REPORTS_KEPT) are kept.
    pub fn take_report(&mut self) -> Option<Report> {
        self.tier.take_report()
    }

    /// How long an idle tier needs no poll, in milliseconds; `None` until a call asks for something.
    #[must_use]
    pub fn poll_timeout(&self, now: Now) -> Option<u64> {
        self.tier.poll_timeout(now)
    }

    pub(super) fn desk(&mut self) -> IndexOnFlash<'_, 'm, M> {
        IndexOnFlash { index: &mut self.index, flash: &mut self.flash }
    }

    /// Refuses while the tier can't be read.
    pub(super) fn check_readable(&mut self, now: Now) -> Result<(), GetError> {
        if !self.is_running() && !matches!(self.status(), Status::Broken(_)) {
            return Err(GetError::NotMounted);
        }
        self.settle(now);
        if self.is_waiting() { Err(GetError::Busy) } else { Ok(()) }
    }
}

#[cfg(not(debug_assertions))]
#[cfg(test)]
mod tests;
