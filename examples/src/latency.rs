//! The latencies of calls, apart for calls during a compaction.

use core::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Calls of one kind.
#[derive(Debug, Clone)]
pub struct Calls {
    idle: Histogram<u64>,
    compacting: Histogram<u64>,
}

/// The percentiles of some calls, in microseconds; `None` where there was no such call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the calls took no longer.
    pub p50: Option<f64>,
    /// All but one in a hundred took no longer.
    pub p99: Option<f64>,
    /// All but one in a thousand took no longer.
    pub p999: Option<f64>,
}

/// The percentiles of one kind of call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CallFigures {
    /// Calls while no compaction was under way.
    pub idle: Percentiles,
    /// Calls while one was.
    pub compacting: Percentiles,
}

impl Default for Calls {
    fn default() -> Self {
        Self { idle: histogram(), compacting: histogram() }
    }
}

/// One nanosecond to a minute, to three digits; longer calls count as a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds and three digits are valid")
}

impl Calls {
    /// Counts one call.
    pub fn record(&mut self, took: Duration, is_compacting: bool) {
        let histogram = if is_compacting { &mut self.compacting } else { &mut self.idle };
        histogram.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds the calls of another thread.
    pub fn add(&mut self, other: &Self) {
        for (to, from) in [(&mut self.idle, &other.idle), (&mut self.compacting, &other.compacting)] {
            to.add(from).expect("all histograms have the same bounds");
        }
    }

    /// Gives the number of calls, idle and compacting.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.idle.len(), self.compacting.len())
    }

    /// Gives the percentiles.
    #[must_use]
    pub fn figures(&self) -> CallFigures {
        CallFigures { idle: percentiles(&self.idle), compacting: percentiles(&self.compacting) }
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    if histogram.is_empty() {
        return Percentiles::default();
    }
    let us = |percentile| Some(histogram.value_at_percentile(percentile) as f64 / 1000.0);
    Percentiles { p50: us(50.0), p99: us(99.0), p999: us(99.9) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_two_threads_added_give_percentiles_of_both() {
        let (mut one, mut two) = (Calls::default(), Calls::default());
        for us in 1..=500 {
            one.record(Duration::from_micros(us), false);
            two.record(Duration::from_micros(500 + us), false);
        }
        one.add(&two);
        let figures = one.figures();
        assert_eq!(one.counts(), (1000, 0));
        assert!((499.0..502.0).contains(&figures.idle.p50.unwrap()), "{figures:?}");
        assert!((989.0..992.0).contains(&figures.idle.p99.unwrap()), "{figures:?}");
        assert_eq!(figures.compacting, Percentiles::default());
    }
}
