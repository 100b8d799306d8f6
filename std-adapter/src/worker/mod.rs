//! The log worker: the thread that owns the machine of one partition and drives it.
//!
//! One turn of its loop: take messages, append pending writes, poll the machine and carry out its actions, answer waiters, post
//! the stats. It waits for its next input only, never for a client. It makes reads, writes and erases itself; syncs go to the
//! syncer. When it ends in any way but an orderly close, the tier is poisoned: every caller, waiting or new, gets that error.

mod appending;
mod backing;
mod closing;
mod driving;
mod explaining;
mod failing;
#[cfg(feature = "archive")]
mod holding;
mod linger;
mod memory;
mod message;
mod operations;
mod placing;
mod posting;
mod reading;
mod reply;
mod scheduled;
mod slicing;
mod stalled;
mod sweeping;
mod waiting;

use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::collections::VecDeque;

use coldpress_core::cleanup::CleanupReply;
use coldpress_core::config::TierConfig;
use coldpress_core::drive::{Input, Now};
use coldpress_core::format::{KeyHash, Store};
use coldpress_core::machine::{Status, Tier};
use coldpress_core::recovery::MountError;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use tracing::Span;

use self::backing::Busy;
use self::closing::Closing;
use self::driving::Given;
use self::explaining::Explaining;
use self::failing::Failing;
#[cfg(feature = "archive")]
pub(crate) use self::holding::{HeldSegment, HoldLost, HoldRequest, TakenSegment};
use self::linger::Linger;
pub(crate) use self::linger::stay_awake_until;
use self::memory::Buffers;
pub(crate) use self::message::{Background, Message, MessageSender, Scheduled, Waiter};
use self::posting::Posting;
pub(crate) use self::reply::Reply;
use self::scheduled::ScheduledTasks;
use self::slicing::Slicing;
use self::stalled::Stalled;
use self::sweeping::Sweeping;
use self::waiting::Waiters;
use crate::clock::{Clock, monotonic_ms};
use crate::config::{ColdTierConfig, Terms};
use crate::errors::OpenError;
use crate::index::{Health, IndexClock, PartitionIndex, SharedPartition};
use crate::observe::{SegmentView, TierMeter};
use crate::pool::PoolCoordinator;
use crate::storage::{MediumFailure, ServiceMedium, Sparse, Syncer};

/// Messages taken in one turn.
const MESSAGES_PER_TURN: usize = 256;
/// How long writes that have time may gather before the worker takes the next ones.
const NAP: Duration = Duration::from_micros(300);
/// Replies of the pools that can be on their way.
const REPLIES_MAX: usize = 16;
/// The longest wait, in milliseconds: a look at the clock is due then.
const WAIT_MS_MAX: u64 = 1_000;

/// The input of a worker at its start.
pub(crate) struct Setup {
    pub(crate) config: ColdTierConfig,
    pub(crate) terms: Terms,
    pub(crate) store: Store,
    pub(crate) medium: Box<dyn ServiceMedium>,
    pub(crate) messages: Receiver<Message>,
    pub(crate) urgent: Receiver<()>,
    pub(crate) pools: PoolCoordinator,
    pub(crate) ready: Sender<Result<Mounted, OpenError>>,
    pub(crate) meter: TierMeter,
    /// The tracing span of the mount, within that of the open.
    pub(crate) span: Span,
}

/// The findings of a mount.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mounted {
    pub(crate) store: Store,
}

/// Why a mount came to nothing.
enum Unmounted {
    /// With the last failure of the medium.
    Failed(MountError, Option<MediumFailure>),
    /// The thread that opens the tier no longer waits.
    GivenUp,
    SyncerDied,
    FileLost,
}

/// How serving ended.
enum End {
    Closed,
    SyncerDied,
    FileLost,
    Broken,
}

/// A message that was taken and not dealt with yet.
enum Work {
    Dirty(KeyHash, Option<Waiter>),
    Flush(Waiter),
}

/// The background worker's schedule.
struct Schedule {
    background: Background,
    next_ms: u64,
}

impl Schedule {
    fn new(background: Background) -> Self {
        let next_ms = monotonic_ms().saturating_add(millis(background.interval));
        Self { background, next_ms }
    }
}

