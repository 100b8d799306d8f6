//! Draws ranks by Zipf's law: rank k comes with a probability in proportion to 1 ÷ k^alpha.
//!
//! Rejection-inversion after Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone
//! discrete distributions" (ACM TOMACS 6(3), 1996): no table, so a million ranks cost no more than ten, and
//! about one draw in ten is repeated. An alpha of zero is the uniform law.

use crate::rng::Rng;

/// Zipf's law over `1..=ranks`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Zipf {
    ranks: f64,
    alpha: f64,
    area_first: f64,
    area_last: f64,
    squeeze: f64,
}

impl Zipf {
    /// Makes the law for at least one rank and an alpha of at least zero; other numbers are lifted to those.
    #[must_use]
    pub fn new(ranks: u64, alpha: f64) -> Self {
        let ranks = ranks.max(1) as f64;
        let alpha = if alpha.is_finite() { alpha.max(0.0) } else { 0.0 };
        let mut law = Self { ranks, alpha, area_first: 0.0, area_last: 0.0, squeeze: 0.0 };
        law.area_first = law.area(1.5) - 1.0;
        law.area_last = law.area(ranks + 0.5);
        law.squeeze = 2.0 - law.area_inverse(law.area(2.5) - law.density(2.0));
        law
    }

    /// Draws a rank, counted from zero: zero is the most frequent.
    ///
    /// # Bounds
    ///
    /// At most 64 tries; then the last candidate is taken, which happens once in about 10⁶⁰ draws.
    pub fn draw(&self, rng: &mut Rng) -> u64 {
        let mut rank = 1.0;
        for _ in 0..64 {
            let area = self.area_last + rng.unit() * (self.area_first - self.area_last);
            let place = self.area_inverse(area);
            rank = place.round().clamp(1.0, self.ranks);
            let is_within =
                rank - place <= self.squeeze || area >= self.area(rank + 0.5) - self.density(rank);
            if is_within {
                break;
            }
        }
        rank as u64 - 1
    }

    /// The density, not normalised: x^-alpha.
    fn density(&self, x: f64) -> f64 {
        (-self.alpha * x.ln()).exp()
    }

    /// An antiderivative of the density: (x^(1-alpha) - 1) / (1 - alpha), or ln x where alpha is one.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        let power = (1.0 - self.alpha) * log;
        if power.abs() > 1e-8 { power.exp_m1() / (1.0 - self.alpha) } else { log }
    }

    /// The inverse of [`Zipf::area`].
    fn area_inverse(&self, area: f64) -> f64 {
        // Rounding may carry the argument a hair under the pole of the logarithm.
        let inner = (area * (1.0 - self.alpha)).max(-1.0);
        if inner.abs() > 1e-8 { (inner.ln_1p() / (1.0 - self.alpha)).exp() } else { area.exp() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_drawn_follow_the_law_at_any_alpha() {
        for alpha in [0.0, 0.3048, 0.99, 1.0, 1.2117, 2.6774] {
            let ranks = 50u64;
            let law = Zipf::new(ranks, alpha);
            let mut counts = vec![0u32; ranks as usize];
            let mut rng = Rng::new(11, 0);
            let draws = 200_000;
            for _ in 0..draws {
                counts[law.draw(&mut rng) as usize] += 1;
            }
            let norm: f64 = (1..=ranks).map(|rank| (rank as f64).powf(-alpha)).sum();
            for (rank, count) in counts.iter().enumerate() {
                let expected = f64::from(draws) * ((rank + 1) as f64).powf(-alpha) / norm;
                let apart = (f64::from(*count) - expected).abs();
                assert!(
                    apart < 6.0 * expected.sqrt() + 6.0,
                    "alpha {alpha} rank {rank}: {count}, {expected}"
                );
            }
        }
    }

    #[test]
    fn law_at_its_edges_stays_in_range() {
        for (ranks, alpha) in [(0, 1.0), (1, 0.0), (2, 5.0), (u64::MAX, 0.5), (10, f64::NAN), (10, -3.0)] {
            let law = Zipf::new(ranks, alpha);
            let mut rng = Rng::new(3, 0);
            assert!((0..1000).all(|_| law.draw(&mut rng) < ranks.max(1)), "{ranks} ranks, alpha {alpha}");
        }
    }
}
