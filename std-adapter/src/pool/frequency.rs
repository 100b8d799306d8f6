//! How often values are asked for: by that a value enters the pools.
//!
//! An insert costs several times what a read of the log does: it takes pages, evicts, and keeps the lock meanwhile. It pays only for a
//! value that is read again before it is evicted. So a sketch counts all lookups, hits and misses, by key: each key has two counters of
//! a block, of which the lower one counts (count–min, Cormode and Muthukrishnan, J. Algorithms 2005). Counters are halved in turn, so
//! that they show recent lookups (TinyLFU, Einziger et al., ACM ToS 2017).
//!
//! While the pools have space, a value enters at its second lookup. In full pools it takes the place of another one. How often the
//! other one is asked for is not known at that point, so the rule is a limit on the churn: at most a sixteenth of the misses enter. While
//! that limit is reached, the count that a value needs goes up; it goes down again while fewer than one in 128 enter. Under uniform reads
//! nothing is gained by an insert, and 15 in 16 are saved; under skewed ones the keys that are read often pass any count.

/// Counters of a block; a key's counters lie in one line of the processor's cache.
const BLOCK_COUNTERS: usize = 16;

/// Lookups after which the next block is halved. There are four counters for each object that the pools can hold, so each is halved
/// once in half as many lookups as there are objects. A single lookup is forgotten at the second halving: a value that comes back
/// later than that might have been evicted. With more lookups, keys that share their counters by chance would pass for keys that come
/// back.
const LOOKUPS_PER_HALVING: u32 = 2;

/// A lookup adds two to a counter, so that one halving leaves a trace of it.
const LOOKUP: u8 = 2;

/// A count goes no higher.
const COUNT_MAX: u8 = 15;

/// The lookup at which a value enters pools that have space.
const LEVEL_MIN: u8 = 2;

/// Misses after which the level may change.
const EPOCH_MISSES: u32 = 1_024;

/// Inserts into full pools for so many misses: no more than the one, and the level goes down where they are fewer than the other.
const INSERTS_MAX: u32 = EPOCH_MISSES / 16;
const INSERTS_FEW: u32 = EPOCH_MISSES / 128;

/// The sketch of one partition of the pools.
///
/// # Bounds
/// Four bytes for each object that the partition can hold, up to the next power of two. A lookup reads one block, and every other
/// one halves another block.
#[derive(Debug)]
pub(super) struct Frequency {
    counters: Vec<u8>,
    blocks: u32,
    lookups: u32,
    next_halved: u32,
    /// The count that a value needs to enter full pools.
    level: u8,
    /// Misses and inserts since the level was last looked at.
    misses: u32,
    inserts: u32,
}

impl Frequency {
    /// Makes one for so many objects.
    pub(super) fn new(objects: u32) -> Self {
        let blocks = objects.div_ceil(4).next_power_of_two();
        // All zero: the system gives memory to the parts in use.
        let counters = vec![0; blocks as usize * BLOCK_COUNTERS];
        Self { counters, blocks, lookups: 0, next_halved: 0, level: LEVEL_MIN, misses: 0, inserts: 0 }
    }

    fn block(&mut self, number: u32) -> &mut [u8] {
        let start = number as usize * BLOCK_COUNTERS;
        self.counters.get_mut(start..start + BLOCK_COUNTERS).unwrap_or_default()
    }

    /// Counts a lookup of the key with these bits; returns how many there were lately.
    pub(super) fn count(&mut self, bits: u64) -> u8 {
        // The low bits name the bucket of the key in a map; the product depends on all of them in its high ones.
        let [a, b, low, mid, high, top, ..] = bits.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        let (block, pair) = (u32::from_be_bytes([low, mid, high, top]), [a, b]);
        let places = pair.map(|byte| usize::from(byte) % BLOCK_COUNTERS);
        let block = self.block(block & (self.blocks - 1));
        let least = places.iter().filter_map(|place| block.get(*place)).min().copied().unwrap_or(0);
        let counted = least.saturating_add(LOOKUP).min(COUNT_MAX * LOOKUP);
        for place in places {
            if let Some(counter) = block.get_mut(place) {
                *counter = counted.max(*counter);
            }
        }
        self.lookups = self.lookups.wrapping_add(1);
        if self.lookups.is_multiple_of(LOOKUPS_PER_HALVING) {
            let next = self.next_halved;
            self.block(next).iter_mut().for_each(|counter| *counter /= 2);
            self.next_halved = (next + 1) & (self.blocks - 1);
        }
        counted.div_ceil(LOOKUP)
    }

