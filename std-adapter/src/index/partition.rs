//! The index as the machine sees it: liveness, copies, expiry, codecs.
//!
//! Owned by the log worker. State that clients read too is in the shared partition. The state of the worker alone is here: the
//! expiry queue, samples of codecs, and tombstones to settle after a mount.

use core::cell::Cell;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;
use std::collections::VecDeque;

use coldpress_core::codec::CodecId;
use coldpress_core::durability::expiry_s;
use coldpress_core::efficiency::{EfficiencyConfig, Measured, analyse};
use coldpress_core::format::{
    KeyHash, Kind, Location, Record, SegmentIndex, Sequence, Store, is_piece_expiry, key_hash, record_hash,
};
use coldpress_core::index::{
    Advice, Codecs, Dropped, Due, Index, Liveness, Look, Placed, Published, Reconciled, Released, Settled,
    drop_of, is_as_new, is_needless, rank,
};

use super::entry::{Entry, Stored};
use super::expiry::{Move, Queue};
use super::found::{FoundRecord, FoundRecords};
use super::recoder::Recoder;
use super::shared::{STRIPES, SharedPartition};
use super::table::EntryName;
use crate::config::Terms;
use crate::observe::{Analysis, LatencySum, PoolStats};
use crate::pool::HotPools;
use crate::storage::Sparse;

/// Entries looked at in one call of `due`.
const DUE_LOOKS_MAX: usize = 1024;
/// Seconds after which a due key comes up again if it is still there.
const DUE_AGAIN_S: u32 = 30;

/// Records that were evicted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EvictedRecords {
    pub(crate) records: u64,
    /// Their bytes, with those of their pieces.
    pub(crate) bytes: u64,
    /// The longest time since one of them was read or written, as far as the tier has been open.
    pub(crate) idle_s_max: u32,
}

/// The index of one partition.
#[derive(Debug)]
pub(crate) struct PartitionIndex<'a> {
    shared: &'a SharedPartition,
    terms: Terms,
    /// The store, once the mount knows it.
    pub(crate) store: Option<Store>,
    pub(crate) clock: IndexClock,
    /// The pools that an analysis measures.
    pub(crate) hot: HotPools,
    /// The pools and their counts at the last analysis.
    judged: Option<(HotPools, PoolStats)>,
    judged_latency: LatencySum,
    /// The last analysis.
    pub(crate) analysis: Option<Analysis>,
    efficiency: EfficiencyConfig,
    queue: Queue,
    /// Records that the mount found, and that are not in the index yet.
    found: FoundRecords,
    /// Keys whose newest record was a tombstone when the mount found it.
    tombstones: Vec<KeyHash>,
    /// Stripes of the index not yet looked through for tombstones, once nothing is withheld any more.
    unsettled: Range<usize>,
    /// Keys whose write failed and has to be appended again.
    pub(crate) unwritten: VecDeque<KeyHash>,
    /// Pieces of long values that were found on the medium, and whose value is not known yet.
    pub(crate) pieces: VecDeque<KeyHash>,
    recoder: Recoder,
    /// Evictions since they were taken last.
    evicted: Cell<EvictedRecords>,
    /// The holes of the medium, during a mount.
    pub(crate) sparse: Sparse,
}

/// The times that the index decides by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexClock {
    /// The time of the log when it was mounted; before, none is later.
    pub(crate) opened_s: u32,
    /// The time of the log now.
    pub(crate) now_s: u32,
    /// Seconds without a read after which a key is dropped.
    pub(crate) idle_s: Option<u32>,
}

impl IndexClock {
    /// When a key is due, by its own expiry or for being idle.
    fn deadline_s(&self, entry: &Entry, stored: &Stored) -> Option<u32> {
        let touched_s = self.opened_s.saturating_add(entry.touched_s());
        let idle = self.idle_s.map(|idle_s| expiry_s(touched_s, idle_s));
        match (stored.expires_s(), idle) {
            (Some(expires), Some(idle)) => Some(expires.min(idle)),
            (expires, idle) => expires.or(idle),
        }
    }
}

impl<'a> PartitionIndex<'a> {
    pub(crate) fn new(
        shared: &'a SharedPartition,
        terms: Terms,
        clock: IndexClock,
        value_bytes_max: usize,
        hot: HotPools,
        efficiency: EfficiencyConfig,
    ) -> Self {
        Self {
            shared,
            terms,
            store: None,
            clock,
            hot,
            judged: None,
            judged_latency: LatencySum::default(),
            analysis: None,
            efficiency,
            queue: Queue::default(),
            found: FoundRecords::default(),
            tombstones: Vec::new(),
            unsettled: 0..0,
            unwritten: VecDeque::new(),
            pieces: VecDeque::new(),
            recoder: Recoder::new(value_bytes_max),
            evicted: Cell::default(),
            sparse: Sparse::default(),
        }
    }

