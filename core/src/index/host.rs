//! Requests of the machine to its host: liveness, hashes, codecs.

use crate::codec::CodecId;
use crate::format::{KeyHash, Kind, Location, Record, SegmentIndex, Sequence, Store, Version};

/// A record as it lies on the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Placed {
    /// Where it lies.
    pub location: Location,
    /// Its version: the write that it holds.
    pub version: Version,
    /// Its bytes on the medium, padding included.
    pub record_bytes: u32,
    /// Value or tombstone.
    pub kind: Kind,
    /// When it expires.
    pub expires_s: Option<u32>,
    /// Where it lay before, for a relocated record.
    pub relocated_from: Option<Location>,
    /// Its bytes there.
    pub relocated_bytes: u32,
}

/// Live bytes that became stale because of the last call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Released {
    /// Where the record lies.
    pub location: Location,
    /// Its bytes on the medium.
    pub record_bytes: u32,
}

/// The meaning of a copy to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Liveness {
    /// The newest copy on the medium, counted live: a value, or a tombstone that is still needed.
    Live,
    /// Superseded, dropped, or a tombstone that nothing needs any more.
    Stale,
    /// It counted live until now, and was found to be superseded: its bytes are to be released.
    Superseded,
    /// Nothing can tell now whether it is the newest: it must neither be relocated nor freed.
    Doubtful,
}

/// The result of publishing a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Published {
    /// The record is now the newest copy and counted live. Holds the copy that it superseded, if that was live.
    Live(Option<Released>),
    /// The record was stale at birth: a newer copy is known, or the record it was copied from is no longer the newest.
    Stale,
}

/// How the index took a record that a running tier read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reconciled {
    /// It is known, or superseded: nothing changed.
    Known,
    /// The index did not know it, and does now.
    Placed(Published),
    /// The index does not know it, and has no place for it: its segment must stay as it is.
    NoPlace,
}

/// Whether an expired or evicted record can be dropped at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Dropped {
    /// It is gone: no other copy of the key is on the medium, so its bytes are stale now.
    Now,
    /// Other copies are on the medium, so it must stay, or a tombstone with its version must take its place.
    NeedsTombstone,
    /// The record is no longer the newest copy: nothing to drop.
    NotCurrent,
}

/// A call of [`Index`] about a key, for which a host may have to read the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCall {
    /// [`Index::confirm`].
    Confirm,
    /// [`Index::copy_erased`].
    CopyErased,
    /// [`Index::recovered`], [`Index::reconcile`] or [`Index::move_back`].
    Found,
}

/// Where the newest copy of each key is, and how many copies there are.
///
/// All calls are answered at once: they wait for nothing, and call nothing of a user's. A host on a service answers from memory
/// alone; one on a device, whose index has only the places of records, may read the records of a few keys, a bounded number: a
/// read of NOR flash is done when it returns. Where it is not, the host says so in [`is_ready`](Index::is_ready).
///
/// **Copies.** Rule 6 of the log (nothing comes back) needs to know when a tombstone may go. The index keeps, per key, the
/// number of physical copies of it on the medium, live or stale, tombstones included: one up at [`publish`](Index::publish),
/// [`unwritten`](Index::unwritten) and [`recovered`](Index::recovered), whatever they return, and one down at [`copy_erased`](Index::copy_erased). An entry exists while its
/// count is above zero. A tombstone is needed while its count is above one.
pub trait Index {
    /// Whether it answers every call at once, so that [`is_ready`](Self::is_ready) is always `true`, and not asked.
    const ANSWERS_AT_ONCE: bool = true;

    /// Begins to withhold, or with `None` ends it. Some copies on the medium could not be read, so they are not counted, and may be
    /// of any key.
    ///
    /// From here on the host releases no tombstone, and no dropped value that stands in for one: an uncounted copy could come back
    /// without it. A record that is dropped needs a tombstone though its copy is the only one known. Records with a sequence of
    /// `above` or higher outrank all uncounted copies.
    ///
    /// With `None` every copy that is left is counted again. Then [`settle`](Self::settle) is called until its end, for the
    /// tombstones that were kept. A host that drops nothing needs to do nothing.
    fn withhold(&mut self, above: Option<Sequence>) {
        let _ = above;
    }

    /// Tells whether the host can answer a call about this key at once. Each such call follows an answer of `true`, in the same poll.
    ///
    /// A host whose medium is read by awaiting says `false`, and reads what it needs for the answer before it polls the machine again. The
    /// machine has changed nothing meanwhile, and asks again. A host may say `More` for the same reason, where
    /// [`settle`](Self::settle) or [`due`](Self::due) is called.
    fn is_ready(&mut self, call: KeyCall, hash: &KeyHash) -> bool {
        let _ = (call, hash);
        true
    }

