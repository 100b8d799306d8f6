//! The keys that came into the hot tier lately, as fingerprints.
//!
//! It plays the part of the ghost queue of S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023). A key
//! that comes for the second time within the memory of this table counts as frequent: by a put, or by a read that a lower tier
//! answers. A read that the hot tier answers is not noted. A scan brings each key once, so it makes none frequent. The table is
//! direct-mapped: a new fingerprint takes the place of the one that was there.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use coldpress_core::format::KeyHash;

/// The fewest fingerprints: 4 KiB.
const FINGERPRINTS_MIN: u64 = 1 << 10;
/// The most fingerprints: 64 MiB.
const FINGERPRINTS_MAX: u64 = 1 << 24;

/// A table of fingerprints that any thread may use.
#[derive(Debug)]
pub(super) struct RecentKeys {
    fingerprints: Box<[AtomicU32]>,
}

impl RecentKeys {
    /// Makes a table for at least so many keys, within the two limits.
    pub(super) fn new(keys: u64) -> Self {
        let count = keys.clamp(FINGERPRINTS_MIN, FINGERPRINTS_MAX).next_power_of_two();
        Self { fingerprints: (0..count).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Notes that a key comes into the hot tier; tells whether it was noted lately.
    pub(super) fn note(&self, KeyHash(hash): &KeyHash) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *hash;
        let index = u32::from_le_bytes([a, b, c, d]) as usize;
        // Zero stands for none.
        let fingerprint = u32::from_le_bytes([e, f, g, h]).max(1);
        // The length is a power of two, and at least 1.
        let slot = self.fingerprints.get(index & (self.fingerprints.len() - 1));
        slot.is_some_and(|slot| slot.swap(fingerprint, Relaxed) == fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> KeyHash {
        let mut hash = KeyHash::default();
        let bytes = [number.wrapping_mul(0x9E37_79B9), !number, number].map(u32::to_le_bytes).concat();
        hash.0.copy_from_slice(&bytes);
        hash
    }

    #[test]
    fn second_use_is_frequent_and_a_scan_makes_nothing_frequent() {
        let recent = RecentKeys::new(4_096);
        assert!(!recent.note(&hash(1)) && recent.note(&hash(1)) && recent.note(&hash(1)));
        let frequent = (2..100_000).filter(|number| recent.note(&hash(*number))).count();
        assert_eq!(frequent, 0);
        assert!(!recent.note(&hash(1)), "the scan was longer than the table remembers");
    }
}