    /// Takes the evictions since the last call.
    pub(crate) fn take_evicted(&self) -> EvictedRecords {
        self.evicted.take()
    }

    /// The first second in which a key is to be looked at for expiry; 0 where there is none.
    pub(crate) fn next_due_s(&self) -> u32 {
        self.queue.first_s().unwrap_or(0)
    }

    /// Whether a key is to be looked at for expiry now.
    pub(crate) fn is_due(&self) -> bool {
        (1..=self.clock.now_s).contains(&self.next_due_s())
    }

    /// How long it takes until a key is to be looked at for expiry, in milliseconds; `None` where there is none that is not due yet.
    pub(crate) fn due_in_ms(&self) -> Option<u64> {
        let left_s = self.next_due_s().checked_sub(self.clock.now_s).filter(|left_s| *left_s > 0)?;
        Some(u64::from(left_s) * 1_000)
    }

    fn mutate<R>(&self, hash: &KeyHash, change: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        self.shared.mutate(&self.terms, hash, change)
    }

    /// Finds the place in the queue of an entry as it is now. One that comes up too early is kept: the entry is looked at then,
    /// and gets a later one.
    fn requeue(clock: IndexClock, entry: &mut Entry) -> Move {
        // A piece goes with its head.
        let may_expire = |s: &&Stored| {
            s.is_live() && s.kind() == Kind::Value && !s.is_stand_in() && !is_piece_expiry(s.expires_s())
        };
        let stored = entry.stored().filter(may_expire);
        let deadline_s = stored.and_then(|stored| clock.deadline_s(entry, stored));
        let from_s = entry.queued_s;
        let to_s = match deadline_s.map(|at| at.max(1)) {
            Some(at) if from_s == 0 || at < from_s => at,
            Some(_) => from_s,
            None => 0,
        };
        entry.queued_s = to_s;
        Move { from_s, to_s }
    }

    /// Counts a copy, and lets it take the place of the newest one if it wins.
    fn place_in(
        clock: IndexClock,
        entry: &mut Entry,
        placed: &Placed,
        is_sealed: bool,
    ) -> (Published, Option<Move>) {
        entry.copies = entry.copies.saturating_add(1);
        if entry.stored().is_some_and(|old| rank(placed, is_sealed) <= old.rank()) {
            return (Published::Stale, None);
        }
        let released = entry.replace(Stored::live(placed, is_sealed));
        (Published::Live(released), Some(Self::requeue(clock, entry)))
    }

