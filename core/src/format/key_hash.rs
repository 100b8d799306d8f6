//! The identity of a key where only its hash is stored, and the identities of pieces: 96 bits that footers hold.
//!
//! SipHash-2-4 with 128 bits (Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012), cut to 96 bits, under
//! the secret of the store: nobody without the secret can make two keys collide.

use core::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::header::HASH_KEY_BYTES;
use super::pieces::{is_piece_expiry, piece_parts};
use super::place::KeyHash;
use super::record::Record;

/// Hashes a key under the secret of a store.
#[must_use]
pub fn key_hash(hash_key: &[u8; HASH_KEY_BYTES], key: &[u8]) -> KeyHash {
    let mut hasher = SipHasher24::new_with_key(hash_key);
    hasher.write(key);
    let bytes = hasher.finish128().as_bytes();
    let mut hash = KeyHash::default();
    hash.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    hash
}

/// The partition of a key among so many: by bytes of the hash that an index in memory need not look at.
#[must_use]
pub fn partition_of(hash: &KeyHash, partitions: usize) -> usize {
    let [.., a, b, c, _] = hash.0;
    (usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16) % partitions.max(1)
}

/// The hash of a piece. It is made from the hash of its value, so that the pieces of a key can be found by its hash alone; and
/// under a key of its own, so that no key of a user has it.
#[must_use]
pub fn piece_hash(hash_key: &[u8; HASH_KEY_BYTES], value: &KeyHash, generation: u8, index: u16) -> KeyHash {
    let [low, high] = index.to_le_bytes();
    let mut name = [0; 15];
    name.iter_mut().zip(value.0.iter().chain(&[generation, low, high])).for_each(|(to, from)| *to = *from);
    key_hash(&hash_key.map(|byte| byte ^ 0x5C), &name)
}

/// The hash of the key of a record that was read: where it is a piece, that of the piece.
#[must_use]
pub fn record_hash(hash_key: &[u8; HASH_KEY_BYTES], record: &Record<'_>) -> KeyHash {
    stored_hash(hash_key, record.key, record.header.expires_s)
}

/// The hash of the key that a record holds: where its expiry says that it is a piece, that of the piece.
#[must_use]
pub fn stored_hash(hash_key: &[u8; HASH_KEY_BYTES], key: &[u8], expires_s: Option<u32>) -> KeyHash {
    match piece_parts(key).filter(|_| is_piece_expiry(expires_s)) {
        Some((generation, index, key)) => piece_hash(hash_key, &key_hash(hash_key, key), generation, index),
        None => key_hash(hash_key, key),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

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

    #[test]
    fn piece_hashes_meet_no_others() {
        let key = [9; HASH_KEY_BYTES];
        let value = key_hash(&key, b"key");
        let mut all = std::collections::BTreeSet::from([value]);
        for generation in 0..4 {
            for index in [0, 1, 255, 256, u16::MAX] {
                assert!(all.insert(piece_hash(&key, &value, generation, index)));
            }
        }
    }
}
