//! Eviction: first drops expired records, then the oldest ones; those that were read lately are spared once.
//!
//! Segments are gone through from the oldest; within one, each live value for which the host agrees is dropped by a tombstone
//! that carries its version (rules 6 and 7). The host's answer gives a record a second chance, as in the CLOCK algorithm.
//!
//! ```text
//!  Idle ─1─► Expiring ─2─► Scanning ─3─► Waiting ─4─► Scanning
//!    ▲──────────┴────5────────┤ ▲
//!                             6 └─► Sealing ─7─┘
//! ```
//! 1 `want`, `want_expired`; 2 no record is due any more, and bytes are still wanted: the scan begins with the oldest segment;
//! 3 `poll` there is no space for a tombstone, so the scan buffer is given back; 4 `resume` some operation was completed
//! since; 5 enough was evicted, two more rounds found no record to evict, or no segment can be opened for a tombstone; 6
//! `seal_open` two rounds found none, once for each want; 7 `next_segment` the segments are sealed.
//!
//! All records that may be evicted can lie in open segments: the heads of long values take a few bytes, and their pieces go
//! with them. Nothing else would seal these segments while every client waits for space.

use super::expire::{Dropping, Expire, Passed};
use crate::config::Stream;
use crate::drive::{Now, Poll};
use crate::format::{Identity, Kind, Sequence};
use crate::index::{Host, Liveness, Released};
use crate::recovery::{Scan, Scanner};
use crate::segments::{Segment, SegmentState, SyncPoint};
use crate::writer::{AppendError, Engine, Lessee, Log};

/// Eviction in bounded steps.
#[derive(Debug, Default)]
pub(crate) struct Evict {
    /// Bytes still to be evicted.
    wanted_bytes: u64,
    /// Whether due records are dropped first.
    is_expiring: bool,
    expire: Expire,
    scanner: Option<Scanner>,
    /// A scan that waits for space for a tombstone, and the completed and the synced sync point when it began to wait. It does
    /// not hold the scan buffer: the freeing of a segment may need that, and may give the space.
    waiting: Option<(Scanner, SyncPoint, SyncPoint)>,
    /// The sequence of the last segment gone through in this round.
    last: Sequence,
    /// Rounds since something was evicted.
    rounds: u32,
    /// Where open segments were sealed for the present want, their sequences are below this.
    sealed_below: Option<Sequence>,
}

/// The sync points of a scan that waits for nothing. No sync point is this high, so it goes on at once.
const AT_ONCE: SyncPoint = SyncPoint::NEVER;

/// Rounds without an eviction before open segments are sealed, and before it ends. The first may have begun anywhere, and one
/// may spare all records that were read lately.
const ROUNDS_MAX: u32 = 2;

/// Entries looked at in one poll.
const ENTRIES_PER_POLL: u32 = 64;

impl Engine for Evict {
    /// Takes a step. Bounds: [`ENTRIES_PER_POLL`] entries of a footer, or one action.
    fn poll<H: Host>(&mut self, _: Now, log: &mut Log<'_>, host: &mut H) -> Poll {
        if self.is_expiring && self.park(log) {
            return self.poll_expiring(log, host);
        }
        if self.wanted_bytes == 0 {
            self.waiting = None;
        }
        if self.wanted_bytes == 0 && self.scanner.is_none() {
            return Poll::Idle;
        }
        // Only keys known by a hash can be dropped without reading their records.
        if log.layout.geometry().identity() != Identity::KeyedHash {
            self.wanted_bytes = 0;
            return Poll::Idle;
        }
        if log.scan.is_reading() {
            return Poll::Idle;
        }
        let Some(mut scanner) = self.scanner.take().or_else(|| self.resume(log)) else {
            return Poll::Idle;
        };
        let failed = log.scan.take_result().is_some_and(|r| r.is_err());
        for _ in 0..ENTRIES_PER_POLL {
            let before = scanner;
            let step = if failed || self.wanted_bytes == 0 {
                Scan::End { records_end: 0 }
            } else {
                scanner.next(log, host)
            };
            match step {
                Scan::Read { offset, bytes } => {
                    self.scanner = Some(scanner);
                    return Poll::Do(log.read_for(&scanner, offset, bytes));
                }
                Scan::Item(found) if found.kind == Kind::Value => {
                    let at = found.location;
                    if host.liveness(&found.hash, at) == Liveness::Stale || !host.evictable(&found.hash, at) {
                        continue;
                    }
                    let from = Released { location: at, record_bytes: found.record_bytes };
                    let incoming = crate::writer::tombstone(
                        log.layout.seed(),
                        found.hash,
                        &found.hash.0,
                        log.origin(found.version),
                        Some(from),
                    );
                    if let Err(error) = log.append_relocated(Stream::Old, &incoming) {
                        if error == AppendError::Exhausted {
                            self.wanted_bytes = 0;
                            log.scan.give_back(Lessee::Eviction);
                            log.flush();
                            return Poll::Again;
                        }
                        // The scan comes back to the same entry when there is space for the tombstone.
                        self.waiting = Some((before, log.durability.completed(), log.durability.synced()));
                        log.scan.give_back(Lessee::Eviction);
                        log.stir(true);
                        log.flush();
                        return Poll::Idle;
                    }
                    log.counters.evicted_records += 1;
                    self.rounds = 0;
                    let evicted_bytes = host.evicted_bytes(&found.hash, found.record_bytes);
                    self.wanted_bytes = self.wanted_bytes.saturating_sub(evicted_bytes);
                }
                Scan::Item(_) | Scan::Again | Scan::Damage { .. } => {}
                Scan::End { .. } => {
                    log.scan.give_back(Lessee::Eviction);
                    log.flush();
                    return Poll::Again;
                }
            }
        }
        self.scanner = Some(scanner);
        Poll::Again
    }
}