    fn place(&mut self, hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Published {
        let clock = self.clock;
        let outcome = self.mutate(hash, |entry| Self::place_in(clock, entry, placed, is_sealed));
        let Some((published, step)) = outcome else { return Published::Stale };
        if let Some(step) = step {
            self.queue.follow(hash, step);
        }
        published
    }

    fn publish_fresh(&mut self, hash: &KeyHash, placed: &Placed) -> Published {
        let (clock, terms, is_withheld) = (self.clock, self.terms, self.is_withheld());
        let outcome = self.mutate(hash, |entry| {
            let (published, step) = Self::place_in(clock, entry, placed, false);
            if let Some(pending) = &mut entry.pending {
                if pending.inflight == Some(placed.location) {
                    entry.pending = None;
                } else {
                    // Another write overtook this one, whose charge is now that of a stored record.
                    let charge = terms.placed_charge(placed);
                    pending.older_charge = pending.older_charge.saturating_sub(charge);
                }
            }
            (published, step, let_go(entry, is_withheld))
        });
        let Some((published, step, needless)) = outcome else { return Published::Stale };
        if let Some(step) = step {
            self.queue.follow(hash, step);
        }
        self.shared.families.touch(hash);
        match needless {
            // Stale at birth: there is no other copy that this tombstone keeps away.
            Some(_) => Published::Stale,
            None => published,
        }
    }

    fn publish_relocated(&mut self, hash: &KeyHash, placed: &Placed, from: Location) -> Published {
        let clock = self.clock;
        let outcome = self.mutate(hash, |entry| {
            entry.copies = entry.copies.saturating_add(1);
            let old = entry.stored().filter(|old| old.is_live() && old.location() == from).copied();
            let Some(old) = old else { return (Published::Stale, None) };
            let is_dropped =
                old.kind() == Kind::Value && placed.kind == Kind::Tombstone && !old.is_stand_in();
            let dropped = is_dropped.then_some(old.expires_s());
            let mut new = Stored::live(placed, false);
            if old.is_damaged() {
                new.set_damaged();
            }
            if old.is_stand_in() {
                new.set_stand_in();
            }
            (Published::Live(entry.replace(new)), dropped)
        });
        let Some((published, dropped)) = outcome else { return Published::Stale };
        if let Some(expires_s) = dropped {
            self.count_dropped(expires_s, clock);
            self.shared.families.touch(hash);
        }
        published
    }

    /// Brings the records that the mount found into the index. The machine counts all of them live; those that are not are released
    /// later. Bounds: as many records as a bin keeps back.
    fn take_found(&mut self, bin: usize) {
        let (clock, shared, terms) = (self.clock, self.shared, self.terms);
        let records = self.found.take(bin);
        for of_shard in records.chunk_by(|one, next| shared.is_one_shard(&one.hash, &next.hash)) {
            let hashes = of_shard.iter().map(|record| &record.hash);
            let mut at = of_shard.iter();
            let shard = of_shard.first().map_or(0, |record| EntryName::shard(&record.hash));
            let progress = self.found.count(shard, of_shard.len());
            shared.mutate_many(&terms, progress, hashes, |entry| {
                let Some(record) = at.next() else { return };
                let (hash, placed) = (&record.hash, &record.placed());
                let (published, step) = Self::place_in(clock, entry, placed, record.is_sealed);
                if let Some(step) = step {
                    self.queue.follow(hash, step);
                }
                self.found.released.extend(match published {
                    Published::Live(superseded) => superseded,
                    Published::Stale => {
                        Some(Released { location: placed.location, record_bytes: placed.record_bytes })
                    }
                });
                self.note_piece(hash, placed, published);
                if placed.kind == Kind::Tombstone && published != Published::Stale {
                    self.tombstones.push(*hash);
                }
            });
        }
        self.found.reuse(bin, records);
    }

    /// Notes a piece before it is known whether a value uses it.
    fn note_piece(&mut self, hash: &KeyHash, placed: &Placed, published: Published) {
        let is_there = placed.kind == Kind::Value && published != Published::Stale;
        if is_there && is_piece_expiry(placed.expires_s) {
            self.pieces.push_back(*hash);
        }
    }

    /// Whether copies may lie on the medium that are not counted.
    fn is_withheld(&self) -> bool {
        self.shared.withheld_above.load(Relaxed) > 0
    }

    fn count_dropped(&self, expires_s: Option<u32>, clock: IndexClock) {
        let is_due = clock.idle_s.is_some() || expires_s.is_some_and(|at| at <= clock.now_s);
        let counts = &self.shared.counts;
        if is_due { &counts.expired_records } else { &counts.evicted_records }.fetch_add(1, Relaxed);
    }
}

/// Releases a tombstone that is the only copy of its key, or the record of a dropped value that stands in for one.
fn let_go(entry: &mut Entry, is_withheld: bool) -> Option<Released> {
    if !is_needless(entry.copies, is_withheld) {
        return None;
    }
    entry.stored_mut().filter(|stored| stored.kind() == Kind::Tombstone || stored.is_stand_in())?.release()
}

impl Index for PartitionIndex<'_> {
    fn withhold(&mut self, above: Option<Sequence>) {
        self.shared.withheld_above.store(above.map_or(0, Sequence::get), Relaxed);
        self.unsettled = if above.is_some() { 0..0 } else { 0..STRIPES };
    }

    fn identify(&mut self, store: &Store) {
        self.store = Some(*store);
    }

    fn is_blank(&self, segment: SegmentIndex) -> bool {
        let segment_bytes = u64::from(self.terms.geometry.segment_bytes());
        self.sparse.is_hole(u64::from(segment.get()) * segment_bytes, segment_bytes)
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        key_hash(&self.store.map_or([0; 16], |store| store.hash_key), key)
    }

    fn hash_record(&self, record: &Record<'_>) -> KeyHash {
        record_hash(&self.store.map_or([0; 16], |store| store.hash_key), record)
    }

    fn liveness(&self, hash: &KeyHash, at: Location) -> Liveness {
        let is_live = |entry: &Entry| entry.stored().is_some_and(|s| s.is_live() && s.location() == at);
        match self.shared.view(hash, is_live) {
            Some(true) => Liveness::Live,
            _ => Liveness::Stale,
        }
    }