    /// The mount knows the store: keys are hashed under its key from here on. Called once, before any other call.
    fn identify(&mut self, store: &Store);

    /// Hashes a key under the store's key.
    fn hash(&self, key: &[u8]) -> KeyHash;

    /// Hashes the key of a record that was read. A host may know the pieces of long values by a hash of their own.
    fn hash_record(&self, record: &Record<'_>) -> KeyHash {
        self.hash(record.key)
    }

    /// Returns the liveness of the copy at `at`.
    fn liveness(&self, hash: &KeyHash, at: Location) -> Liveness;

    /// Returns the liveness of the copy at `at`, which was just read whole, before it is relocated. A host whose index finds
    /// the key of an entry by reading it looks again here, if it could not find the key before. Without an origin the copy
    /// would outrank a newer one.
    fn confirm(&mut self, hash: &KeyHash, at: Location) -> Liveness {
        self.liveness(hash, at)
    }

    /// A record is on the medium (written, perhaps not yet durable): points the index at it.
    ///
    /// A fresh one supersedes every copy of a lower version. A relocated one takes the place of `relocated_from` only if the
    /// index still points there.
    fn publish(&mut self, hash: &KeyHash, placed: &Placed) -> Published;

    /// Points the index back at an older copy of a record, since the segment `from` with the relocated one is to be erased. Both have
    /// one version. Returns the relocated copy; `None` where the index does not point at a copy of that version in `from`. The
    /// number of copies stays. A host may have to [read](KeyCall::Found) for it.
    ///
    /// Asked only of a machine with [one free segment](crate::config::Reserve::One): other hosts need to do nothing.
    fn move_back(&mut self, hash: &KeyHash, placed: &Placed, from: SegmentIndex) -> Option<Released> {
        let _ = (hash, placed, from);
        None
    }

    /// A record could not be written, so it is not published. A copy of it may be on the medium all the same: it counts as
    /// one. A fresh record goes back to being pending, and the adapter may append it again.
    fn unwritten(&mut self, hash: &KeyHash, placed: &Placed);

    /// Drops the record at `at` if it is current and no other copy is on the medium.
    fn drop_current(&mut self, hash: &KeyHash, at: Location) -> Dropped;

    /// A copy of the key is gone from the medium for good. Returns the record that nothing needs any more: a tombstone of the
    /// key, or a dropped value that stood in for one.
    fn copy_erased(&mut self, hash: &KeyHash) -> Option<Released>;

    /// The erase of a segment is durable. A host that remembers copies that failed writes may have left there, behind the end
    /// of the records, counts them down. Returns a record that nothing needs any more; called until there is none.
    fn erased(&mut self, segment: SegmentIndex) -> Option<Released> {
        let _ = segment;
        None
    }

    /// Tells whether all of a segment is known to be blank, so that a mount need not read its ends: where the medium knows
    /// parts that were never written, such as the holes of a file. Asked only during a mount.
    fn is_blank(&self, segment: SegmentIndex) -> bool {
        let _ = segment;
        false
    }

    /// A mount is about to find so many records of keys, as the footers of segments say: at most, where each record is whole. Segments
    /// without a footer are not counted. Called once, before the first [`recovered`](Self::recovered). A host that makes space as records
    /// come needs to do nothing.
    fn announce(&mut self, records: u64) {
        let _ = records;
    }

