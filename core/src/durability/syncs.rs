//! Sync points and syncs: what is known to be durable.
//!
//! Each completed write or erase raises a sync point. A sync that was issued at sync point p and succeeds makes everything up
//! to p durable. A failed sync proves nothing about the writes before it (rule 9), and neither does a later sync. So the
//! segments with unsynced records become suspect, and nothing counts as durable until their live records were written again.
//!
//! ```text
//!  Idle ─1─► In flight ─2─► Idle
//!                └──────3─► Idle, with suspects ─4─► Idle
//! ```
//! 1 `poll_sync` a sync point is wanted, or a position that is written; 2 `finish_sync` writes and erases that were complete
//! when it was issued are durable; 3 `fail_sync`; 4 the cleaner emptied the suspects, and a sync covers that: positions count
//! as durable again.

use crate::cleanup::Ticket;
use crate::segments::SyncPoint;

/// The state of syncing.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    /// Completed writes and erases.
    completed: SyncPoint,
    /// The sync point that the last good sync covers.
    synced: SyncPoint,
    /// The sync point that the last good sync covers which was issued while nothing was under suspicion. Everything completed
    /// by then is durable.
    synced_clear: SyncPoint,
    /// The sync point that someone waits for.
    wanted: SyncPoint,
    /// The append position that a client waits for.
    wanted_position: u64,
    /// Whether all records in the slots are to be made durable once they are written, the machine's own included.
    wants_written: bool,
    /// Every append up to here is durable.
    durable: u64,
    /// The sync point by which the live records of the last emptied suspect were written elsewhere.
    suspects_clear: SyncPoint,
    in_flight: Option<InFlight>,
}

/// A sync that is under way.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    ticket: Ticket,
    sync_point: SyncPoint,
    position: u64,
    /// The newest time whose write was complete.
    written_s: u32,
    is_clear: bool,
}

/// The state of the log when a sync is issued, which the sync is to make durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covered {
    /// Every append up to here is written.
    pub(crate) position: u64,
    /// The newest time whose write was complete.
    pub(crate) written_s: u32,
    /// Whether nothing is under suspicion.
    pub(crate) is_clear: bool,
}

impl Syncs {
    /// Writes and erases that are complete.
    pub(crate) const fn completed(&self) -> SyncPoint {
        self.completed
    }

    /// The sync point that the last good sync covers.
    pub(crate) const fn synced(&self) -> SyncPoint {
        self.synced
    }

    /// The sync point that the last good sync covers which was issued while nothing was under suspicion.
    pub(crate) const fn synced_clear(&self) -> SyncPoint {
        self.synced_clear
    }

    /// Every append up to here is durable.
    pub(crate) const fn durable(&self) -> u64 {
        self.durable
    }

    /// Tells whether the records that were written again, to clear segments of suspicion, are synced.
    pub(crate) const fn is_suspicion_synced(&self) -> bool {
        self.suspects_clear.is_covered_by(self.synced)
    }

    /// A segment under suspicion was emptied: its live records are written elsewhere.
    pub(crate) const fn clear_suspect(&mut self) {
        self.suspects_clear = self.completed;
    }

    /// A write or erase is complete; returns its sync point.
    pub(crate) const fn raise_sync_point(&mut self) -> SyncPoint {
        self.completed = self.completed.next();
        self.completed
    }

    /// Tells whether a sync is wanted, and none is under way. `is_written` says whether the slots hold nothing unwritten.
    pub(crate) fn is_due(&mut self, is_written: bool, position: u64, is_clear: bool) -> bool {
        if self.in_flight.is_some() {
            return false;
        }
        if self.wants_written && is_written {
            self.wants_written = false;
            self.want_sync_point(self.completed);
        }
        let is_position_due = self.wanted_position > self.durable && position >= self.wanted_position;
        !self.wanted.is_covered_by(self.synced) || (is_position_due && is_clear)
    }

    /// A sync is issued. It covers every write and erase that is complete by now.
    pub(crate) const fn issue(&mut self, ticket: Ticket, covered: Covered) {
        let Covered { position, written_s, is_clear } = covered;
        self.in_flight = Some(InFlight { ticket, sync_point: self.completed, position, written_s, is_clear });
    }

    /// The sync under way succeeded. Returns the newest time that it made durable.
    pub(crate) fn succeed(&mut self) -> Option<u32> {
        let sync = self.in_flight.take()?;
        self.synced = self.synced.max(sync.sync_point);
        if sync.is_clear {
            self.synced_clear = self.synced_clear.max(sync.sync_point);
            self.durable = self.durable.max(sync.position);
        }
        Some(sync.written_s)
    }

    /// The sync under way failed: all that is complete needs another.
    pub(crate) fn fail(&mut self) {
        self.in_flight = None;
        self.wanted = self.wanted.max(self.completed);
    }

    /// The segment of the newest time is emptied: the sync in flight makes no time durable.
    pub(crate) fn lose_time(&mut self) {
        if let Some(sync) = &mut self.in_flight {
            sync.written_s = 0;
        }
    }

    pub(crate) fn want_sync_point(&mut self, sync_point: SyncPoint) {
        self.wanted = self.wanted.max(sync_point);
    }

    /// Wants everything in the slots to be durable; appends up to this position are waited for.
    pub(crate) fn want_all(&mut self, position: u64) {
        self.wanted_position = self.wanted_position.max(position);
        self.wants_written = true;
    }

    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.in_flight.is_some_and(|f| f.ticket == ticket)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }
}
