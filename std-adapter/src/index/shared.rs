//! The state that the threads of one partition share: the index and the sums over it.
//!
//! It lies in a slot of its own. Two owners hold it for long: the open tier, through which clients reach it, and the worker.
//! Waiting clients have its [lease](crate::recycled), and enter that each time. It holds no file and no channel: those go with
//! the open tier.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use coldpress_core::codec::CodecId;
use coldpress_core::format::{Geometry, KeyHash};
use parking_lot::{Mutex, RwLock};

use super::entry::Entry;
use super::families::Families;
use super::health::{Health, PostedHealth};
use super::lengths::Lengths;
use super::log_clock::LogClock;
use super::packed::Lives;
use super::shard::Shard;
use super::table::{EntryName, Progress, SHARDS};
use crate::admission::{Admission, AdmissionLease, Beyond, Ceiling, Weight};
use crate::config::Terms;
use crate::observe::{Counts, Explanations, Latencies, PartitionState, WorkerStats};
use crate::recycled::{Lease, Recycler};

/// Parts of the index; iteration takes the hashes of one at a time.
pub(crate) const STRIPES: usize = 64;

/// Why a write was not brought into the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotWritten {
    /// It has no space.
    Beyond(Beyond),
    /// Its condition does not hold.
    Unmet,
}

/// The state that the threads of one partition share.
#[derive(Debug)]
pub(crate) struct SharedPartition {
    shards: Box<[RwLock<Shard>]>,
    lives: Lives,
    pub(crate) families: Families,
    serials: AtomicU64,
    pub(crate) counts: Counts,
    pub(crate) latencies: Latencies,
    pub(crate) explanations: Explanations,
    pub(crate) worker_stats: Mutex<WorkerStats>,
    pub(crate) admission: Admission,
    pub(crate) health: PostedHealth,
    /// The lengths of the charged records: by them segments end early.
    pub(crate) lengths: Lengths,
    /// Tag of the codec for new records; each worker begins with that of its configuration.
    codec: AtomicU8,
    pub(crate) is_compacting: AtomicBool,
    pub(crate) has_background: AtomicBool,
    /// The time of the log when it was mounted. Idleness is counted from there: a wall clock that is behind the log would make
    /// every key idle at once.
    pub(crate) opened_s: AtomicU32,
    pub(crate) clock: LogClock,
    /// While the medium may hold copies that the index does not count: the first sequence whose records outrank them. Else 0.
    pub(crate) withheld_above: AtomicU32,
    /// A record of a later sequence than this may stand for a put of the same value; `u32::MAX` while none may.
    pub(crate) keeps_above: AtomicU32,
    /// The deadline of the worker, in milliseconds. From then on it takes no step, since others may have the medium soon.
    pub(crate) ends_ms: AtomicU64,
}

static PARTITIONS: Recycler<SharedPartition> = Recycler::new();

impl SharedPartition {
    /// Makes one for a partition that is opened. All that its threads share is dropped when the lease is given back.
    pub(crate) fn lend(geometry: &Geometry) -> Lease<Self> {
        PARTITIONS.lend(Self::new(geometry))
    }