pub(crate) struct Worker<'m> {
    // These five hold all senders of answers. Fields are dropped in their order, and the medium or the syncer may be stuck. So
    // clients that wait for an answer learn first that none will come.
    messages: Receiver<Message>,
    backlog: VecDeque<Work>,
    waiters: Waiters,
    scheduled: ScheduledTasks,
    closing: Option<Closing>,
    /// Cuts a nap short.
    urgent: Receiver<()>,
    tier: Tier<'m>,
    index: PartitionIndex<'m>,
    shared: &'m SharedPartition,
    terms: Terms,
    medium: Box<dyn ServiceMedium>,
    syncer: Syncer,
    pools: PoolCoordinator,
    replies: (Sender<CleanupReply>, Receiver<CleanupReply>),
    clock: &'static dyn Clock,
    /// Keys whose record did not fit a full log, tried again when space was freed.
    stalled: Stalled,
    /// Pieces of long values that were replaced or dropped.
    sweeping: Sweeping,
    /// Writes that will never reach the log, which takes no more.
    never: u64,
    /// Whether the log has to be waited for before anything is appended.
    must_wait: bool,
    /// Whether the machine did anything in this turn, or since: the log may take records now.
    has_progressed: bool,
    posting: Posting,
    meter: TierMeter,
    background: Option<Schedule>,
    slicing: Slicing,
    explaining: Explaining,
    partition: u16,
    clock_jump_s: u32,
    flush_after_ms: u64,
    pending_bytes_max: u64,
    /// When the oldest append that is not written was made.
    unwritten_since_ms: Option<u64>,
    /// Everything that clients wait for, as it was at the last look after them.
    given_at: Given,
    /// Whether writes were taken that have time, since the last wait or nap.
    has_taken_writes: bool,
    /// Whether a client got an answer in this turn: it may send the next write at once.
    has_answered: bool,
    linger: Linger,
    /// Whether the machine was asked for something after it was polled last.
    has_asked: bool,
    /// How often the medium had failed then.
    failures_notified: u32,
    is_syncer_dead: bool,
    /// Nothing is written: the machine is not polled once it is mounted.
    is_read_only: bool,
    /// The part of the index to check next for memory to give back, and when.
    shrinks: (usize, u64),
    busy: Busy,
    /// Segments up to this one were checked for blocks that an earlier run left.
    trimmed: u32,
    /// The last failure of the medium while it was mounted.
    mount_failure: Option<MediumFailure>,
    /// When the file was last seen in its place.
    in_place_ms: u64,
    failing: Failing,
    /// The segments that a backup holds.
    #[cfg(feature = "archive")]
    hold: Option<holding::SegmentHold>,
    #[cfg(feature = "archive")]
    changes: holding::SegmentChanges,
}

/// Poisons the partition unless the worker ended in order.
struct Alarm<'a> {
    shared: &'a SharedPartition,
    is_armed: bool,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.shared.health.worsen(Health::Poisoned);
            self.shared.admission.alert();
            tracing::error!("the log worker died; the tier is poisoned");
        }
    }
}

