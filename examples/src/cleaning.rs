//! The write amplification of ideal cleaners in the steady state: models to set measured figures beside.
//!
//! All of them take records of one length, and segments that are full when they are sealed. A segment is cleaned once a share u
//! of its records is live, and each cleaning writes that share anew. So records written ÷ fresh ones is 1 ÷ (1 − u).

use core::ops::RangeInclusive;

/// Space for records, in records of one length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Space {
    /// Live records.
    pub live: f64,
    /// Records that a segment holds.
    pub in_segment: f64,
    /// Segments that hold records; those that are kept free are left out.
    pub segments: f64,
}

impl Space {
    fn live_share(&self) -> f64 {
        self.live / (self.in_segment * self.segments)
    }
}

/// Cleaning in the order in which segments were written, under uniform overwrites: the live share of all segments is
/// (1 − u) ÷ −ln u.
///
/// After Menon, "A Performance Comparison of RAID-5 and Log-Structured Arrays" (HPDC 1995), and Desnoyers, "Analytic Modeling of
/// SSD Write Performance" (SYSTOR 2012),
/// who calls it LRU cleaning.
#[must_use]
pub fn oldest_first(space: &Space) -> f64 {
    let rises = |u: f64| (1.0 - u) / -u.ln();
    written(root(0.0..=1.0, |u| rises(u) < space.live_share()))
}

/// Cleaning of the least live segment, under uniform overwrites.
///
/// After Desnoyers (as above), and Van Houdt, "A Mean Field Model for a Class of Garbage Collection Algorithms in Flash-Based Solid
/// State Drives" (SIGMETRICS 2013). As many segments pass each number of live records j, at a rate of j for each
/// segment. So the number of segments with j is as 1 ÷ j, from b when they are sealed down to u · b. Their live share is
/// (1 − u) ÷ (H(b) − H(u · b)), H being the harmonic numbers. With many records in a segment that is cleaning in order.
#[must_use]
pub fn least_live(space: &Space) -> f64 {
    let b = space.in_segment;
    let rises = |u: f64| (1.0 - u) / (-u.ln() + 0.5 / b - 0.5 / (u * b));
    written(root(1.0 / b..=1.0, |u| rises(u) < space.live_share()))
}

/// Perfect separation: each record shares its segments with records of its own rate only, and space goes where it saves most.
///
/// The best that any placement can do where rates are known beforehand and never change; see Desnoyers (as above), and Stoica and
/// Ailamaki, "Improving Flash Write Performance by Using Update Frequency" (VLDB 2013). A record of rate r that is cleaned at u
/// costs r ÷ (1 − u) and takes the space −ln u ÷ (1 − u). The sum of all costs is least where (1 − u) ÷ u + ln u is r ÷ m, with
/// one price m of space for all.
#[must_use]
pub fn separated(space: &Space, rates: &[f64]) -> f64 {
    let places = space.in_segment * space.segments;
    let price_at = |log: f64| {
        let price = log.exp();
        let shares = rates.iter().map(move |rate| (rate, cleaned_at(rate / price)));
        shares.fold((0.0, 0.0), |(cost, taken), (rate, u)| {
            (cost + rate * written(u), taken - u.ln() * written(u))
        })
    };
    let log = root(-40.0..=40.0, |log| price_at(log).1 > places);
    price_at(log).0 / rates.iter().sum::<f64>()
}

/// The u for which (1 − u) ÷ u + ln u has this value; it falls as u rises.
fn cleaned_at(value: f64) -> f64 {
    root(1e-9..=1.0, |u| (1.0 - u) / u + u.ln() > value)
}

fn written(u: f64) -> f64 {
    1.0 / (1.0 - u.min(1.0 - 1e-9))
}

/// Where `is_below` turns from true to false, halving the range.
fn root(range: RangeInclusive<f64>, is_below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = range.into_inner();
    for _ in 0..48 {
        let middle = (low + high) / 2.0;
        if is_below(middle) { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(live_share: f64, in_segment: f64) -> Space {
        Space { live: live_share * in_segment * 100.0, in_segment, segments: 100.0 }
    }

    #[test]
    fn order_of_writing_agrees_with_its_equation() {
        // u of 0.5 has a live share of 0.5 ÷ ln 2.
        assert!((oldest_first(&space(0.5 / core::f64::consts::LN_2, 100.0)) - 2.0).abs() < 1e-6);
    }

    #[test]
    fn least_live_is_better_with_few_records_and_equal_with_many() {
        let (few, many) = (space(0.75, 32.0), space(0.75, 1e6));
        assert!(least_live(&few) < oldest_first(&few) - 0.02, "{}", least_live(&few));
        assert!((least_live(&many) - oldest_first(&many)).abs() < 1e-3);
    }

    #[test]
    fn separation_gains_nothing_for_equal_rates_and_much_for_others() {
        let space = Space { live: 1000.0, in_segment: 100.0, segments: 13.5 };
        let one = separated(&space, &[1.0; 1000]);
        assert!((one - oldest_first(&space)).abs() < 1e-3, "{one}");
        let rates: Vec<f64> = (1..=1000).map(|rank| 1.0 / f64::from(rank)).collect();
        assert!(separated(&space, &rates) < one * 0.75, "{}", separated(&space, &rates));
    }
}