    pub(super) fn new(geometry: &Geometry) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::new(Shard::new())).collect(),
            lives: Lives::new(geometry),
            families: Families::default(),
            serials: AtomicU64::new(0),
            counts: Counts::default(),
            latencies: Latencies::default(),
            explanations: Explanations::default(),
            worker_stats: Mutex::new(WorkerStats::default()),
            admission: Admission::default(),
            health: PostedHealth::default(),
            lengths: Lengths::default(),
            codec: AtomicU8::new(CodecId::Raw.tag()),
            is_compacting: AtomicBool::new(false),
            has_background: AtomicBool::new(false),
            opened_s: AtomicU32::new(0),
            clock: LogClock::default(),
            withheld_above: AtomicU32::new(0),
            keeps_above: AtomicU32::new(u32::MAX),
            ends_ms: AtomicU64::new(u64::MAX),
        }
    }

    /// The sums and the state as they are; so many bytes can be charged at most.
    pub(crate) fn state(&self, charge_bytes_max: u64) -> PartitionState {
        PartitionState {
            keys: self.admission.charges.keys(),
            pending_bytes: self.admission.budget.pending_bytes(),
            charged_bytes: self.admission.charges.charge(),
            charge_bytes_max,
            needs_reopen: self.health.get() == Health::NeedsReopen,
            clock_behind_s: self.clock.behind_s(),
            clock_refused_s: self.clock.refused_s(),
        }
    }

    /// The codec for new records.
    pub(crate) fn codec(&self) -> CodecId {
        let codec = CodecId::try_from(self.codec.load(Relaxed));
        debug_assert!(codec.is_ok(), "only tags of codecs are stored");
        // A value can always be stored raw.
        codec.unwrap_or(CodecId::Raw)
    }

    pub(crate) fn set_codec(&self, codec: CodecId) {
        self.codec.store(codec.tag(), Relaxed);
    }

    fn shard(&self, hash: &KeyHash) -> Option<&RwLock<Shard>> {
        self.shards.get(EntryName::shard(hash))
    }

    /// Looks at an entry. `look` must do no more than read memory: a lock is held.
    pub(crate) fn view<R>(&self, hash: &KeyHash, look: impl FnOnce(&Entry) -> R) -> Option<R> {
        self.shard(hash)?.read().view(&self.lives, hash, look)
    }

    /// Changes an entry. An entry is made where there is none, and dropped where nothing is left in it.
    fn change<R>(&self, hash: &KeyHash, change: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let phase = EntryName::shard(hash);
        Some(self.shard(hash)?.write().change((&self.lives, phase), hash, change))
    }

    /// Changes the pending write of a key in a way that changes no sum.
    pub(crate) fn amend<R>(
        &self,
        terms: &Terms,
        hash: &KeyHash,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        self.change(hash, |entry| {
            let before = cfg!(debug_assertions).then(|| entry.weigh(terms));
            let result = change(entry);
            debug_assert!(
                before.is_none_or(|before| before == entry.weigh(terms)),
                "an append changes no sum"
            );
            result
        })
    }

    /// Changes an entry and the sums with it. An entry is made where there is none, and dropped where nothing is left in it.
    /// `change` must do no more than work on memory: a lock is held.
    pub(crate) fn mutate<R>(
        &self,
        terms: &Terms,
        hash: &KeyHash,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        self.change(hash, |entry| self.account(terms, entry, change))
    }

    /// Whether two keys have their entries under one lock.
    pub(super) fn is_one_shard(&self, one: &KeyHash, other: &KeyHash) -> bool {
        EntryName::shard(one) == EntryName::shard(other)
    }

    /// As [`mutate`](Self::mutate), for keys of one shard that a mount found, one after the other.
    pub(super) fn mutate_many<'a>(
        &self,
        terms: &Terms,
        progress: Progress,
        hashes: impl Iterator<Item = &'a KeyHash> + Clone,
        mut change: impl FnMut(&mut Entry),
    ) {
        let mut hashes = hashes.peekable();
        let Some(first) = hashes.peek() else { return };
        let (phase, Some(shard)) = (EntryName::shard(first), self.shard(first)) else { return };
        let mut shard = shard.write();
        shard.foresee(progress, hashes.clone());
        let mut sums = [Weight::default(); 2];
        for hash in hashes {
            shard.change((&self.lives, phase), hash, |entry| {
                let before = entry.weigh(terms);
                change(entry);
                let after = entry.weigh(terms);
                self.lengths.change(before.longest, after.longest);
                let [all_before, all_after] = &mut sums;
                all_before.add(&before);
                all_after.add(&after);
            });
        }
        let [before, after] = sums;
        self.admission.reweigh(&before, &after);
    }

    /// As [`mutate`](Self::mutate), for a write that takes the place of the pending one: where its charge goes beyond a ceiling, or
    /// `may` refuses it, nothing is changed. The former charge of the key comes off first, and the lock keeps it from changing
    /// meanwhile.
    pub(crate) fn mutate_within<R>(
        &self,
        terms: &Terms,
        hash: &KeyHash,
        (write, ceiling): (Weight, &Ceiling),
        may: impl FnOnce(&Entry) -> bool,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<Result<R, NotWritten>> {
        self.change(hash, |entry| {
            if !may(entry) {
                return Err(NotWritten::Unmet);
            }
            let foreseen = entry.foresee(terms, write);
            self.reserve(&entry.weigh(terms), &foreseen, ceiling).map_err(NotWritten::Beyond)?;
            let result = change(entry);
            // The write may have found nothing to do.
            self.reweigh(&foreseen, &entry.weigh(terms));
            Ok(result)
        })
    }

    /// A number that no other pending write of the partition has.
    pub(crate) fn issue_serial(&self) -> u64 {
        self.serials.fetch_add(1, Relaxed) + 1
    }

    fn account<R>(&self, terms: &Terms, entry: &mut Entry, change: impl FnOnce(&mut Entry) -> R) -> R {
        let before = entry.weigh(terms);
        let result = change(entry);
        self.reweigh(&before, &entry.weigh(terms));
        result
    }

    fn reweigh(&self, before: &Weight, after: &Weight) {
        self.admission.reweigh(before, after);
        self.lengths.change(before.longest, after.longest);
    }

    fn reserve(&self, before: &Weight, after: &Weight, ceiling: &Ceiling) -> Result<(), Beyond> {
        self.admission.reweigh_within(before, after, ceiling)?;
        self.lengths.change(before.longest, after.longest);
        Ok(())
    }

    /// The hashes of the keys in one stripe that have a value.
    pub(crate) fn hashes(&self, stripe: usize) -> Vec<KeyHash> {
        self.hashes_if(stripe, Entry::is_users)
    }

    /// The hashes of the keys in one stripe whose newest record keeps nothing away, as far as copies are counted.
    pub(crate) fn needless(&self, stripe: usize) -> Vec<KeyHash> {
        self.hashes_if(stripe, Entry::is_needless)
    }

    fn hashes_if(&self, stripe: usize, is_one: impl Fn(&Entry) -> bool) -> Vec<KeyHash> {
        let mut hashes = Vec::new();
        for (number, shard) in self.shards.iter().enumerate().skip(stripe).step_by(STRIPES) {
            let add = |hash, entry: &Entry| {
                if is_one(entry) {
                    hashes.push(hash);
                }
            };
            shard.read().each(&self.lives, number, add);
        }
        hashes
    }

    /// Whether the sums, and the counts of lengths, equal those of all entries added up anew. Bounds: looks at every key.
    pub(crate) fn is_exact(&self, terms: &Terms) -> bool {
        let lengths = Lengths::default();
        let sum = self.recount(terms, &lengths);
        sum == self.admission.weight() && lengths.counted() == self.lengths.counted()
    }

    /// Adds up all entries anew.
    fn recount(&self, terms: &Terms, lengths: &Lengths) -> Weight {
        let mut sum = Weight::default();
        for (number, shard) in self.shards.iter().enumerate() {
            shard.read().each(&self.lives, number, |_, entry| {
                let weight = entry.weigh(terms);
                sum.add(&weight);
                lengths.change(0, weight.longest);
            });
        }
        sum
    }

    /// Bytes of memory that the index takes: all places of its maps, taken or not, and what is pending.
    pub(crate) fn index_bytes(&self) -> u64 {
        let maps: usize = self.shards.iter().map(|shard| shard.read().bytes()).sum();
        maps as u64 + self.admission.budget.pending_bytes()
    }

    /// Gives back memory of the first shard, from this one on and around, that is mostly empty. Returns the next shard to look at,
    /// and whether one was found. Bounds: looks at each shard; moves the entries of one, at most half as many as it has places.
    pub(crate) fn shrink(&self, from: usize) -> (usize, bool) {
        for index in (0..SHARDS).map(|n| (from + n) % SHARDS) {
            let Some(shard) = self.shards.get(index) else { continue };
            // Few are: the others are not locked for writing.
            let is_sparse = shard.read().is_sparse();
            if is_sparse {
                shard.write().shrink(index);
                return ((index + 1) % SHARDS, true);
            }
        }
        (from, false)
    }

    /// Records in the index, stale tombstones included.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Entries by form: pending, plain, timed, rare.
    #[cfg(test)]
    pub(crate) fn forms(&self) -> [usize; 4] {
        let add = |sum: [usize; 4], shard: &RwLock<Shard>| {
            let [a, b, c, d] = shard.read().forms();
            [sum[0] + a, sum[1] + b, sum[2] + c, sum[3] + d]
        };
        self.shards.iter().fold([0; 4], add)
    }
}

