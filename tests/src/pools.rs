//! Keys for the suites of the pools.

use coldpress_std::pool::HotKey;

/// The key of a number, as evenly spread as a hash is.
#[must_use]
pub fn key(number: u64) -> HotKey {
    let mut hash = [0; 12];
    for (at, part) in (0..).zip(hash.chunks_exact_mut(4)) {
        // The finaliser of splitmix64: no pattern in the numbers may show in the partitions.
        let mut mixed = number.wrapping_mul(3).wrapping_add(at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, d, ..] = (mixed >> 32).to_le_bytes();
        part.copy_from_slice(&[a, b, c, d]);
    }
    HotKey { tier: 0, hash }
}
