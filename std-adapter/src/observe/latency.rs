//! How long operations take.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;

use super::TierMeter;

/// The operations that are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timed {
    /// A put, with what it waits for: capacity, and the durability it asked for.
    Put,
    /// A get, hit or miss.
    Get,
    /// A sync of the medium.
    Sync,
}

/// Sums over the operations of one partition since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    put: Sum,
    get: Sum,
    sync: Sum,
}

#[derive(Debug, Default)]
struct Sum {
    count: AtomicU64,
    nanos: AtomicU64,
}

/// A sum as it stood at some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LatencySum {
    pub(crate) count: u64,
    pub(crate) nanos: u64,
}

impl Latencies {
    /// Adds one operation.
    pub(crate) fn record(&self, meter: &TierMeter, timed: Timed, took: Duration) {
        let sum = self.sum(timed);
        sum.count.fetch_add(1, Relaxed);
        sum.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        meter.latency(timed, took);
    }

    /// The operations of clients.
    pub(crate) fn client(&self) -> LatencySum {
        let (put, get) = (self.put.load(), self.get.load());
        LatencySum { count: put.count + get.count, nanos: put.nanos.wrapping_add(get.nanos) }
    }

    const fn sum(&self, timed: Timed) -> &Sum {
        match timed {
            Timed::Put => &self.put,
            Timed::Get => &self.get,
            Timed::Sync => &self.sync,
        }
    }
}

impl Sum {
    fn load(&self) -> LatencySum {
        LatencySum { count: self.count.load(Relaxed), nanos: self.nanos.load(Relaxed) }
    }
}

impl LatencySum {
    /// The latencies that were added since an earlier moment.
    pub(crate) const fn since(&self, before: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            nanos: self.nanos.saturating_sub(before.nanos),
        }
    }

    /// The mean, in microseconds; `None` of nothing.
    pub(crate) fn mean_us(&self) -> Option<u32> {
        let nanos = self.nanos.checked_div(self.count)?;
        Some(u32::try_from(nanos / 1000).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_covers_operations_since_the_last_look() {
        let (latencies, meter) = (Latencies::default(), TierMeter::new("", 0));
        assert_eq!(latencies.client().mean_us(), None);
        latencies.record(&meter, Timed::Put, Duration::from_micros(500));
        let before = latencies.client();
        latencies.record(&meter, Timed::Get, Duration::from_micros(10));
        latencies.record(&meter, Timed::Get, Duration::from_micros(30));
        latencies.record(&meter, Timed::Sync, Duration::from_secs(9));
        assert_eq!(latencies.client().since(&before).mean_us(), Some(20));
        assert_eq!(latencies.client().mean_us(), Some(180));
    }
}
