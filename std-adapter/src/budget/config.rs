//! How much background work may take.

use core::fmt;
use core::time::Duration;

/// The slice where none is configured.
pub(super) const SLICE_DEFAULT: Duration = Duration::from_micros(500);
/// The shortest slice: less than the clock and a lock cost would be all overhead.
const SLICE_MIN: Duration = Duration::from_micros(50);
/// The longest slice.
const SLICE_MAX: Duration = Duration::from_secs(1);

/// The limits of background work. [`WorkBudget::new`](super::WorkBudget::new) checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetConfig {
    /// Bytes that background work may relocate in a second, at least 1; `None` for no limit.
    pub bytes_per_s: Option<u64>,
    /// How long a slice may be, 50 µs to 1 s; by default 500 µs.
    pub slice: Duration,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { bytes_per_s: None, slice: SLICE_DEFAULT }
    }
}

impl BudgetConfig {
    /// Sets the most bytes that background work relocates in a second.
    #[must_use]
    pub const fn with_bytes_per_s(mut self, bytes_per_s: u64) -> Self {
        self.bytes_per_s = Some(bytes_per_s);
        self
    }

    /// Sets how long a slice may be.
    #[must_use]
    pub const fn with_slice(mut self, slice: Duration) -> Self {
        self.slice = slice;
        self
    }

    pub(crate) fn check(&self) -> Result<(), BudgetError> {
        if self.bytes_per_s == Some(0) {
            return Err(BudgetError::Rate);
        }
        if !(SLICE_MIN..=SLICE_MAX).contains(&self.slice) {
            return Err(BudgetError::Slice { given: self.slice, min: SLICE_MIN, max: SLICE_MAX });
        }
        Ok(())
    }
}

/// Why a budget is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BudgetError {
    /// The rate is zero bytes per second; leave it out for no limit.
    Rate,
    /// The slice is too short or too long.
    Slice {
        /// The slice configured.
        given: Duration,
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
}

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate => f.write_str("a budget takes at least 1 byte per second"),
            Self::Slice { given, min, max } => {
                write!(f, "a slice of {given:?}: it takes {min:?} to {max:?}")
            }
        }
    }
}

impl core::error::Error for BudgetError {}