impl Evict {
    pub(crate) fn want(&mut self, bytes: u64) {
        self.wanted_bytes = self.wanted_bytes.max(bytes);
        self.is_expiring |= bytes > 0;
        self.rounds = 0;
        self.sealed_below = None;
    }

    /// Wants all due records to be dropped.
    pub(crate) fn want_expired(&mut self) {
        self.is_expiring = true;
    }

    /// Wants nothing any more. The next [`poll`](Self::poll) gives the buffer of a scan that is under way back.
    pub(crate) fn stop(&mut self) {
        self.wanted_bytes = 0;
        self.is_expiring = false;
    }

    pub(crate) fn is_active(&self) -> bool {
        self.wanted_bytes > 0 || self.is_expiring
    }

    /// Puts a scan that is under way aside, so that it does not hold the buffer while a tombstone waits for space. Tells
    /// whether none is left: a scan that waits for a read is put aside once that is done.
    fn park(&mut self, log: &mut Log<'_>) -> bool {
        if self.scanner.is_some() && log.scan.is_reading() {
            return false;
        }
        if let Some(scanner) = self.scanner.take() {
            log.scan.forget_result();
            log.scan.give_back(Lessee::Eviction);
            self.waiting = Some((scanner, AT_ONCE, AT_ONCE));
        }
        true
    }

    fn poll_expiring<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H) -> Poll {
        let is_for_bytes = self.wanted_bytes > 0;
        let mut passed = Passed::default();
        let dropping = self.expire.drop_due(log, host, &mut passed, true);
        self.wanted_bytes = self.wanted_bytes.saturating_sub(passed.bytes);
        if is_for_bytes && self.wanted_bytes == 0 {
            self.is_expiring = false;
            log.flush();
        }
        match dropping {
            Dropping::More(poll) => poll,
            Dropping::End | Dropping::NoSpace => {
                self.is_expiring = false;
                Poll::Again
            }
        }
    }

    /// The scan that waited for space, once an operation was completed since; without one, a scan of the next segment.
    fn resume(&mut self, log: &mut Log<'_>) -> Option<Scanner> {
        let Some((mut scanner, completed, synced)) = self.waiting else { return self.next_segment(log) };
        // A sync counts too: a segment that is being opened waits for one last.
        if log.scan.is_leased()
            || (log.durability.completed(), log.durability.synced()) == (completed, synced)
        {
            return None;
        }
        self.waiting = None;
        if !scanner.is_of_sealed(log) {
            return self.next_segment(log);
        }
        log.scan.lease(Lessee::Eviction);
        scanner.forget();
        Some(scanner)
    }

    /// The oldest sealed segment that was not gone through in this round. After two rounds without an eviction the open
    /// segments are sealed; after two more it ends.
    fn next_segment(&mut self, log: &mut Log<'_>) -> Option<Scanner> {
        if log.scan.is_leased() || self.sealed_below.is_some_and(|below| is_sealing(log, below)) {
            return None;
        }
        loop {
            let last = self.last;
            let is_next =
                |s: &Segment| s.state() == SegmentState::Sealed && s.live_records() > 0 && s.sequence > last;
            let candidates = log.segments.numbered().filter(|(_, s)| is_next(s));
            if let Some((index, segment)) = candidates.min_by_key(|(_, s)| s.sequence) {
                self.last = segment.sequence;
                log.scan.lease(Lessee::Eviction);
                return Some(Scanner::footer(log, index));
            }
            self.last = Sequence::NONE;
            self.rounds += 1;
            if self.rounds > ROUNDS_MAX {
                if self.sealed_below.replace(log.sequence_next()).is_none() && seal_open(log) {
                    self.rounds = ROUNDS_MAX - 1;
                } else {
                    self.wanted_bytes = 0;
                }
                return None;
            }
        }
    }
}

/// Seals the open segments that hold, or will hold, something live; tells whether any segment is on its way to be sealed. Others are
/// opened in their place, so none is sealed where too few are free, or none can be opened any more.
fn seal_open(log: &mut Log<'_>) -> bool {
    if log.is_at_end() || log.segments.has_suspects() || log.free() < log.free_reserve() {
        return false;
    }
    log.seal_live();
    is_sealing(log, log.sequence_next())
}

/// Whether a segment with a sequence below this one is on its way to be sealed.
fn is_sealing(log: &Log<'_>, below: Sequence) -> bool {
    let is_sealing = |s: &Segment| s.state() == SegmentState::Sealing && s.sequence < below;
    log.segments.numbered().any(|(_, s)| is_sealing(s))
}
