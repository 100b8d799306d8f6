//! The pieces of long values, by the hash of the value's key: which generations there are, and which have to go.
//!
//! All pieces of one key are a *family*. A write or a drop of the key *touches* its family; the worker then looks at it, and sweeps
//! the generations that no head names. Families are known from the first piece on: from the put that writes them, or from a look at
//! the pieces that a mount found.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use core::sync::atomic::{AtomicU32, AtomicU64};
use std::collections::{BTreeMap, HashMap, VecDeque};

use coldpress_core::format::KeyHash;
use parking_lot::RwLock;

use super::shard::OwnBits;
use super::shared::SharedPartition;
use crate::admission::KeyClaim;
use crate::recycled::{Gone, Lease};

/// The pieces of one generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Generation {
    /// No piece has this index or a higher one.
    pub(crate) end: u32,
    /// Their charge, about.
    pub(crate) bytes: u64,
}

/// All pieces of one key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Family {
    pub(crate) generations: BTreeMap<u8, Generation>,
    /// The generation that a put writes now.
    pub(crate) writing: Option<u8>,
    is_touched: bool,
    /// Space comes back from it soon, as far as known.
    is_owing: bool,
}

#[derive(Debug, Default)]
struct State {
    families: HashMap<KeyHash, Family, OwnBits>,
    touched: VecDeque<KeyHash>,
}

/// The families of one partition.
#[derive(Debug, Default)]
pub(crate) struct Families {
    state: RwLock<State>,
    /// How many there are: most tiers have none, and look no further.
    count: AtomicU32,
    /// The number of those from which space comes back soon.
    owing: AtomicU32,
    /// Generations begun: while this stays, no piece takes the place of another.
    begun: AtomicU64,
}

/// A put of a long value. While it lasts, what it wrote is not swept.
#[derive(Debug)]
pub(crate) struct FamilyWriter {
    lease: Lease<SharedPartition>,
    hash: KeyHash,
    /// Given up behind the end of this put: the next one of the key begins no earlier.
    _key: KeyClaim<Lease<SharedPartition>>,
}

impl Drop for FamilyWriter {
    fn drop(&mut self) {
        // A closed partition has no families left.
        let _ = self.lease.enter(|shared| shared.families.end(&self.hash));
    }
}

impl FamilyWriter {
    /// A put under the key that a client has for itself.
    pub(crate) const fn new(
        lease: Lease<SharedPartition>,
        hash: KeyHash,
        key: KeyClaim<Lease<SharedPartition>>,
    ) -> Self {
        Self { lease, hash, _key: key }
    }

    /// Chooses a generation that no known piece has and that is not in `taken`; `None` where there is none.
    ///
    /// # Errors
    /// [`Gone`] where the partition was closed.
    pub(crate) fn begin(&self, taken: &[u8], pieces: Generation) -> Result<Option<u8>, Gone> {
        self.lease.enter(|shared| shared.families.begin(&self.hash, taken, pieces))
    }
}

impl Families {
    fn recount(&self, state: &State) {
        self.count.store(u32::try_from(state.families.len()).unwrap_or(u32::MAX), Relaxed);
    }

    fn begin(&self, hash: &KeyHash, taken: &[u8], pieces: Generation) -> Option<u8> {
        self.begun.fetch_add(1, AcqRel);
        let mut state = self.state.write();
        let family = state.families.entry(*hash).or_default();
        // The lowest one, so that few hashes are used: a removed hash needs a tombstone until its copies are gone.
        let free = (0..=u8::MAX)
            .find(|generation| !taken.contains(generation) && !family.generations.contains_key(generation));
        if let Some(generation) = free {
            family.generations.insert(generation, pieces);
            family.writing = Some(generation);
        }
        self.recount(&state);
        free
    }

    /// Ends a put, whatever its outcome.
    fn end(&self, hash: &KeyHash) {
        if let Some(family) = self.state.write().families.get_mut(hash) {
            family.writing = None;
        }
        self.touch(hash);
    }

    /// Whether there is no piece of a long value.
    pub(crate) fn are_none(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// How many generations were begun, of all keys.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Acquire)
    }

    /// Whether space comes back soon from values that are gone.
    pub(crate) fn are_owing(&self) -> bool {
        self.owing.load(Relaxed) > 0
    }

    /// The key was written or dropped: its family is to be looked at, if it has one.
    pub(crate) fn touch(&self, hash: &KeyHash) {
        if self.count.load(Relaxed) == 0 || !self.state.read().families.contains_key(hash) {
            return;
        }
        let mut state = self.state.write();
        let State { families, touched } = &mut *state;
        let Some(family) = families.get_mut(hash) else { return };
        if !core::mem::replace(&mut family.is_touched, true) {
            touched.push_back(*hash);
        }
        if !core::mem::replace(&mut family.is_owing, true) {
            self.owing.fetch_add(1, Relaxed);
        }
    }

