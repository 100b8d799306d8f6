//! A quick hash of the state that a power cut leaves. The searches hash whole media, and many more of them than they mount.

use core::hash::Hasher;

/// Odd and without a pattern: bits of the golden ratio.
const FACTOR: u128 = 0x9E37_79B9_7F4A_7C15;

/// Folds eight bytes at a time by a multiplication.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Digest(u64);

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(last));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        let folded = u128::from(self.0.rotate_left(23) ^ number ^ 0xA076_1D64_78BD_642F) * FACTOR;
        self.0 = (folded >> 64) as u64 ^ folded as u64;
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        let mut last = *self;
        last.write_u64(0);
        last.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::default();
        digest.write(bytes);
        digest.finish()
    }

    #[test]
    fn digests_of_pairs_of_flipped_bits_are_distinct() {
        const BITS: usize = 100 * 8;
        let mut seen = HashSet::from([of(&[0; 100])]);
        for first in 0..BITS {
            for second in first..BITS {
                let mut bytes = [0; 100];
                bytes[first / 8] ^= 1 << (first % 8);
                if first != second {
                    bytes[second / 8] ^= 1 << (second % 8);
                }
                assert!(seen.insert(of(&bytes)), "bits {first} and {second}");
            }
        }
        assert!((0..100).all(|len| seen.insert(of(&[0; 100][..len]))));
    }
}
