//! One budget for background work: defragmentation, compaction, demotion and recompression share a byte rate and a time slice.
//!
//! ```text
//!  pool worker ──┐                       ┌─► Granted(Slice) ── work, until the slice is over ── drop ─► rest as long
//!  log workers ──┼─► WorkBudget (Copy) ──┤
//!  a cache ──────┘                       └─► Later(wait): the thread goes on with other work, and asks again
//! ```
//!
//! At most one slice is out at a time, whatever the kind of work. So stalls do not add up: a client meets at most one slice,
//! and then a rest at least as long. A slice ends with the step in which its time or its bytes are used up; steps are small.
//! Work that clients wait for takes no slice. It is done at once, and counted: slices that follow are delayed for it.
//!
//! ```
//! use coldpress_std::budget::{BudgetConfig, Granted, WorkBudget, WorkKind};
//!
//! let (owner, budget) = WorkBudget::new(BudgetConfig::default().with_bytes_per_s(8 << 20))?;
//! let Granted::Slice(mut slice) = budget.try_slice(WorkKind::Demotion) else { panic!("nobody else works") };
//! assert!(matches!(budget.try_slice(WorkKind::Compaction), Granted::Later(_)));
//! while !slice.is_over() {
//!     slice.relocated(1024);
//! }
//! drop(slice);
//! assert_eq!(budget.stats().granted(WorkKind::Demotion), 1);
//! drop(owner);
//! assert!(matches!(budget.try_slice(WorkKind::Compaction), Granted::Slice(_)), "without an owner nothing is limited");
//! # Ok::<(), coldpress_std::budget::BudgetError>(())
//! ```

mod backoff;
mod config;
mod policy;
mod stats;

use core::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;

pub(crate) use self::backoff::PassBackoff;
pub use self::config::{BudgetConfig, BudgetError};
pub use self::policy::WorkKind;
use self::policy::{Decision, Turns};
pub use self::stats::BudgetStats;
use crate::recycled::{Lease, Recycler};

static BUDGETS: Recycler<SharedTurns> = Recycler::new();

/// The state of a budget. Its lock is held for a few comparisons.
#[derive(Debug)]
struct SharedTurns {
    made: Instant,
    turns: Mutex<Turns>,
}

/// Owns a budget: dropping it ends it. From then on every request is granted, and nothing is limited.
#[derive(Debug)]
#[must_use = "the budget ends when its owner is dropped"]
pub struct BudgetOwner {
    lease: Lease<SharedTurns>,
}

impl BudgetOwner {
    /// Returns the handle to the budget.
    #[must_use]
    pub const fn budget(&self) -> WorkBudget {
        WorkBudget { lease: self.lease }
    }
}

impl Drop for BudgetOwner {
    fn drop(&mut self) {
        self.lease.give_back();
    }
}

/// The budget that background work takes its slices from: a `Copy` handle for any thread. Give the same one to the pools and
/// to all tiers that share the machine.
#[derive(Debug, Clone, Copy)]
pub struct WorkBudget {
    lease: Lease<SharedTurns>,
}

impl PartialEq for WorkBudget {
    fn eq(&self, other: &Self) -> bool {
        self.lease == other.lease
    }
}

impl Eq for WorkBudget {}

/// The answer to a request for a slice.
#[derive(Debug)]
#[must_use = "a slice that is dropped ends"]
pub enum Granted {
    /// Work may go on until the slice is over.
    Slice(Slice),
    /// Nothing is granted now: ask again after this time, which is never zero.
    Later(Duration),
}

impl WorkBudget {
    /// Makes a budget.
    ///
    /// # Errors
    /// [`BudgetError`] names the setting that is out of its range.
    pub fn new(config: BudgetConfig) -> Result<(BudgetOwner, Self), BudgetError> {
        config.check()?;
        let turns = SharedTurns { made: Instant::now(), turns: Mutex::new(Turns::new(config)) };
        let owner = BudgetOwner { lease: BUDGETS.lend(turns) };
        let budget = owner.budget();
        Ok((owner, budget))
    }

    /// Asks for a slice, without waiting. A request that has to wait keeps the turn of its kind, until 5 ms after the time at which it
    /// is to ask again.
    ///
    /// # Bounds
    /// Compares the four kinds under a lock.
    pub fn try_slice(&self, kind: WorkKind) -> Granted {
        let decided = self.lease.enter(|shared| {
            let now = Instant::now();
            let mut turns = shared.turns.lock();
            let ends = now + turns.config().slice;
            (turns.ask(kind, now.saturating_duration_since(shared.made)), ends)
        });
        match decided {
            Ok((Decision::Wait(wait), _)) => Granted::Later(wait),
            Ok((Decision::Grant { number, bytes }, ends)) => {
                let limits = Some(SliceLimits { number, ends, bytes });
                Granted::Slice(Slice { budget: *self, limits, relocated_bytes: 0 })
            }
            Err(_) => Granted::Slice(Slice { budget: *self, limits: None, relocated_bytes: 0 }),
        }
    }

