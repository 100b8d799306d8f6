//! The keys that are being written, and their entries as found before.

use coldpress_core::format::KeyHash;

use super::index::Match;

/// A key that is being written; all zeros where there is none, so that a `static` of them takes no space in an image.
#[derive(Debug, Clone, Copy, Default)]
#[repr(u8)]
pub(super) enum KnownKey {
    /// None.
    #[default]
    Empty = 0,
    /// The identity of the key, and what was found of it.
    Taken(KeyHash, Match) = 1,
}

/// The keys that are being written: one, or those of a batch.
///
/// So publishing them reads nothing again, and no failed read can leave an old entry live beside a new one.
#[derive(Debug, Default)]
pub(super) struct KnownKeys<'m> {
    places: &'m mut [KnownKey],
}

impl<'m> KnownKeys<'m> {
    pub(super) fn new(places: &'m mut [KnownKey]) -> Self {
        places.fill(KnownKey::Empty);
        Self { places }
    }

    /// Takes the memory back, for a new index.
    pub(super) fn take_memory(&mut self) -> &'m mut [KnownKey] {
        core::mem::take(&mut self.places)
    }

    /// How many keys it holds at most.
    pub(super) const fn capacity(&self) -> usize {
        self.places.len()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.places.fill(KnownKey::Empty);
    }

    /// Adds a key, if there is space.
    pub(super) fn add(&mut self, hash: KeyHash, found: Match) {
        let free = self.places.iter_mut().find(|place| matches!(place, KnownKey::Empty));
        if let Some(free) = free {
            *free = KnownKey::Taken(hash, found);
        }
    }

    /// Forgets all others, and notes this one.
    pub(super) fn set(&mut self, hash: KeyHash, found: Match) {
        self.clear();
        self.add(hash, found);
    }

    /// Forgets one.
    pub(super) fn forget(&mut self, hash: &KeyHash) {
        for place in &mut *self.places {
            if matches!(place, KnownKey::Taken(key, _) if key == hash) {
                *place = KnownKey::Empty;
            }
        }
    }

    /// The finding about a key.
    pub(super) fn get(&self, hash: &KeyHash) -> Option<Match> {
        self.iter().find(|(key, _)| key == hash).map(|(_, found)| found)
    }

    /// The finding about a key, to be changed.
    pub(super) fn get_mut(&mut self, hash: &KeyHash) -> Option<&mut Match> {
        self.places.iter_mut().find_map(|place| match place {
            KnownKey::Taken(key, found) if key == hash => Some(found),
            _ => None,
        })
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyHash, Match)> {
        self.places.iter().filter_map(|place| match place {
            KnownKey::Taken(hash, found) => Some((*hash, *found)),
            KnownKey::Empty => None,
        })
    }
}