/// Runs a worker to its end: mounts, says so, serves until it is closed.
pub(crate) fn run(mut setup: Setup, shared: &SharedPartition, syncer: Syncer) {
    let alarm = Alarm { shared, is_armed: true };
    let (ready, config, pools) = (setup.ready.clone(), setup.config.clone(), setup.pools.clone());
    let store = setup.store;
    let build = |(memory, tasks), record_bytes_max| {
        let machine = TierConfig { record_bytes_max, ..config.machine(store, pools.timeout()) };
        let tier = Tier::new(machine, memory, Some(tasks)).map(|mut tier| {
            if config.settings.is_clock_confirmed {
                tier.confirm_clock();
            }
            tier
        });
        tier.inspect_err(|error| tracing::error!(%error, "the machine refused its configuration")).ok()
    };
    let record_bytes_max = config.record_bytes_max();
    let (mut buffers, mut longer_buffers) = (Buffers::new(&config, record_bytes_max), None);
    let Some(tier) = build(buffers.lend(), record_bytes_max) else { return };
    let span = core::mem::replace(&mut setup.span, Span::none());
    let mut worker = Worker::new(setup, shared, tier, syncer);
    let mut mounted = span.in_scope(|| worker.mount());
    // A limit that was lowered holds for new writes: stored values keep the space that they need. A header that states longer
    // records than a segment holds was not written by this tier.
    if let Err(Unmounted::Failed(MountError::LongerRecords { stored, .. }, _)) = mounted
        && stored <= config.segment_bytes()
    {
        let longer = longer_buffers.insert(Buffers::new(&config, stored));
        if let Some(tier) = build(longer.lend(), stored) {
            worker.tier = tier;
            mounted = span.in_scope(|| worker.mount());
        }
    }
    // The span of the mount ends with that of the open.
    drop(span);
    // The alarm is dropped before the worker, whose drop may have to wait for a stuck syncer.
    let mut alarm = alarm;
    match mounted {
        Ok(mounted) => {
            // The thread that opens the tier may have given up; then the channel of messages is closed too.
            let _ = ready.send(Ok(mounted));
            // Its clients learn of a lost file in another way.
            let end = if worker.is_read_only { worker.serve_reads() } else { worker.serve() };
            alarm.is_armed = matches!(end, End::SyncerDied);
        }
        Err(Unmounted::Failed(error, failure)) => {
            alarm.is_armed = false;
            let _ = ready.send(Err(OpenError::of_mount(error, failure)));
        }
        Err(Unmounted::FileLost) => {
            alarm.is_armed = false;
            let _ = ready.send(Err(OpenError::FileLost));
        }
        Err(Unmounted::GivenUp) => {
            alarm.is_armed = false;
            tracing::info!(partition = worker.partition, "nobody waits for the mount; it is given up");
        }
        Err(Unmounted::SyncerDied) => {}
    }
}

impl<'m> Worker<'m> {
    fn new(setup: Setup, shared: &'m SharedPartition, tier: Tier<'m>, syncer: Syncer) -> Self {
        let settings = &setup.config.settings;
        let idle_s = settings.idle.map(crate::config::seconds);
        let clock = IndexClock { opened_s: 0, now_s: 0, idle_s };
        shared.set_codec(settings.codec);
        // A value of one record is no longer than a segment, whatever limit it was written under.
        let value_bytes_max = setup.config.segment_bytes() as usize;
        Self {
            index: PartitionIndex::new(
                shared,
                setup.terms,
                clock,
                value_bytes_max,
                setup.pools.hot(),
                settings.efficiency,
            ),
            tier,
            shared,
            terms: setup.terms,
            medium: setup.medium,
            syncer,
            messages: setup.messages,
            urgent: setup.urgent,
            has_taken_writes: false,
            pools: setup.pools,
            replies: bounded(REPLIES_MAX),
            clock: settings.clock,
            backlog: VecDeque::new(),
            stalled: Stalled::default(),
            sweeping: Sweeping::default(),
            never: 0,
            must_wait: false,
            has_progressed: false,
            waiters: Waiters::default(),
            scheduled: ScheduledTasks::default(),
            posting: Posting::new(&setup.config),
            meter: setup.meter,
            background: settings
                .has_background()
                .then(|| Schedule::new(Background { interval: settings.background_interval(), pools: None })),
            slicing: Slicing::new(settings.budget),
            explaining: Explaining::new(setup.store.partition, setup.config.segment_bytes()),
            closing: None,
            partition: setup.store.partition,
            clock_jump_s: crate::config::seconds(settings.clock_jump_max),
            flush_after_ms: millis(settings.flush_after),
            pending_bytes_max: settings.pending_bytes_max,
            unwritten_since_ms: None,
            given_at: Given::default(),
            has_answered: false,
            linger: Linger::default(),
            has_asked: false,
            failures_notified: 0,
            is_syncer_dead: false,
            is_read_only: settings.is_read_only,
            shrinks: (0, 0),
            busy: Busy::default(),
            trimmed: 0,
            mount_failure: None,
            in_place_ms: monotonic_ms(),
            failing: Failing::default(),
            #[cfg(feature = "archive")]
            hold: None,
            #[cfg(feature = "archive")]
            changes: holding::SegmentChanges::default(),
        }
    }

    fn now(&mut self) -> Now {
        let now = Now { monotonic_ms: monotonic_ms(), wall_s: self.clock.wall_s() };
        // Not the wall clock itself: the log may refuse it.
        let now_s = self.shared.clock.now_s(now.wall_s, self.clock_jump_s);
        self.index.clock.now_s = self.index.clock.now_s.max(now_s).max(self.tier.clock_s());
        if self.tier.status() == Status::Mounting {
            // Known once all times on the medium were read. A key that is looked at too early is looked at again.
            self.index.clock.opened_s = self.tier.clock_s();
        }
        now
    }

