//! Counters of a cache, each spread over several cache lines.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

const CELLS: usize = 8;

#[derive(Debug, Default)]
#[repr(align(128))]
struct CounterCell(AtomicU64);

/// A counter that threads add to without meeting.
#[derive(Debug, Default)]
pub(super) struct SpreadCounter([CounterCell; CELLS]);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static CELL: usize = THREADS.fetch_add(1, Relaxed) % CELLS;
}

impl SpreadCounter {
    pub(super) fn add(&self, count: u64) {
        // A thread that ends counts in the first cell.
        let cell = CELL.try_with(|cell| *cell).unwrap_or(0);
        if let Some(CounterCell(counter)) = self.0.get(cell) {
            counter.fetch_add(count, Relaxed);
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.0.iter().map(|CounterCell(counter)| counter.load(Relaxed)).sum()
    }
}

/// The counts of a cache since it was opened.
#[derive(Debug, Default)]
pub(super) struct CacheCounts {
    pub(super) hot_hits: SpreadCounter,
    pub(super) warm_hits: SpreadCounter,
    pub(super) cold_hits: SpreadCounter,
    pub(super) misses: SpreadCounter,
    pub(super) puts: SpreadCounter,
    pub(super) removes: SpreadCounter,
    pub(super) refused: SpreadCounter,
    pub(super) promotions: SpreadCounter,
    pub(super) demoted_warm: SpreadCounter,
    pub(super) demoted_cold: SpreadCounter,
    pub(super) dropped: SpreadCounter,
    pub(super) failed_demotions: SpreadCounter,
    pub(super) expired: SpreadCounter,
    pub(super) computed: SpreadCounter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_sums_what_all_threads_added() {
        let counter = SpreadCounter::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1_000).for_each(|_| counter.add(2)));
            }
        });
        assert_eq!(counter.get(), 40_000);
    }
}
