//! The identity of a key on media that store keys as they are.
//!
//! ```text
//! key of up to 7 bytes   length │ key, filled up with zeros: 7 │ 32 bits of its hash
//! longer                 FF, or FE for a piece of a long value │ 88 bits of its hash
//! ```
//! The hash is SipHash-1-3 with 128 bits (Aumasson and Bernstein, INDOCRYPT 2012) under the secret of the store. The place of
//! a key in the index comes from the last 32 bits of its identity, so that nobody who chooses keys can choose their places.

use core::fmt;
use core::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::header::HASH_KEY_BYTES;
use super::pieces::PIECE_PREFIX;
use super::place::KeyHash;

/// Keys up to this length are their own identity: no two of them ever meet.
pub const KEY_BYTES_EXACT: usize = 7;
/// Marks a hashed identity: no length of a short key.
const HASHED: u8 = 0xFF;
/// Marks the hashed identity of a piece of a long value.
const HASHED_PIECE: u8 = 0xFE;
/// Tells whether an identity is that of a piece of a long value. It looks only at bytes that come from no hash.
#[must_use]
pub fn is_piece_identity(hash: &KeyHash) -> bool {
    let [first, a, b, c, ..] = hash.0;
    let is_exact = usize::from(first) <= KEY_BYTES_EXACT && first >= 3;
    first == HASHED_PIECE || (is_exact && [a, b, c] == PIECE_PREFIX)
}

/// The secret of a store: without it nobody can tell which keys collide in the index. Neither `Debug` nor defmt shows its bytes.
///
/// ```
/// use coldpress_core::format::Secret;
/// assert_eq!(format!("{:?}", Secret::new([7; 16])), "Secret");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; HASH_KEY_BYTES]);

impl Secret {
    /// Makes a secret of these bytes, which must be random and differ from device to device.
    #[must_use]
    pub const fn new(bytes: [u8; HASH_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the header of the store.
    #[must_use]
    pub const fn bytes(self) -> [u8; HASH_KEY_BYTES] {
        self.0
    }

    /// Computes the identity of a key: for keys up to [`KEY_BYTES_EXACT`] bytes the key itself, for longer ones a hash. A
    /// longer key is compared byte by byte before anything is overwritten, so two that meet are an error, never a mix-up.
    #[must_use]
    pub fn identity(&self, key: &[u8]) -> KeyHash {
        let mut hashing = IdentityHasher::new(self, key.len());
        hashing.take(key);
        hashing.finish()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Secret {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Secret");
    }
}

/// The identity of a key that comes in pieces.
pub struct IdentityHasher {
    /// Length and first bytes of the key.
    short: [u8; 1 + KEY_BYTES_EXACT],
    len: usize,
    at: usize,
    hasher: SipHasher13,
}

impl IdentityHasher {
    /// Begins the identity of a key of so many bytes.
    #[must_use]
    pub fn new(secret: &Secret, len: usize) -> Self {
        let hasher = SipHasher13::new_with_key(&secret.0);
        Self { short: [0; 1 + KEY_BYTES_EXACT], len, at: 0, hasher }
    }

    /// Takes the next bytes of the key.
    pub fn take(&mut self, piece: &[u8]) {
        self.hasher.write(piece);
        for byte in piece.iter().take(KEY_BYTES_EXACT) {
            self.at += 1;
            if let Some(place) = self.short.get_mut(self.at) {
                *place = *byte;
            }
        }
    }

    /// Gives the identity, once all bytes were taken.
    #[must_use]
    pub fn finish(mut self) -> KeyHash {
        let hash = self.hasher.finish128().as_bytes();
        let [_, a, b, c, ..] = self.short;
        let mut identity = [0; 12];
        let (first, from_hash) = match u8::try_from(self.len) {
            Ok(len) if self.len <= KEY_BYTES_EXACT => (len, 1 + KEY_BYTES_EXACT),
            _ if [a, b, c] == PIECE_PREFIX => (HASHED_PIECE, 1),
            _ => (HASHED, 1),
        };
        self.short[0] = first;
        let bytes = self.short.iter().take(from_hash).chain(&hash);
        for (to, from) in identity.iter_mut().zip(bytes) {
            *to = *from;
        }
        KeyHash(identity)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    const SECRET: Secret = Secret::new([7; 16]);

    #[test]
    fn key_in_pieces_has_the_identity_of_the_whole() {
        let key: [u8; 40] = core::array::from_fn(|at| at as u8);
        for len in 0..40 {
            for cut in 0..=len {
                let mut hashing = IdentityHasher::new(&SECRET, len);
                hashing.take(&key[..cut]);
                hashing.take(&key[cut..len]);
                assert_eq!(hashing.finish(), SECRET.identity(&key[..len]), "{len} bytes cut at {cut}");
            }
        }
    }

    #[test]
    fn short_key_is_in_its_identity_whatever_the_secret() {
        for secret in [SECRET, Secret::new([0; 16])] {
            for len in 0..=KEY_BYTES_EXACT {
                let identity = secret.identity(&b"\0sensor"[..len]).0;
                assert_eq!((usize::from(identity[0]), &identity[1..=len]), (len, &b"\0sensor"[..len]));
                assert!(identity[1 + len..=KEY_BYTES_EXACT].iter().all(|byte| *byte == 0));
            }
        }
        assert_ne!(SECRET.identity(b"a"), SECRET.identity(b"a\0"));
    }

    #[test]
    fn every_bit_of_the_secret_moves_the_places_of_keys() {
        let place = |secret: &Secret, key: &[u8]| secret.identity(key).0.last_chunk::<4>().copied();
        for key in [b"a".as_slice(), b"sensors", b"sensor/1/calibration"] {
            for bit in 0..128 {
                let mut bytes = SECRET.bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(place(&Secret::new(bytes), key), place(&SECRET, key), "bit {bit}");
            }
        }
    }

    #[test]
    fn piece_of_a_long_value_is_known_by_its_identity_alone() {
        let name = |key: &[u8]| [&PIECE_PREFIX, [1, 0, 0].as_slice(), key].concat();
        for seed in 0..=255 {
            let secret = Secret::new([seed; 16]);
            for len in 0..40 {
                let key = vec![0xFF; len];
                assert!(is_piece_identity(&secret.identity(&name(&key))), "{len} bytes");
                assert!(!is_piece_identity(&secret.identity(&key)), "{len} bytes");
                let near = [b"\xFFcq".as_slice(), &key].concat();
                assert!(!is_piece_identity(&secret.identity(&near)), "{len} bytes");
            }
        }
    }
}