    fn publish(&mut self, hash: &KeyHash, placed: &Placed) -> Published {
        match placed.relocated_from {
            None => self.publish_fresh(hash, placed),
            Some(from) => self.publish_relocated(hash, placed, from),
        }
    }

    fn unwritten(&mut self, hash: &KeyHash, placed: &Placed) {
        let at = placed.location;
        let retry = self.mutate(hash, |entry| {
            entry.copies = entry.copies.saturating_add(1);
            let pending = entry.pending.as_mut().filter(|_| placed.relocated_from.is_none());
            let Some(pending) = pending else { return false };
            // A copy may be on the medium all the same, so the next append must have a higher version.
            pending.before = pending.before.max(Some(placed.version));
            let is_current = pending.inflight == Some(at);
            if is_current {
                pending.inflight = None;
            }
            is_current
        });
        if retry == Some(true) {
            self.unwritten.push_back(*hash);
        }
    }

    fn drop_current(&mut self, hash: &KeyHash, at: Location) -> Dropped {
        let (clock, is_withheld) = (self.clock, self.is_withheld());
        let outcome = self.mutate(hash, |entry| {
            let copies = entry.copies;
            let Some(stored) = entry.stored_mut().filter(|s| s.is_live() && s.location() == at) else {
                return (Dropped::NotCurrent, None);
            };
            let is_value = stored.kind() == Kind::Value && !stored.is_stand_in();
            let expires_s = is_value.then_some(stored.expires_s());
            let dropped = drop_of(copies, is_withheld);
            if dropped == Dropped::Now {
                let _ = stored.release();
            } else {
                stored.set_stand_in();
            }
            (dropped, expires_s)
        });
        let Some((dropped, expires_s)) = outcome else { return Dropped::NotCurrent };
        if let Some(expires_s) = expires_s {
            self.count_dropped(expires_s, clock);
            self.shared.families.touch(hash);
        }
        dropped
    }

    fn copy_erased(&mut self, hash: &KeyHash) -> Option<Released> {
        let (clock, is_withheld) = (self.clock, self.is_withheld());
        let outcome = self.mutate(hash, |entry| {
            entry.copies = entry.copies.saturating_sub(1);
            if entry.copies == 0 {
                entry.forget();
                return (None, Some(Self::requeue(clock, entry)));
            }
            (let_go(entry, is_withheld), None)
        });
        let (released, step) = outcome?;
        if let Some(step) = step {
            self.queue.follow(hash, step);
        }
        released
    }

    fn announce(&mut self, records: u64) {
        self.found.expected = records;
    }