    /// Counts work that could not wait for a slice. Slices that follow are delayed for its time and its bytes, by 10 s at most.
    pub fn book(&self, kind: WorkKind, took: Duration, relocated_bytes: u64) {
        // A budget that has ended counts nothing.
        let _ = self.lease.enter(|shared| {
            let now = shared.made.elapsed();
            shared.turns.lock().book(kind, took, relocated_bytes, now);
        });
    }

    /// Returns the counts; all zero once the budget has ended.
    #[must_use]
    pub fn stats(&self) -> BudgetStats {
        self.lease.enter(|shared| shared.turns.lock().stats()).unwrap_or_default()
    }

    /// Tells whether the owner is still there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.lease.has_ended()
    }
}

/// The end of a slice.
#[derive(Debug)]
struct SliceLimits {
    number: u64,
    ends: Instant,
    /// Bytes that may be relocated; `None` for no limit.
    bytes: Option<u64>,
}

/// A time in which the thread that has it may do background work. It ends when it is dropped; its time runs until then.
///
/// Until it is dropped, or the budget ends, every other request waits.
#[derive(Debug)]
#[must_use = "a slice that is dropped ends"]
pub struct Slice {
    budget: WorkBudget,
    /// `None` where the budget has ended: then nothing is limited.
    limits: Option<SliceLimits>,
    relocated_bytes: u64,
}

impl Slice {
    /// Adds bytes that were relocated in this slice.
    pub const fn relocated(&mut self, bytes: u64) {
        self.relocated_bytes = self.relocated_bytes.saturating_add(bytes);
    }

    /// Tells whether its time or its bytes are used up: then it is to be dropped before the next step.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.limits.as_ref().is_some_and(|limits| {
            limits.bytes.is_some_and(|bytes| self.relocated_bytes >= bytes) || Instant::now() >= limits.ends
        })
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        let Some(limits) = &self.limits else { return };
        // A budget that has ended counts nothing.
        let _ = self.budget.lease.enter(|shared| {
            let now = shared.made.elapsed();
            shared.turns.lock().end(limits.number, self.relocated_bytes, now);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_without_an_owner_limits_nothing() {
        let config = BudgetConfig::default().with_bytes_per_s(1);
        let (owner, budget) = WorkBudget::new(config).unwrap();
        let Granted::Slice(mut out) = budget.try_slice(WorkKind::Compaction) else { unreachable!() };
        out.relocated(1 << 40);
        assert!(out.is_over() && matches!(budget.try_slice(WorkKind::Demotion), Granted::Later(_)));
        drop(owner);
        assert!(!budget.is_open());
        drop(out);
        for kind in WorkKind::ALL {
            let Granted::Slice(mut slice) = budget.try_slice(kind) else { panic!("{kind:?} waits") };
            slice.relocated(u64::MAX);
            assert!(!slice.is_over());
        }
        budget.book(WorkKind::Compaction, Duration::from_secs(1), 1);
        assert_eq!(budget.stats(), BudgetStats::default());
    }

    #[test]
    fn slices_of_many_threads_never_overlap_and_all_count() {
        use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
        let config = BudgetConfig::default().with_slice(Duration::from_micros(50));
        let (_owner, budget) = WorkBudget::new(config).unwrap();
        let (out, taken) = (AtomicU32::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for kind in WorkKind::ALL {
                let (out, taken) = (&out, &taken);
                scope.spawn(move || {
                    let mut left = 25;
                    while left > 0 {
                        match budget.try_slice(kind) {
                            Granted::Slice(mut slice) => {
                                assert_eq!(out.fetch_add(1, SeqCst), 0, "another slice is out");
                                slice.relocated(7);
                                taken.fetch_add(1, SeqCst);
                                out.fetch_sub(1, SeqCst);
                                left -= 1;
                            }
                            Granted::Later(wait) => std::thread::sleep(wait),
                        }
                    }
                });
            }
        });
        let stats = budget.stats();
        assert_eq!((stats.slices, taken.load(SeqCst)), (100, 100));
        for kind in WorkKind::ALL {
            assert_eq!((stats.granted(kind), stats.bytes(kind), stats.booked(kind)), (25, 175, 0));
        }
        assert_eq!(stats.largest_slice_bytes, 7);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let config = BudgetConfig::default();
        assert_eq!(WorkBudget::new(config.with_bytes_per_s(0)).err(), Some(BudgetError::Rate));
        for given in [Duration::ZERO, Duration::from_micros(49), Duration::from_millis(1_001)] {
            let error = WorkBudget::new(config.with_slice(given)).unwrap_err();
            assert!(matches!(error, BudgetError::Slice { given: found, .. } if found == given), "{error}");
        }
    }
}