    /// Mounts, unless the open was given up.
    fn mount(&mut self) -> Result<Mounted, Unmounted> {
        let begun_ms = monotonic_ms();
        // A tier that is only read frees no older versions, so it needs no refresh. A refresh would also write.
        if !self.is_read_only
            && let Err(error) = self.medium.refresh()
        {
            return Err(Unmounted::Failed(MountError::Medium(error.kind()), Some(error)));
        }
        self.index.sparse = Sparse::of(self.medium.as_ref());
        loop {
            let is_idle = self.drive();
            match self.tier.status() {
                Status::Mounting => {}
                Status::Failed(error) => return Err(Unmounted::Failed(error, self.mount_failure.take())),
                Status::Running | Status::Closing | Status::Closed | Status::Broken(_) => break,
            }
            // The channel is closed: the open was given up.
            let is_given_up = match self.messages.try_recv() {
                Ok(message) => {
                    self.take(message);
                    false
                }
                Err(error) => error.is_disconnected(),
            };
            if is_given_up {
                return Err(Unmounted::GivenUp);
            }
            if is_idle {
                let timeout = self.machine_timeout_ms().unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX);
                self.wait_for_input(Duration::from_millis(timeout));
            }
            // The closed channel may also be found while it waits.
            if self.closing.is_some() {
                return Err(Unmounted::GivenUp);
            }
            if self.is_syncer_dead {
                return Err(Unmounted::SyncerDied);
            }
            if self.is_file_lost() {
                return Err(Unmounted::FileLost);
            }
        }
        // From here on the tier writes, so the holes are not known any more.
        self.index.sparse = Sparse::default();
        let report = self.tier.mount_report();
        let recovery_ms = monotonic_ms().saturating_sub(begun_ms);
        self.posting.mounted(&report, recovery_ms, self.tier.segments());
        let clock_s = self.tier.clock_s();
        self.index.clock.opened_s = clock_s;
        self.index.clock.now_s = clock_s;
        self.shared.opened_s.store(clock_s, Relaxed);
        self.post_clock();
        self.post_keeping();
        self.post();
        tracing::info!(
            partition = self.partition,
            records = report.records,
            damaged_records = report.damaged_records,
            torn_segments = report.torn_segments,
            quarantined_segments = report.quarantined_segments,
            recovery_ms,
            "log mounted"
        );
        Ok(Mounted { store: *self.tier.store() })
    }

    /// Serves until it is closed or can't go on.
    fn serve(&mut self) -> End {
        loop {
            self.take_messages();
            if self.is_file_lost() {
                return End::FileLost;
            }
            self.sweep();
            self.append_backlog();
            self.look_after_background();
            self.back_charge();
            let is_idle = self.drive();
            if let Status::Broken(invariant) = self.tier.status() {
                self.break_off(invariant);
                return End::Broken;
            }
            let has_tidied = self.give_back_surplus(is_idle) | self.shrink_index();
            let is_idle = is_idle && !has_tidied;
            self.finish_turn(is_idle);
            if self.is_syncer_dead {
                return End::SyncerDied;
            }
            if self.closing.is_some() && self.poll_closing() {
                return End::Closed;
            }
            let has_more = self.has_more_to_append() || self.has_more_to_sweep();
            self.has_progressed = false;
            let has_asked = core::mem::take(&mut self.has_asked);
            if core::mem::take(&mut self.has_answered) && is_idle && !has_more && !has_asked {
                let (messages, results) = (&self.messages, &self.syncer.results);
                self.linger.look_for(|| !messages.is_empty() || !results.is_empty());
            }
            if is_idle && self.messages.is_empty() && !has_more && !has_asked {
                let timeout = self.timeout();
                if !timeout.is_zero() {
                    let has_taken_writes = core::mem::take(&mut self.has_taken_writes);
                    if has_taken_writes { self.nap(timeout.min(NAP)) } else { self.wait_for_input(timeout) }
                }
            }
        }
    }

    /// Takes messages, up to a bound.
    fn take_messages(&mut self) {
        for _ in 0..MESSAGES_PER_TURN {
            match self.messages.try_recv() {
                Ok(message) => self.take(message),
                Err(_) => break,
            }
        }
        while let Ok(synced) = self.syncer.results.try_recv() {
            self.take_synced(synced);
        }
        while let Ok(reply) = self.replies.1.try_recv() {
            self.take_reply(reply);
        }
    }

    fn take(&mut self, message: Message) {
        match &message {
            // Their places are given back when they are dealt with, so that the backlog is bounded too.
            Message::Dirty { .. } | Message::Flush(_) | Message::Close { .. } => {}
            Message::Nudge => self.shared.admission.budget.end_nudge(),
            Message::Schedule { .. }
            | Message::Cancel
            | Message::ConfirmClock
            | Message::GiveUpUnread
            | Message::Background(_)
            | Message::Segments(_) => {
                self.shared.admission.budget.give_back_message();
            }
            #[cfg(feature = "archive")]
            Message::Hold(_) => self.shared.admission.budget.give_back_message(),
        }
        match message {
            Message::Dirty { hash, waiter, has_time } => {
                self.has_taken_writes |= has_time;
                self.backlog.push_back(Work::Dirty(hash, waiter));
            }
            Message::Flush(waiter) => self.backlog.push_back(Work::Flush(waiter)),
            Message::Nudge => {}
            Message::Schedule { task, accepted, scheduled } => {
                let outcome = self.schedule(task, scheduled).map(|_| ());
                if outcome.is_ok() {
                    self.shared.is_compacting.store(true, Relaxed);
                }
                accepted.send(outcome);
            }
            Message::Cancel => self.tier.cancel(),
            Message::ConfirmClock => self.tier.confirm_clock(),
            Message::GiveUpUnread => self.tier.give_up_unread(),
            Message::Background(background) => self.background = background.map(Schedule::new),
            Message::Segments(reply) => {
                let segment_bytes = self.terms.geometry.segment_bytes();
                let view = |(index, segment)| SegmentView::new(self.partition, index, segment, segment_bytes);
                let _ = reply.try_send((0..).zip(self.tier.segments()).map(view).collect());
            }
            #[cfg(feature = "archive")]
            Message::Hold(request) => self.take_hold_request(request),
            Message::Close { ends_ms, outcome, span } => {
                self.closing = Some(Closing::new(ends_ms, Some(outcome), span));
            }
        }
    }

    fn take_reply(&mut self, reply: CleanupReply) {
        let now = self.now();
        // A reply that comes too late answers nobody (I-REQ-2).
        let _ = self.tier.handle(now, Input::Cleanup(reply), &mut self.index);
    }

    /// Lets writes gather that have time. Without naps a worker that is faster than its clients sleeps after each write,
    /// and each client pays for waking it. Any other message ends the nap.
    fn nap(&mut self, timeout: Duration) {
        // A mark of a message that was taken. One that is sent from here on brings its own.
        if self.urgent.try_recv().is_ok() && !self.messages.is_empty() {
            return;
        }
        select! {
            recv(self.urgent) -> _ => {}
            recv(self.syncer.results) -> synced => match synced {
                Ok(synced) => self.take_synced(synced),
                Err(_) => self.is_syncer_dead = true,
            },
            recv(self.replies.1) -> reply => if let Ok(reply) = reply { self.take_reply(reply) },
            default(timeout) => {}
        }
    }

    /// Waits for the next input of any kind.
    fn wait_for_input(&mut self, timeout: Duration) {
        select! {
            recv(self.messages) -> message => match message {
                Ok(message) => self.take(message),
                // The channel is closed: the tier is being dropped without a close, or was never opened.
                Err(_) => if self.closing.is_none() {
                    self.closing = Some(Closing::new(monotonic_ms(), None, Span::none()));
                } else {
                    std::thread::sleep(timeout.min(Duration::from_millis(1)));
                },
            },
            recv(self.syncer.results) -> synced => match synced {
                Ok(synced) => self.take_synced(synced),
                Err(_) => self.is_syncer_dead = true,
            },
            recv(self.replies.1) -> reply => if let Ok(reply) = reply { self.take_reply(reply) },
            default(timeout) => {}
        }
    }

    fn machine_timeout_ms(&mut self) -> Option<u64> {
        let now = self.now();
        self.tier.poll_timeout(now)
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
