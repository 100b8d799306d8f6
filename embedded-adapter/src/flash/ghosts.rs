//! Puts that failed, by the places at which a record of them may lie.
//!
//! Nothing but the medium tells whose an entry is, and what a failed put left there may not be readable. So the last few are
//! remembered: the key is written again over its own entry, and the copy is counted down when its segment is erased.

use core::ops::Range;

use coldpress_core::log::KeyHash;
use heapless::Vec;

/// As many as are remembered. Each takes a segment that is sealed early; those before count until the next mount.
const GHOSTS_MAX: usize = 4;

/// The last puts that failed and whose segments are not erased.
#[derive(Debug, Default)]
pub(super) struct Ghosts(Vec<(KeyHash, u32), GHOSTS_MAX>);

impl Ghosts {
    /// A put failed at a place.
    pub(super) fn remember(&mut self, hash: KeyHash, place: u32) {
        if self.0.is_full() {
            self.0.remove(0);
        }
        // There is room now.
        let _ = self.0.push((hash, place));
    }

    /// Whose put failed there.
    pub(super) fn at(&self, place: u32) -> Option<KeyHash> {
        self.0.iter().find(|(_, at)| *at == place).map(|(hash, _)| *hash)
    }

    /// One that failed at the places given.
    pub(super) fn within(&self, places: &Range<u32>) -> Option<(KeyHash, u32)> {
        self.0.iter().find(|(_, place)| places.contains(place)).copied()
    }

    /// Forgets what failed at a place.
    pub(super) fn forget(&mut self, place: u32) {
        self.0.retain(|(_, at)| *at != place);
    }
}