impl AdmissionLease for Lease<SharedPartition> {
    fn reach<R>(self, look: impl FnOnce(&Admission) -> R) -> Option<R> {
        self.enter(|shared| look(&shared.admission)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldpress_core::config::TierConfig;
    use coldpress_core::format::SegmentIndex;
    use coldpress_core::format::Sequence;
    use coldpress_core::format::{Geometry, Identity, Store};

    fn terms() -> Terms {
        let geometry = Geometry::new(1 << 16, 32, 1, 0, Identity::KeyedHash).unwrap();
        Terms::new(TierConfig::new(geometry, Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 }))
    }

    fn new() -> SharedPartition {
        SharedPartition::new(&terms().geometry)
    }

    #[test]
    fn partition_opened_in_place_of_another_has_nothing_of_it() {
        // A list of its own: another test would take the slot from the common one at once.
        static SLOTS: Recycler<SharedPartition> = Recycler::new();
        let (terms, lease) = (terms(), SLOTS.lend(new()));
        let shared = lease.hold().unwrap();
        for n in 0..1000u64 {
            let mut hash = KeyHash::default();
            hash.0[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
            hash.0[11] = n as u8;
            shared.mutate(&terms, &hash, |entry| entry.copies += 1).unwrap();
        }
        assert_eq!(shared.entries(), 1000);
        assert!(shared.index_bytes() > 64_000);
        drop(shared);
        lease.give_back();
        let shared = SLOTS.lend(new()).hold().unwrap();
        assert_eq!((shared.entries(), shared.index_bytes()), (0, 0));
        assert_eq!(shared.admission.weight(), Weight::default());
    }

    #[test]
    fn write_that_fits_beside_a_waiting_one_is_never_refused() {
        use crate::index::entry::{Pending, Stored};
        use coldpress_core::format::{Checksum, Kind, Location};
        use coldpress_core::index::Placed;
        let (terms, shared) = (terms(), new());
        let (old, new) = (KeyHash([1; 12]), KeyHash([2; 12]));
        let location = Location { segment: SegmentIndex::new(1), offset: 0, sequence: Sequence::new(1) };
        let version = location.version();
        let (kind, expires_s, relocated_from) = (Kind::Value, None, None);
        let placed = Placed {
            location,
            version,
            record_bytes: 64,
            kind,
            expires_s,
            relocated_from,
            relocated_bytes: 0,
        };
        shared.mutate(&terms, &old, |entry| {
            entry.copies = 1;
            entry.replace(Stored::live(&placed, false))
        });
        let stored = shared.admission.weight().settled;
        let pending = |charge: u32| Pending {
            payload: Box::default(),
            checksum: Checksum::default(),
            codec: CodecId::Raw,
            key_bytes: 0,
            expires_s: None,
            kind,
            inflight: None,
            before: None,
            charge,
            older_charge: 0,
            serial: 0,
        };
        let settled = 1 << 20;
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // It fits, but not beside the value that it replaces.
                let ceiling = Ceiling { settled, charge: settled + stored - 1 };
                let write = pending(1 << 20).weigh();
                while !is_over.load(Relaxed) {
                    let refused = shared.mutate_within(&terms, &old, (write, &ceiling), |_| true, |_| ());
                    assert!(refused.unwrap().is_err());
                }
            });
            let ceiling = Ceiling { settled, charge: u64::MAX };
            let write = pending((1 << 20) - u32::try_from(stored).unwrap());
            let refused = (0..100_000).find_map(|_| {
                let put = |entry: &mut Entry| entry.overlay(pending(write.charge));
                let put = shared.mutate_within(&terms, &new, (write.weigh(), &ceiling), |_| true, put);
                shared.mutate(&terms, &new, |entry| entry.pending = None);
                put.unwrap().err()
            });
            is_over.store(true, Relaxed);
            assert_eq!(refused, None);
        });
        assert!(shared.is_exact(&terms));
        // A write that fits and then finds nothing to do is not charged.
        let (before, ceiling) = (shared.admission.weight(), Ceiling { settled, charge: u64::MAX });
        let nothing = shared.mutate_within(&terms, &new, (pending(900).weigh(), &ceiling), |_| true, |_| ());
        assert_eq!((nothing, shared.admission.weight()), (Some(Ok(())), before));
        assert!(shared.is_exact(&terms) && shared.view(&new, |_| ()).is_none());
    }

    #[test]
    fn writer_gets_in_among_readers_that_leave_no_gap() {
        use core::time::Duration;
        use std::time::Instant;
        const PATIENCE: Duration = Duration::from_secs(60);
        let terms = terms();
        let (shared, hash) = (new(), KeyHash::default());
        shared.mutate(&terms, &hash, |entry| entry.copies = 1).unwrap();
        let (is_over, looks) = (AtomicBool::new(false), AtomicU64::new(0));
        let (begun, readers) = (Instant::now(), 8);
        std::thread::scope(|scope| {
            for _ in 0..readers {
                scope.spawn(|| {
                    while !is_over.load(Relaxed) && begun.elapsed() < PATIENCE {
                        // A copy of a long value takes as long as this on a busy machine.
                        shared.view(&hash, |_| std::thread::sleep(Duration::from_millis(1)));
                        looks.fetch_add(1, Relaxed);
                    }
                });
            }
            while looks.load(Relaxed) < 10 * readers {
                std::thread::yield_now();
            }
            (0..10).for_each(|_| shared.mutate(&terms, &hash, |entry| entry.copies += 1).unwrap());
            is_over.store(true, Relaxed);
        });
        assert!(begun.elapsed() < PATIENCE, "it got in when the readers had gone");
        assert_eq!(shared.view(&hash, |entry| entry.copies), Some(11));
    }
}
