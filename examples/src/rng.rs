//! A small generator of pseudo-random numbers: the same numbers for the same seed on every machine.

/// Spreads every bit of a word over all of them (the finaliser of SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
#[must_use]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// SplitMix64: one addition and one [`mix`] a number.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

    /// Starts the sequence that belongs to a seed and a stream, such as the number of a request.
    #[must_use]
    pub const fn new(seed: u64, stream: u64) -> Self {
        Self { state: mix(seed ^ mix(stream.wrapping_add(Self::STEP))) }
    }

    /// Gives the next 64 bits.
    pub const fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(Self::STEP);
        mix(self.state)
    }

    /// Gives a number in `0..bound`, zero for a bound of zero; its bias is below `bound` ÷ 2⁶⁴.
    pub fn below(&mut self, bound: u64) -> u64 {
        let scaled = u128::from(self.word()) * u128::from(bound);
        u64::try_from(scaled >> 64).unwrap_or(0)
    }

    /// Gives a number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        // 53 bits: every one of them is exact in a double.
        const SCALE: f64 = 1.0 / 9_007_199_254_740_992.0;
        (self.word() >> 11) as f64 * SCALE
    }

    /// Picks an item by its weight; `None` where all weights are zero.
    pub fn pick<'a, T>(&mut self, items: &'a [(T, u32)]) -> Option<&'a T> {
        self.pick_at(items).and_then(|at| items.get(at)).map(|(item, _)| item)
    }

    /// Picks the place of an item by its weight; `None` where all weights are zero.
    pub fn pick_at<T>(&mut self, items: &[(T, u32)]) -> Option<usize> {
        let total: u64 = items.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = self.below(total);
        items.iter().position(|(_, weight)| match left.checked_sub(u64::from(*weight)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_and_stream_give_the_same_numbers() {
        let words = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            [rng.word(), rng.word(), rng.word()]
        };
        assert_eq!(words(1, 2), words(1, 2));
        assert_ne!(words(1, 2), words(2, 1));
        assert_ne!(words(1, 2), words(1, 3));
    }

    #[test]
    fn weighted_items_come_as_often_as_they_weigh() {
        let mut rng = Rng::new(7, 0);
        let items = [('a', 650), ('b', 0), ('c', 350)];
        let a = (0..10_000).filter(|_| rng.pick(&items) == Some(&'a')).count();
        assert!((6300..6700).contains(&a), "{a}");
        assert_eq!(rng.pick(&[('a', 0)]), None);
        assert_eq!(rng.pick::<char>(&[]), None);
    }
}
