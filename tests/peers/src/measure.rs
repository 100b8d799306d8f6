//! Latencies of calls, and how they went over time.

use core::time::Duration;
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::stores::Fault;

/// The length of a tick of a timeline.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// Longer calls count as so long.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Calls that ended within one tick.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Tick {
    pub(crate) ops: u64,
    /// The longest call, in nanoseconds.
    pub(crate) max_ns: u64,
    /// Whether the store compacted; `None` where it doesn't say.
    pub(crate) compacts: Option<bool>,
}

/// The work of one client, or of several together.
pub(crate) struct Tally {
    latencies: Histogram<u64>,
    ticks: Vec<Tick>,
    begun: Instant,
    pub(crate) ops: u64,
    /// Bytes of keys and values that clients wrote.
    pub(crate) user_bytes: u64,
    /// Reads whose bytes were compared.
    pub(crate) checked: u64,
    /// Reads that found nothing where a value had been acknowledged.
    pub(crate) missing: u64,
    /// Reads that found an older value than the one acknowledged.
    pub(crate) stale: u64,
}

impl Tally {
    /// Starts with nothing; the ticks count from `begun`.
    pub(crate) fn new(begun: Instant) -> Result<Self, Fault> {
        Ok(Self {
            latencies: Histogram::new_with_max(LATENCY_NS_MAX, 3)?,
            ticks: Vec::new(),
            begun,
            ops: 0,
            user_bytes: 0,
            checked: 0,
            missing: 0,
            stale: 0,
        })
    }

    /// Makes a call and notes how long it took.
    pub(crate) fn time<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = call();
        let ended = Instant::now();
        let ns = u64::try_from((ended - begun).as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(ns);
        self.ops += 1;
        let at = ((ended - self.begun).as_nanos() / TICK.as_nanos()) as usize;
        if at >= self.ticks.len() {
            self.ticks.resize(at + 1, Tick::default());
        }
        let tick = &mut self.ticks[at];
        tick.ops += 1;
        tick.max_ns = tick.max_ns.max(ns);
        result
    }

    /// Adds the work of another client.
    pub(crate) fn add(&mut self, other: &Self) -> Result<(), Fault> {
        self.latencies.add(&other.latencies)?;
        if other.ticks.len() > self.ticks.len() {
            self.ticks.resize(other.ticks.len(), Tick::default());
        }
        for (sum, tick) in self.ticks.iter_mut().zip(&other.ticks) {
            sum.ops += tick.ops;
            sum.max_ns = sum.max_ns.max(tick.max_ns);
        }
        self.ops += other.ops;
        self.user_bytes += other.user_bytes;
        self.add_checks(other);
        Ok(())
    }

    /// Adds the checks of another tally, and nothing of its calls.
    pub(crate) fn add_checks(&mut self, other: &Self) {
        self.checked += other.checked;
        self.missing += other.missing;
        self.stale += other.stale;
    }

    /// Gives the percentiles.
    pub(crate) fn latencies(&self) -> Latencies {
        Latencies {
            p50_ns: self.latencies.value_at_quantile(0.5),
            p99_ns: self.latencies.value_at_quantile(0.99),
            p999_ns: self.latencies.value_at_quantile(0.999),
            max_ns: self.latencies.max(),
        }
    }

    /// When its ticks begin.
    pub(crate) const fn begun(&self) -> Instant {
        self.begun
    }

    /// Tells of each tick whether a call ended within it.
    pub(crate) fn busy_ticks(&self) -> impl Iterator<Item = bool> {
        self.ticks.iter().map(|tick| tick.ops > 0)
    }

    /// Gives the ticks; `compacts` says of each whether the store compacted.
    pub(crate) fn ticks(mut self, compacts: &[Option<bool>]) -> Vec<Tick> {
        for (tick, compacts) in self.ticks.iter_mut().zip(compacts) {
            tick.compacts = *compacts;
        }
        self.ticks
    }
}

/// Percentiles of the latencies of calls, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_added_count_the_calls_of_both() {
        let begun = Instant::now();
        let mut one = Tally::new(begun).unwrap();
        let mut other = Tally::new(begun).unwrap();
        one.time(|| ());
        other.time(|| std::thread::sleep(TICK));
        other.missing = 1;
        one.add(&other).unwrap();
        assert_eq!((one.ops, one.missing), (2, 1));
        let latencies = one.latencies();
        assert!(latencies.max_ns >= 20_000_000 && latencies.p50_ns < latencies.max_ns);
        let ticks = one.ticks(&[Some(true)]);
        assert_eq!(ticks.iter().map(|tick| tick.ops).sum::<u64>(), 2);
        assert_eq!(ticks[0].compacts, Some(true));
    }
}