    /// Tells whether a value that was looked up so often, and is not in the pools, is to be put there.
    pub(super) fn wants(&mut self, count: u8, is_full: bool) -> bool {
        self.misses += 1;
        if self.misses >= EPOCH_MISSES {
            if self.inserts >= INSERTS_MAX {
                self.level = self.level.saturating_add(1).min(COUNT_MAX);
            } else if self.inserts < INSERTS_FEW {
                self.level = self.level.saturating_sub(1).max(LEVEL_MIN);
            }
            (self.misses, self.inserts) = (0, 0);
        }
        if is_full { count >= self.level && self.inserts < INSERTS_MAX } else { count >= LEVEL_MIN }
    }

    /// Counts a value that was put into full pools.
    pub(super) fn inserted(&mut self, is_full: bool) {
        self.inserts = self.inserts.saturating_add(u32::from(is_full));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of a keyed hash.
    fn bits(key: u64) -> u64 {
        let mixed = (key ^ 0xA5A5).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ mixed >> 29).wrapping_mul(0x94D0_49BB_1331_11EB)
    }

    /// Looks keys up in pools that are full and have none of them; returns how many of the last looks wanted an insert.
    fn wanted(frequency: &mut Frequency, looks: u32, mut key: impl FnMut(u32) -> u64) -> u32 {
        let mut wanted = 0;
        for look in 0..looks {
            let count = frequency.count(bits(key(look)));
            let is_wanted = frequency.wants(count, true);
            if is_wanted {
                frequency.inserted(true);
            }
            wanted += u32::from(is_wanted && look >= looks / 2);
        }
        wanted
    }

    #[test]
    fn scan_past_pools_with_space_enters_seldom() {
        let mut frequency = Frequency::new(1_000);
        let looks = 0..100_000;
        let entered = looks.filter(|key| {
            let count = frequency.count(bits(*key));
            frequency.wants(count, false)
        });
        let entered = entered.count();
        assert!(entered < 15_000, "{entered} of 100000 keys that are looked up once");
    }

    #[test]
    fn second_lookup_of_a_value_enters_pools_with_space() {
        let mut frequency = Frequency::new(1_000);
        let mut entered = 0;
        for round in 1..=3 {
            for key in 0..500 {
                let count = frequency.count(bits(key));
                assert!(count >= round.min(LEVEL_MIN));
                entered += u32::from(round == 1 && frequency.wants(count, false));
                assert!(round == 1 || frequency.wants(count, false));
            }
        }
        // Two keys share both counters now and then.
        assert!(entered < 25, "{entered} of 500 entered at their first lookup");
    }

    #[test]
    fn uniform_lookups_in_full_pools_insert_a_sixteenth_at_most() {
        for keys in [10, 2_000, 20_000, 200_000] {
            let mut frequency = Frequency::new(1_000);
            let mut state = 7;
            let uniform = |_| {
                state = bits(state);
                state % keys
            };
            let wanted = wanted(&mut frequency, 400_000, uniform);
            assert!(wanted <= 200_000 / 16 + INSERTS_MAX, "{wanted} of 200000 lookups of {keys} keys");
        }
    }

    #[test]
    fn key_read_often_enters_full_pools_among_many_others() {
        let mut frequency = Frequency::new(1_000);
        let mut entered = 0;
        for look in 0..200_000u64 {
            let key = if look % 50 == 0 { 0 } else { look };
            let count = frequency.count(bits(key));
            if frequency.wants(count, true) {
                frequency.inserted(true);
                entered += u32::from(key == 0 && look > 100_000);
            }
        }
        assert_eq!(entered, 1_999, "each lookup of the key wants it");
    }

    #[test]
    fn count_fades_once_a_key_is_looked_up_no_more() {
        let mut frequency = Frequency::new(1_000);
        for _ in 0..100 {
            frequency.count(bits(1));
        }
        assert_eq!(frequency.count(bits(1)), COUNT_MAX);
        for other in 0..8_000 {
            frequency.count(bits(2 + other % 4));
        }
        assert!(frequency.count(bits(1)) <= 2);
    }

    #[test]
    fn sketch_of_any_number_of_objects_counts() {
        for objects in [0, 1, 7, 9, 1_000, 1 << 20] {
            let mut frequency = Frequency::new(objects);
            assert!(frequency.counters.len() >= 4 * objects as usize);
            assert_eq!((frequency.count(1), frequency.count(1)), (1, 2), "{objects} objects");
        }
    }
}