    /// A mount found a record. `is_sealed` tells whether its segment was sealed; of two copies with the same version a
    /// tombstone wins, then the copy in a sealed segment, then that in the segment of the lower sequence.
    ///
    /// A host may decide later, up to [`settle`](Self::settle): it says that each record is live, and releases those that are not as what
    /// later ones superseded, or in `settle`.
    fn recovered(&mut self, hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Published;

    /// Returns the tombstones that nothing needs, one a call. Called after a mount has found all records, and after
    /// [withholding](Self::withhold) or a [recount](Self::recount) ended. Each call looks at a bounded number of entries.
    fn settle(&mut self) -> Settled;

    /// Tells whether the host waits for copies of removed keys to go from the medium: its index has no place for a new key, or records
    /// whose time is over hold space as their own tombstones. Segments that hold such copies are cleaned until it does not.
    ///
    /// Returns a number, which is another one for each wait: between two calls one may have ended and the next begun.
    fn awaits_copies(&mut self) -> Option<u32> {
        None
    }

    /// No cleaning can remove the copies that the host [waits](Self::awaits_copies) for: it waits in vain.
    fn keeps_copies(&mut self) {}

    /// Begins to count copies anew, or goes on with it: sets the counts of a bounded number of entries to zero, and tells whether there are
    /// more. No record is published meanwhile.
    ///
    /// From the first of these calls to [`recounted`](Self::recounted) the copies that lay on the medium before are not counted, neither
    /// up nor down. The host releases no tombstone meanwhile, and clears no entry whose count is zero.
    fn recount(&mut self) -> bool {
        false
    }

    /// All copies that are left on the medium are counted. [`settle`](Self::settle) is called next, until its end: entries without a copy
    /// go, and tombstones that nothing needs.
    fn recounted(&mut self) {}

    /// Looks for a key whose record is due: expired (or, where so configured, idle) at `now_s`. Each call looks at a bounded
    /// number of entries.
    fn due(&mut self, now_s: u32) -> Look;

    /// A record of the log was read whole: puts the index right if it does not know it. It is known where the index has a
    /// higher version, or the same one. The exception is the tombstone of a drop, which has the version of the value that the
    /// index has (rule 10). Where the index has no place for one more, the tier goes on without the record, and keeps its
    /// segment.
    fn reconcile(&mut self, hash: &KeyHash, placed: &Placed) -> Reconciled;

    /// The current record at `at` is damaged: its key reads as damaged from now on.
    fn damaged(&mut self, hash: &KeyHash, at: Location);

    /// Asks whether the current record at `at` may be evicted; a host that counts references may spare it once. One that never
    /// [evicts](crate::machine::Tier::evict) is not asked.
    fn evictable(&mut self, hash: &KeyHash, at: Location) -> bool {
        let _ = (hash, at);
        false
    }

    /// Tells how many bytes the eviction of a record gives back: its own, and those of the records that go with it.
    fn evicted_bytes(&self, hash: &KeyHash, record_bytes: u32) -> u64 {
        let _ = hash;
        u64::from(record_bytes)
    }
}

/// Encodes values again while the machine relocates them, and measures codecs. A host without codecs copies values as they are,
/// and needs none of these.
pub trait Codecs {
    /// Encodes a value again for relocation, if the codec in use is another one and gains. Returns the codec and length. A host
    /// without codecs copies values as they are.
    fn recode(&mut self, codec: CodecId, value: &[u8], out: &mut [u8]) -> Option<(CodecId, usize)> {
        let _ = (codec, value, out);
        None
    }

    /// Measures the candidate codecs on one live value; one call a poll. A host that can't afford a long value passes it by, and
    /// one without codecs every value.
    fn sample(&mut self, codec: CodecId, value: &[u8]) {
        let _ = (codec, value);
    }

    /// Picks the codec for new and relocated records from the samples; returns its number.
    fn choose_codec(&mut self) -> CodecId {
        CodecId::Raw
    }
}

/// Advice from facts that only the adapter knows.
pub trait Advice {
    /// Tells whether the efficiency analysis of the pools and the log advises emergency cleanup. A host that analyses nothing
    /// advises nothing.
    fn advises_cleanup(&mut self) -> bool {
        false
    }
}

/// All that a machine asks of the adapter that drives it.
pub trait Host: Index + Codecs + Advice {}

impl<H: Index + Codecs + Advice> Host for H {}

/// The result of a look for due records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Look {
    /// A record that is due.
    Due(Due),
    /// None among the entries that were looked at; there are more to look at.
    More,
    /// No record is due.
    End,
}

/// The result of a look for tombstones that nothing needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Settled {
    /// One that nothing needs any more.
    Released(Released),
    /// None among the entries that were looked at; there are more to look at.
    More,
    /// All were looked at.
    End,
}

impl Look {
    /// The record that is due, if one was found.
    #[must_use]
    pub const fn due(self) -> Option<Due> {
        match self {
            Self::Due(due) => Some(due),
            Self::More | Self::End => None,
        }
    }
}

/// A record whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Due {
    /// Its key.
    pub hash: KeyHash,
    /// Where it lies.
    pub location: Location,
    /// Its bytes on the medium.
    pub record_bytes: u32,
    /// Its version, as far as the host knows it: the tombstone that takes the place of the record carries it.
    pub version: Option<Version>,
    /// Whether it is due for being idle. The idle time is not written in the record, unlike an expiry. So a tombstone must take its place,
    /// else it would be there again after a mount. The version must be known.
    pub is_idle: bool,
}
