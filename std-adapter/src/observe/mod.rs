//! What goes to the `metrics` facade, where the feature of that name is on. Elsewhere the same calls do nothing.
//!
//! The names, units and labels are in `metrics.md`, which is part of the documentation of this crate; a test holds both together.

#[cfg(feature = "metrics")]
mod metered;
#[cfg(not(feature = "metrics"))]
mod silent;

#[cfg(feature = "metrics")]
pub(crate) use metered::{PoolMeter, TierMeter};
#[cfg(not(feature = "metrics"))]
pub(crate) use silent::{PoolMeter, TierMeter};

/// How often the pools are measured, where that is asked for at all.
pub(crate) const POOLS_EVERY: core::time::Duration =
    core::time::Duration::from_secs(if cfg!(feature = "metrics") { 1 } else { 3600 });