    /// A piece was found: its family is to be looked at.
    pub(crate) fn found(&self, hash: &KeyHash, generation: u8, index: u16, bytes: u32) {
        let mut state = self.state.write();
        let State { families, touched } = &mut *state;
        let family = families.entry(*hash).or_default();
        let pieces = family.generations.entry(generation).or_default();
        pieces.end = pieces.end.max(u32::from(index) + 1);
        // Those of a put that is under way are counted already.
        if family.writing != Some(generation) {
            pieces.bytes += u64::from(bytes);
        }
        if !core::mem::replace(&mut family.is_touched, true) {
            touched.push_back(*hash);
        }
        self.recount(&state);
    }

    pub(crate) fn take_touched(&self) -> Option<KeyHash> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let mut state = self.state.write();
        let hash = state.touched.pop_front()?;
        if let Some(family) = state.families.get_mut(&hash) {
            family.is_touched = false;
        }
        Some(hash)
    }

    pub(crate) fn has_touched(&self) -> bool {
        self.count.load(Relaxed) > 0 && !self.state.read().touched.is_empty()
    }

    /// A family as it is now.
    pub(crate) fn look(&self, hash: &KeyHash) -> Option<Family> {
        self.state.read().families.get(hash).cloned()
    }

    /// No space comes back from the family until it is touched again.
    pub(crate) fn settle(&self, hash: &KeyHash) {
        let mut state = self.state.write();
        let Some(family) = state.families.get_mut(hash) else { return };
        if core::mem::replace(&mut family.is_owing, false) {
            self.owing.fetch_sub(1, Relaxed);
        }
    }

    /// The pieces of a generation are gone from an index on.
    pub(crate) fn swept(&self, hash: &KeyHash, generation: u8, from: u32) {
        let mut state = self.state.write();
        let Some(family) = state.families.get_mut(hash) else { return };
        match family.generations.get_mut(&generation) {
            Some(pieces) if from > 0 => pieces.end = pieces.end.min(from),
            _ => {
                family.generations.remove(&generation);
            }
        }
        if family.generations.is_empty() && family.writing.is_none() {
            let family = state.families.remove(hash);
            if family.is_some_and(|family| family.is_owing) {
                self.owing.fetch_sub(1, Relaxed);
            }
        }
        self.recount(&state);
    }

    /// Bytes of all pieces of a key.
    pub(crate) fn bytes(&self, hash: &KeyHash) -> u64 {
        if self.count.load(Relaxed) == 0 {
            return 0;
        }
        let state = self.state.read();
        state.families.get(hash).map_or(0, |family| family.generations.values().map(|g| g.bytes).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldpress_core::format::{Geometry, Identity};
    use std::time::Instant;

    const PIECES: Generation = Generation { end: 3, bytes: 300 };

    fn geometry() -> Geometry {
        Geometry::new(1 << 16, 32, 1, 0, Identity::KeyedHash).unwrap()
    }

    #[test]
    fn generation_is_one_that_nothing_has() {
        let (lease, hash) = (SharedPartition::lend(&geometry()), KeyHash([1; 12]));
        let shared = lease.hold().unwrap();
        let families = &shared.families;
        let write = || {
            let key = KeyClaim::wait_for(lease, hash, Instant::now(), || Ok::<_, Gone>(()));
            key.map(|key| key.map(|key| FamilyWriter::new(lease, hash, key)))
        };
        let claim = write().unwrap().unwrap();
        assert!(write().unwrap().is_none(), "one at a time");
        families.found(&hash, 0, 4, 100);
        assert_eq!(claim.begin(&[1], PIECES), Ok(Some(2)));
        assert_eq!(families.bytes(&hash), 400);
        drop(claim);
        let claim = write().unwrap().unwrap();
        assert_eq!(claim.begin(&[2], PIECES), Ok(Some(1)));
        for generation in 0..=u8::MAX {
            families.found(&hash, generation, 0, 1);
        }
        assert_eq!(claim.begin(&[], PIECES), Ok(None));
        lease.give_back();
        assert_eq!(claim.begin(&[], PIECES), Err(Gone), "it was closed");
    }

    #[test]
    fn family_owes_space_from_a_touch_until_it_is_swept() {
        let (families, hash) = (Families::default(), KeyHash([1; 12]));
        families.touch(&hash);
        assert!(!families.are_owing() && !families.has_touched(), "it has no pieces");
        families.found(&hash, 3, 1, 10);
        assert!(!families.are_owing() && families.has_touched());
        assert_eq!(families.take_touched(), Some(hash));
        families.touch(&hash);
        assert!(families.are_owing() && families.take_touched() == Some(hash));
        families.swept(&hash, 3, 1);
        let left = families.look(&hash).unwrap().generations;
        assert_eq!(Vec::from_iter(left), [(3, Generation { end: 1, bytes: 10 })]);
        families.swept(&hash, 3, 0);
        assert!(families.look(&hash).is_none() && !families.are_owing());
    }
}
