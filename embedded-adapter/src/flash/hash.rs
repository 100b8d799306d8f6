//! The identity of a key on media that store keys as they are.

use core::hash::Hasher as _;

use coldpress_core::log::KeyHash;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Keys up to this length are their own identity: no two of them ever meet.
pub const KEY_BYTES_EXACT: usize = 11;
/// Marks a hashed identity: no length of a short key.
const HASHED: u8 = 0xFF;
/// Marks the hashed identity of a piece of a long value.
const HASHED_PIECE: u8 = 0xFE;
/// What the keys of pieces of long values begin with; no other key does.
pub(super) const PIECE_PREFIX: [u8; 3] = [0xFF, b'c', b'p'];

/// Tells whether an identity is that of a piece of a long value.
pub(super) fn is_piece(hash: &KeyHash) -> bool {
    let [first, a, b, c, ..] = hash.0;
    let is_exact = usize::from(first) <= KEY_BYTES_EXACT && first >= 3;
    first == HASHED_PIECE || (is_exact && [a, b, c] == PIECE_PREFIX)
}

/// Computes the identity of a key: for keys up to [`KEY_BYTES_EXACT`] bytes the key itself with its length; for longer
/// ones 88 bits of SipHash-1-3 (Aumasson and Bernstein, INDOCRYPT 2012) under a key of zeros.
///
/// A longer key is compared byte by byte before anything is overwritten, so two that meet are an error, never a mix-up.
///
/// ```
/// use coldpress_embedded::flash::key_hash;
/// assert_ne!(key_hash(b"a"), key_hash(b"a\0"));
/// assert_ne!(key_hash(b"sensor/1/calibration"), key_hash(b"sensor/2/calibration"));
/// ```
#[must_use]
pub fn key_hash(key: &[u8]) -> KeyHash {
    let mut hashing = Hashing::new(key.len());
    hashing.take(key);
    hashing.finish()
}

/// The identity of a key that comes in pieces.
pub(super) struct Hashing {
    short: [u8; 12],
    len: usize,
    at: usize,
    long: SipHasher13,
}

impl Hashing {
    pub(super) fn new(len: usize) -> Self {
        Self { short: [0; 12], len, at: 0, long: SipHasher13::new() }
    }

    pub(super) fn take(&mut self, piece: &[u8]) {
        if self.len > KEY_BYTES_EXACT {
            self.long.write(piece);
        }
        for byte in piece.iter().take(KEY_BYTES_EXACT) {
            self.at += 1;
            if let Some(place) = self.short.get_mut(self.at) {
                *place = *byte;
            }
        }
    }

    pub(super) fn finish(mut self) -> KeyHash {
        if self.len <= KEY_BYTES_EXACT {
            // Cannot be cut: the length is at most eleven.
            self.short[0] = self.len.to_le_bytes()[0];
            return KeyHash(self.short);
        }
        let hash = self.long.finish128().as_bytes();
        let [_, a, b, c, ..] = self.short;
        self.short[0] = if [a, b, c] == PIECE_PREFIX { HASHED_PIECE } else { HASHED };
        for (to, from) in self.short.iter_mut().skip(1).zip(hash) {
            *to = from;
        }
        KeyHash(self.short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_in_pieces_has_the_hash_of_the_whole() {
        let key: [u8; 40] = core::array::from_fn(|at| at as u8);
        for len in 0..40 {
            for cut in 0..=len {
                let mut hashing = Hashing::new(len);
                hashing.take(&key[..cut]);
                hashing.take(&key[cut..len]);
                assert_eq!(hashing.finish(), key_hash(&key[..len]), "{len} bytes cut at {cut}");
            }
        }
    }
}