    fn recovered(&mut self, hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Published {
        if let Some(bin) = self.found.push(FoundRecord::new(hash, placed, is_sealed)) {
            self.take_found(bin);
        }
        Published::Live(self.found.released.pop())
    }

    fn settle(&mut self) -> Settled {
        self.found.bins().for_each(|bin| self.take_found(bin));
        self.found.drop_bins();
        if let Some(released) = self.found.released.pop() {
            return Settled::Released(released);
        }
        self.found = FoundRecords::default();
        if self.is_withheld() {
            self.tombstones = Vec::new();
            return Settled::End;
        }
        while let Some(hash) = self.tombstones.pop() {
            if let Some(released) = self.mutate(&hash, |entry| let_go(entry, false)).flatten() {
                return Settled::Released(released);
            }
        }
        if let Some(stripe) = self.unsettled.next() {
            self.tombstones = self.shared.needless(stripe);
            return Settled::More;
        }
        self.tombstones = Vec::new();
        Settled::End
    }

    fn due(&mut self, now_s: u32) -> Look {
        self.clock.now_s = self.clock.now_s.max(now_s);
        let clock = self.clock;
        for _ in 0..DUE_LOOKS_MAX {
            let Some(hash) = self.queue.pop(now_s) else { return Look::End };
            let found = self.mutate(&hash, |entry| {
                entry.queued_s = 0;
                let is_overlaid = entry.pending.is_some();
                let stored = entry.stored()?;
                // A pending write over it gets its own place in the queue when it is published.
                if is_overlaid || !stored.is_live() || stored.kind() != Kind::Value || stored.is_stand_in() {
                    return None;
                }
                let expires_s = stored.expires_s();
                let is_idle = expires_s.is_none_or(|at| at > now_s);
                let (location, record_bytes) = (stored.location(), stored.record_bytes);
                let due = Due { hash, location, record_bytes, version: Some(stored.version()), is_idle };
                let deadline_s = clock.deadline_s(entry, stored)?;
                let is_due = deadline_s <= now_s;
                let to_s = if is_due { now_s.saturating_add(DUE_AGAIN_S) } else { deadline_s };
                entry.queued_s = to_s;
                Some((is_due.then_some(due), Move { from_s: 0, to_s }))
            });
            let Some((due, step)) = found.flatten() else { continue };
            self.queue.follow(&hash, step);
            if let Some(due) = due {
                return Look::Due(due);
            }
        }
        Look::More
    }

    fn evictable(&mut self, hash: &KeyHash, at: Location) -> bool {
        let may_go = |entry: &Entry| {
            let is_current =
                entry.stored().is_some_and(|s| s.is_live() && s.location() == at && !s.is_stand_in());
            // A piece goes with its head.
            is_current && entry.pending.is_none() && !entry.is_piece_expiry() && !entry.take_reference()
        };
        self.shared.view(hash, may_go).unwrap_or(false)
    }

    fn evicted_bytes(&self, hash: &KeyHash, record_bytes: u32) -> u64 {
        let bytes = u64::from(record_bytes).saturating_add(self.shared.families.bytes(hash));
        let open_s = self.clock.now_s.saturating_sub(self.clock.opened_s);
        let idle_s = self.shared.view(hash, |entry| open_s.saturating_sub(entry.touched_s())).unwrap_or(0);
        let sum = self.evicted.get();
        self.evicted.set(EvictedRecords {
            records: sum.records + 1,
            bytes: sum.bytes + bytes,
            idle_s_max: sum.idle_s_max.max(idle_s),
        });
        bytes
    }

    fn reconcile(&mut self, hash: &KeyHash, placed: &Placed) -> Reconciled {
        let is_known = |stored: &Stored| is_as_new((stored.version(), stored.kind()), placed);
        if self.shared.view(hash, |entry| entry.stored().is_some_and(is_known)) == Some(true) {
            return Reconciled::Known;
        }
        let published = self.place(hash, placed, true);
        self.note_piece(hash, placed, published);
        self.shared.families.touch(hash);
        Reconciled::Placed(published)
    }

    fn damaged(&mut self, hash: &KeyHash, at: Location) {
        self.mutate(hash, |entry| {
            if let Some(stored) = entry.stored_mut().filter(|stored| stored.location() == at) {
                stored.set_damaged();
            }
        });
    }
}

impl Codecs for PartitionIndex<'_> {
    fn recode(&mut self, codec: CodecId, value: &[u8], out: &mut [u8]) -> Option<(CodecId, usize)> {
        self.recoder.recode(codec, self.shared.codec(), value, out)
    }

    fn sample(&mut self, codec: CodecId, value: &[u8]) {
        self.recoder.sample(codec, value, self.shared.codec());
    }

    fn choose_codec(&mut self) -> CodecId {
        let choice = self.recoder.choose();
        tracing::info!(codec = %choice.codec, gain_permille = choice.gain_permille, reason = ?choice.reason, "codec chosen");
        self.shared.set_codec(choice.codec);
        choice.codec
    }
}

impl Advice for PartitionIndex<'_> {
    fn advises_cleanup(&mut self) -> bool {
        let Some(Analysis { report, .. }) = self.analyse() else { return false };
        tracing::debug!(
            impact_permille = report.fragmentation_impact,
            score = report.score,
            advice = ?report.advice,
            "efficiency analysed"
        );
        report.advice.is_cleanup()
    }
}

impl<'a> PartitionIndex<'a> {
    /// Judges pools, log and latencies as measured; `None` where the pools are closed and need no cleanup.
    fn analyse(&mut self) -> Option<Analysis> {
        let stats = self.hot.stats().ok()?;
        let latency = self.shared.latencies.client();
        let before = self.judged.take().filter(|(hot, _)| hot.is_same(self.hot));
        let before = before.map(|(_, stats)| stats.totals).unwrap_or_default();
        let (log_live_bytes, log_held_bytes) = {
            let worker_stats = self.shared.worker_stats.lock();
            (worker_stats.live_bytes, worker_stats.live_bytes + worker_stats.stale_bytes)
        };
        let measured = Measured {
            log_live_bytes,
            log_held_bytes,
            latency_us: latency.since(&self.judged_latency).mean_us(),
            ..Measured::from_pool(&stats.totals, &before)
        };
        let analysis = Analysis { measured, report: analyse(&measured, &self.efficiency) };
        self.judged = Some((self.hot, stats));
        self.judged_latency = latency;
        self.analysis = Some(analysis);
        Some(analysis)
    }
}

#[cfg(test)]
mod tests;
