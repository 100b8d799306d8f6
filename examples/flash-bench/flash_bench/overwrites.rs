//! Which keys are overwritten.

use core::fmt;

use coldpress_examples::rng::Rng;
use coldpress_examples::zipf::Zipf;
use serde::Serialize;

/// The exponent of the skewed law.
const ALPHA: f64 = 0.99;
/// One key of so many takes all overwrites of the static law.
const BUSY_PART: usize = 10;

/// The law of the overwrites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Law {
    /// Every key equally often.
    Uniform,
    /// By Zipf's law with an exponent of 0.99; the ranks are scattered over the keys.
    Zipf,
    /// A random tenth of the keys equally often, the others never.
    Static,
}

impl Law {
    pub(crate) const ALL: [Self; 3] = [Self::Uniform, Self::Zipf, Self::Static];
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uniform => "uniform overwrites",
            Self::Zipf => "overwrites by zipf 0.99",
            Self::Static => "overwrites, 90 % of the keys static",
        })
    }
}

/// Draws the keys of a run.
#[derive(Debug)]
pub(crate) struct Draws {
    law: Law,
    rng: Rng,
    zipf: Zipf,
    /// The keys in a random order.
    order: Vec<u32>,
}

impl Draws {
    /// For keys below this number.
    pub(crate) fn new(law: Law, keys: u32) -> Self {
        let mut order: Vec<u32> = (0..keys).collect();
        let mut shuffle = Rng::new(2, u64::from(keys));
        for at in (1..order.len()).rev() {
            order.swap(at, place(shuffle.below(at as u64 + 1)));
        }
        let zipf = Zipf::new(u64::from(keys), ALPHA);
        Self { law, rng: Rng::new(1, u64::from(keys)), zipf, order }
    }

    /// A key to overwrite.
    pub(crate) fn overwritten(&mut self) -> u32 {
        match self.law {
            Law::Uniform => self.any(),
            Law::Zipf => self.order[place(self.zipf.draw(&mut self.rng))],
            Law::Static => {
                let busy = (self.order.len() / BUSY_PART).max(1);
                self.order[place(self.rng.below(busy as u64))]
            }
        }
    }

    /// The keys that are overwritten most often, at most so many.
    pub(crate) fn most_frequent(&self, keys: usize) -> impl Iterator<Item = u32> + use<> {
        self.order.clone().into_iter().take(keys)
    }

    /// A key, each equally often.
    pub(crate) fn any(&mut self) -> u32 {
        u32::try_from(self.rng.below(self.order.len() as u64)).unwrap_or(0)
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_drawn_as_often_as_their_law_says() {
        let drawn = |law| {
            let mut draws = Draws::new(law, 100);
            let mut counts = vec![0u32; 100];
            (0..10_000).for_each(|_| counts[draws.overwritten() as usize] += 1);
            counts.sort_unstable();
            counts
        };
        let uniform = drawn(Law::Uniform);
        assert!(uniform[0] > 50 && uniform[99] < 150, "{uniform:?}");
        let zipf = drawn(Law::Zipf);
        assert!((1_700..2_100).contains(&zipf[99]) && zipf[50] > 10, "{zipf:?}");
        let still = drawn(Law::Static);
        assert!(still[89] == 0 && still[90] > 800, "{still:?}");
    }
}
