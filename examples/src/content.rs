//! The contents of values: bytes that follow from key and version alone, so that every read can be checked.
//!
//! A trace says how long a value was, not what was in it. Random bytes would make every codec look useless, and zeros would
//! make it look like magic. So values are made like the pages of a real system, in blocks of 4 KiB. Most are rows of a table
//! (ids, times, words, a digest), some are text, some noise as of compressed data, and a few zeros. The mix is set so that LZ4
//! halves it, as it does with pages; the test below states the measured ratio and fails where it drifts.
//!
//! A block is made 64 bytes at a time from its own seed: no state is carried, so making and checking run at
//! several gigabytes a second and a value is never held twice.

use crate::rng::{Rng, mix};

const BLOCK_BYTES: usize = 4096;
const ROW_BYTES: usize = 64;
const ROW_WORDS: usize = ROW_BYTES / 8;

/// Makes and checks the bytes of values.
#[derive(Debug, Clone, Copy)]
pub struct Content {
    seed: u64,
}

/// The kind of a block of 4 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Table,
    Text,
    Noise,
    Zeros,
}

/// A block's seed and kind, from which its rows follow.
struct Block {
    kind: Kind,
    seed: u64,
}

impl Content {
    /// Makes the content that belongs to a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Fills `out` with the value of that length.
    pub fn fill(&self, key: u64, version: u32, out: &mut [u8]) {
        for (block, part) in self.blocks(key, version).zip(out.chunks_mut(BLOCK_BYTES)) {
            let mut rows = part.chunks_exact_mut(ROW_BYTES);
            let mut at = 0;
            for row in rows.by_ref() {
                row.copy_from_slice(&block.row(at));
                at += 1;
            }
            let tail = rows.into_remainder();
            tail.copy_from_slice(&block.row(at)[..tail.len()]);
        }
    }

    /// Says whether `bytes` are the value of that key and version, every one of them.
    #[must_use]
    pub fn matches(&self, key: u64, version: u32, bytes: &[u8]) -> bool {
        self.blocks(key, version).zip(bytes.chunks(BLOCK_BYTES)).all(|(block, part)| {
            part.chunks(ROW_BYTES).zip(0..).all(|(row, at)| {
                let made = block.row(at);
                row == &made[..row.len()]
            })
        })
    }

    fn blocks(&self, key: u64, version: u32) -> impl Iterator<Item = Block> {
        let value_seed = mix(self.seed ^ mix(key) ^ u64::from(version).rotate_left(40));
        (0u64..).map(move |at| Block::new(mix(value_seed ^ at.wrapping_mul(0xD6E8_FEB8_6659_FD93))))
    }
}

impl Block {
    fn new(seed: u64) -> Self {
        let kind = match seed >> 60 {
            0..=8 => Kind::Table,
            9..=12 => Kind::Text,
            13..=14 => Kind::Noise,
            _ => Kind::Zeros,
        };
        Self { kind, seed: mix(seed) }
    }

    /// Makes one row of 64 bytes.
    #[inline]
    fn row(&self, at: u64) -> [u8; ROW_BYTES] {
        let mut rng = Rng::new(self.seed, at);
        let mut words: [u64; ROW_WORDS] = match self.kind {
            Kind::Table => {
                let pick = rng.word();
                let id = (self.seed & 0x00FF_FFFF_FFFF) + at;
                let time = 0x0000_018F_0000_0000 | (self.seed >> 32 & 0x00FF_FFFF) << 8 | (pick & 0xFF);
                let digest = rng.word();
                [id, time, word(pick >> 8), word(pick >> 16), pick >> 56, 0, word(pick >> 24), digest]
            }
            Kind::Text => {
                let pick = rng.word();
                core::array::from_fn(|place| word(pick >> (place * 8)))
            }
            Kind::Noise => core::array::from_fn(|_| rng.word()),
            Kind::Zeros => [0; ROW_WORDS],
        };
        let mut row = [0; ROW_BYTES];
        if at == 0 {
            // Even a block of zeros shows its key and version.
            words[0] = self.seed;
        }
        for (bytes, word) in row.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        row
    }
}

/// Gives one of 64 words of eight letters, of which texts and the text columns of tables are made.
#[inline]
fn word(pick: u64) -> u64 {
    const WORDS: &[[u8; 8]; 64] = &words();
    let at = usize::try_from(pick & 63).unwrap_or(0);
    u64::from_le_bytes(WORDS[at])
}

/// Makes the words of [`word`]: letters in which vowels and consonants take turns, and a blank.
const fn words() -> [[u8; 8]; 64] {
    let mut words = [[b' '; 8]; 64];
    let mut at = 0;
    while at < words.len() {
        let mut bits = mix(at as u64 + 1);
        let mut letter = 0;
        while letter < 7 {
            let letters: &[u8; 16] = if letter % 2 == 0 { b"bcdfghklmnprstvw" } else { b"aeiouaeioueaoeia" };
            words[at][letter] = letters[(bits & 15) as usize];
            bits >>= 4;
            letter += 1;
        }
        at += 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use coldpress_core::codec::CodecId;
    use coldpress_std::codec::CodecSet;

    use super::*;

    const CONTENT: Content = Content::new(1);

    fn value(key: u64, version: u32, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        CONTENT.fill(key, version, &mut out);
        out
    }

    #[test]
    fn value_of_any_length_is_a_prefix_of_a_longer_one() {
        let long = value(7, 3, 9000);
        for len in [0, 1, 63, 64, 65, 512, 4095, 4096, 4097, 8999, 9000] {
            assert!(CONTENT.matches(7, 3, &long[..len]), "{len}");
            assert_eq!(value(7, 3, len), long[..len]);
        }
    }

    #[test]
    fn any_byte_changed_is_noticed() {
        let mut bytes = value(9, 1, 4200);
        for at in 0..bytes.len() {
            bytes[at] ^= 0x10;
            assert!(!CONTENT.matches(9, 1, &bytes), "byte {at}");
            bytes[at] ^= 0x10;
        }
        assert!(CONTENT.matches(9, 1, &bytes));
    }

    #[test]
    fn other_key_version_or_seed_is_another_value() {
        let bytes = value(9, 1, 100);
        assert!(!CONTENT.matches(9, 2, &bytes));
        assert!(!CONTENT.matches(8, 1, &bytes));
        assert!(!Content::new(2).matches(9, 1, &bytes));
    }

    #[test]
    fn pages_compressed_halve_with_lz4() {
        let mut codecs = CodecSet::new();
        let mut out = Vec::new();
        let mut drifted = false;
        for (len, expected) in [(1024, 1.4..1.6), (4096, 1.7..1.9), (16_384, 1.9..2.1), (65_536, 2.0..2.3)] {
            let (mut bytes_in, mut bytes_out) = (0.0, 0.0);
            for key in 0..(1 << 22) / len as u64 {
                codecs.encode(CodecId::Lz4, &value(key, 1, len), &mut out);
                bytes_in += len as f64;
                bytes_out += out.len() as f64;
            }
            let ratio = bytes_in / bytes_out;
            println!("values of {len} bytes: LZ4 ratio {ratio:.2}");
            drifted |= !expected.contains(&ratio);
        }
        assert!(!drifted, "a ratio is out of its range");
    }
}
