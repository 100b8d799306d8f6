//! The identity of a key: a keyed hash, so that nobody outside can make two keys meet.
//!
//! SipHash-2-4 with 128 bits (Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012), cut to the 96
//! bits that footers hold, under a key that is drawn at random when a store is made.

use core::hash::Hasher;

use coldpress_core::format::{HASH_KEY_BYTES, KeyHash};
use siphasher::sip128::{Hasher128, SipHasher24};

/// Hashes a key.
pub(crate) fn key_hash(hash_key: &[u8; HASH_KEY_BYTES], key: &[u8]) -> KeyHash {
    let mut hasher = SipHasher24::new_with_key(hash_key);
    hasher.write(key);
    let bytes = hasher.finish128().as_bytes();
    let mut hash = KeyHash::default();
    hash.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    hash
}

/// The partition of a key: by bytes of the hash that neither the stripes nor the maps look at.
pub(crate) fn partition_of(hash: &KeyHash, partitions: usize) -> usize {
    let [.., a, b, c, _] = hash.0;
    (usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_that_of_the_reference_vector_cut_to_96_bits() {
        // vectors_sip128 of the reference implementation: key 00..0f, empty input.
        let key: [u8; 16] = core::array::from_fn(|at| at as u8);
        let expected = [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14];
        assert_eq!(key_hash(&key, b"").0, expected);
    }

    #[test]
    fn keys_spread_over_partitions() {
        let mut counts = [0u32; 3];
        for n in 0..3000u32 {
            counts[partition_of(&key_hash(&[7; 16], &n.to_le_bytes()), 3)] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
