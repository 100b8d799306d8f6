//! Why the cache evicted and refused, as data.

use core::time::Duration;
use std::time::Instant;

use coldpress_core::drive::MediumError;

use super::error::CacheError;
use super::tiers::{CacheKey, CacheValue, Located, Tiers};
use crate::clock::{Clock as _, SystemClock};
use crate::errors::{PutError, TierError};
use crate::observe::{
    EvictedFrom, Eviction, EvictionCause, Explained, Explanation, RefusalCause, RefusedOperation,
    RefusedWrite, in_order,
};

impl<K: CacheKey, V: CacheValue> Tiers<K, V> {
    /// Explains values that the hot tier evicted because others came.
    pub(super) fn explain_evicted(&self, records: u64, bytes: u64) {
        let one = Eviction {
            from: EvictedFrom::HotTier,
            cause: EvictionCause::CapacityTaken,
            records,
            bytes,
            idle_s_max: None,
        };
        self.explanations.record_evicted(SystemClock.wall_s(), one);
    }

    /// Explains a refusal that is the cache's own; the cold tier explains its own.
    pub(super) fn explain_refused(
        &self,
        operation: RefusedOperation,
        at: &Located,
        error: &CacheError,
        begun: Instant,
    ) {
        let (cause, needed, available) = match error {
            CacheError::TimedOut => (RefusalCause::TimedOut, None, None),
            CacheError::Backlog { bytes, max, .. } => {
                (RefusalCause::Busy, None, Some(max.saturating_sub(*bytes)))
            }
            CacheError::Lost => (RefusalCause::Unavailable, None, None),
            CacheError::Put(error) if operation == RefusedOperation::Move => match error {
                PutError::Full { needed, available } => (RefusalCause::Full, Some(*needed), Some(*available)),
                PutError::Busy => (RefusalCause::Busy, None, None),
                PutError::Tier(TierError::Medium(failure)) if failure.kind() == MediumError::NoSpace => {
                    (RefusalCause::NoSpace, None, None)
                }
                PutError::Tier(TierError::Medium(_)) => (RefusalCause::Medium, None, None),
                PutError::Tier(TierError::TimedOut) => (RefusalCause::TimedOut, None, None),
                _ => (RefusalCause::Unavailable, None, None),
            },
            _ => return,
        };
        let partition = u16::try_from(at.partition).ok();
        let waited: Duration = begun.elapsed();
        let refused = RefusedWrite { partition, operation, cause, needed, available, waited };
        self.explanations.record(waited, Explained::Refused(refused));
    }

    /// Returns the last explanations of all tiers, the newest last.
    pub(super) fn all_explanations(&self) -> Result<Vec<Explanation>, CacheError> {
        let mut all = self.cold.explanations()?;
        // Pools that were closed have nothing to tell.
        all.extend(self.pools.explanations().unwrap_or_default());
        self.explanations.add_to(&mut all);
        Ok(in_order(all))
    }
}
