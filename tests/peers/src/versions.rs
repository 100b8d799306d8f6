//! The values that each key may have. Every read is compared with them.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::fs;
use std::path::Path;

use coldpress_examples::content::Content;
use coldpress_examples::rng::mix;

use crate::stores::Fault;

/// Bytes of every key but those of replays.
pub(crate) const KEY_BYTES: usize = 16;

/// The version of a key that was removed.
const REMOVED: u32 = u32::MAX;

/// The verdict on the bytes that a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A value that was acknowledged, or was being written.
    Right,
    /// An older one.
    Stale,
    /// Bytes that were never put under this key.
    Wrong,
}

/// Versions of all keys. Each key has one writer at a time.
pub(crate) struct Versions {
    content: Content,
    /// The last version whose put was begun, and the last that was acknowledged.
    keys: Vec<(AtomicU32, AtomicU32)>,
}

/// Gives the bytes of a key: hashed, so that no store sees them in order.
pub(crate) fn key(id: u64) -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    bytes[..8].copy_from_slice(&mix(id).to_be_bytes());
    bytes[8..].copy_from_slice(&id.to_be_bytes());
    bytes
}

impl Versions {
    /// Starts without any value.
    pub(crate) fn new(seed: u64, keys: u64) -> Self {
        let keys = (0..keys).map(|_| (AtomicU32::new(0), AtomicU32::new(0))).collect();
        Self { content: Content::new(seed), keys }
    }

    /// Goes on where another step of the case left off.
    pub(crate) fn load(seed: u64, path: &Path) -> Result<Self, Fault> {
        let bytes = fs::read(path)?;
        let versions =
            bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        let keys = versions.map(|version| (AtomicU32::new(version), AtomicU32::new(version))).collect();
        Ok(Self { content: Content::new(seed), keys })
    }

    /// Keeps the versions for the next step of the case.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Fault> {
        let bytes: Vec<u8> = self.keys.iter().flat_map(|(_, done)| done.load(SeqCst).to_le_bytes()).collect();
        Ok(fs::write(path, bytes)?)
    }

    /// The number of keys.
    pub(crate) const fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    /// The keys that have a value.
    pub(crate) fn live(&self) -> u64 {
        self.keys.iter().filter(|(_, done)| !matches!(done.load(SeqCst), 0 | REMOVED)).count() as u64
    }

    /// Begins a put: fills `value` with the next version of the key.
    pub(crate) fn begin_put(&self, id: u64, value: &mut [u8]) {
        let (begun, done) = &self.keys[id as usize];
        let last = done.load(SeqCst);
        let next = if last == REMOVED { 1 } else { last + 1 };
        begun.store(next, SeqCst);
        self.content.fill(id, next, value);
    }

    /// Notes that the put which was begun has been acknowledged.
    pub(crate) fn end_put(&self, id: u64) {
        let (begun, done) = &self.keys[id as usize];
        done.store(begun.load(SeqCst), SeqCst);
    }

    /// Notes that a key was removed.
    pub(crate) fn remove(&self, id: u64) {
        let (begun, done) = &self.keys[id as usize];
        begun.store(REMOVED, SeqCst);
        done.store(REMOVED, SeqCst);
    }

    /// Gives the version that a read which begins now has to find at least; `None` for a key without a value.
    pub(crate) fn least(&self, id: u64) -> Option<u32> {
        let done = self.keys[id as usize].1.load(SeqCst);
        (done != 0 && done != REMOVED).then_some(done)
    }

    /// Compares every byte of a value that a read found.
    pub(crate) fn check(&self, id: u64, least: Option<u32>, value: &[u8]) -> Answer {
        let newest = self.keys[id as usize].0.load(SeqCst);
        let newest = if newest == REMOVED { 0 } else { newest };
        let is = |version: &u32| self.content.matches(id, *version, value);
        let least = least.unwrap_or(1);
        if (least..=newest).rev().any(|version| is(&version)) {
            Answer::Right
        } else if (1..least).rev().any(|version| is(&version)) {
            Answer::Stale
        } else {
            Answer::Wrong
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_key_are_distinguished() {
        let versions = Versions::new(3, 4);
        let (mut first, mut second) = ([0; 100], [0; 100]);
        assert_eq!(versions.least(2), None);
        versions.begin_put(2, &mut first);
        assert_eq!(versions.check(2, None, &first), Answer::Right);
        versions.end_put(2);
        assert_eq!(versions.least(2), Some(1));
        versions.begin_put(2, &mut second);
        assert_eq!(versions.check(2, Some(1), &first), Answer::Right);
        assert_eq!(versions.check(2, Some(1), &second), Answer::Right);
        versions.end_put(2);
        assert_eq!(versions.check(2, Some(2), &first), Answer::Stale);
        assert_eq!(versions.check(3, Some(1), &first), Answer::Wrong);
        second[99] ^= 1;
        assert_eq!(versions.check(2, Some(2), &second), Answer::Wrong);
    }

    #[test]
    fn versions_saved_are_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("versions");
        let versions = Versions::new(3, 3);
        versions.begin_put(0, &mut [0; 8]);
        versions.end_put(0);
        versions.remove(1);
        versions.save(&path).unwrap();
        let versions = Versions::load(3, &path).unwrap();
        assert_eq!((versions.len(), versions.live()), (3, 1));
        assert_eq!((versions.least(0), versions.least(1), versions.least(2)), (Some(1), None, None));
    }

    #[test]
    fn keys_differ_and_are_in_no_order() {
        let keys: Vec<_> = (0..100).map(key).collect();
        assert!(!keys.is_sorted());
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), 100);
    }
}
