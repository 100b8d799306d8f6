//! Puts that failed, by the places at which a record of them may lie.
//!
//! Only the medium tells the key of an entry, and the record of a failed put may not be readable. So the last few are
//! remembered: a new write of the key then replaces its own entry, and the copy is counted down when its segment is erased.

use core::ops::Range;

use coldpress_core::format::KeyHash;
use heapless::Vec;

/// The most failed puts that are remembered. Each takes a segment that is sealed early; earlier ones count until copies are
/// counted anew.
const GHOSTS_MAX: usize = 4;

/// A put that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ghost {
    pub(super) hash: KeyHash,
    pub(super) place: u32,
    /// Whether it is counted as a copy of its key.
    pub(super) is_counted: bool,
}

/// The last puts that failed and whose segments are not erased.
#[derive(Debug, Default)]
pub(super) struct Ghosts(Vec<Ghost, GHOSTS_MAX>);

impl Ghosts {
    /// Remembers a put that failed at a place.
    pub(super) fn remember(&mut self, hash: KeyHash, place: u32) {
        if self.0.is_full() {
            self.0.remove(0);
        }
        // There is a free slot now.
        let _ = self.0.push(Ghost { hash, place, is_counted: true });
    }

    /// The key whose put failed there.
    pub(super) fn at(&self, place: u32) -> Option<KeyHash> {
        self.0.iter().find(|ghost| ghost.place == place).map(|ghost| ghost.hash)
    }

    /// A put that failed at one of the places given.
    pub(super) fn within(&self, places: &Range<u32>) -> Option<Ghost> {
        self.0.iter().find(|ghost| places.contains(&ghost.place)).copied()
    }

    /// Counts none of them any more.
    pub(super) fn uncount(&mut self) {
        for ghost in &mut self.0 {
            ghost.is_counted = false;
        }
    }

    /// Forgets the put that failed at a place.
    pub(super) fn forget(&mut self, place: u32) {
        self.0.retain(|ghost| ghost.place != place);
    }
}
