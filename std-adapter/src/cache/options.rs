//! How a value is put.

use crate::api::{PutOptions, Ttl};
use crate::config::Durability;

/// When a value goes to the cold tier. The [module](super) has a table of what each policy can lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WritePolicy {
    /// At the put. When that returns, the value is as durable as the options say.
    #[default]
    Through,
    /// When it leaves memory, at a flush or a close, after about the configured `dirty_age_max`, or once dirty bytes reach their limit.
    /// Until then it is dirty: memory alone has it.
    OnEvict,
    /// Never: it is gone when it leaves memory.
    MemoryOnly,
}

/// The highest tier that a put brings a value into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Placement {
    /// The hot tier: it will be read soon.
    #[default]
    Hot,
    /// The warm tier: it may be read. One that does not fit there goes to the hot tier.
    Warm,
    /// The cold tier alone: nobody will read it soon. It is written at once, unless it is
    /// [`MemoryOnly`](WritePolicy::MemoryOnly), which goes to the warm tier.
    Cold,
}

/// The options of one put into a cache, beyond the configuration.
///
/// ```
/// use coldpress_std::cache::{CachePutOptions, WritePolicy};
/// use coldpress_std::{Durability, PutOptions};
///
/// let scratch = CachePutOptions { policy: Some(WritePolicy::MemoryOnly), ..CachePutOptions::default() };
/// let synced = PutOptions { durability: Some(Durability::Synced), ..PutOptions::default() };
/// assert_ne!(CachePutOptions::from(synced), scratch);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CachePutOptions {
    /// How long the value lives; by default as configured.
    pub ttl: Ttl,
    /// The durability of the put when it returns; `None` for the configured one. A value for which this asks for `Flushed` or `Synced` is
    /// written through, whatever the policy says.
    pub durability: Option<Durability>,
    /// When the value goes to the cold tier; `None` for the configured policy.
    pub policy: Option<WritePolicy>,
    /// The highest tier for it.
    pub placement: Placement,
}

impl From<PutOptions> for CachePutOptions {
    fn from(PutOptions { ttl, durability }: PutOptions) -> Self {
        Self { ttl, durability, ..Self::default() }
    }
}

impl CachePutOptions {
    /// The policy of the value: its own or the configured one, unless it has to be written at once.
    pub(super) fn policy_over(&self, configured: WritePolicy) -> WritePolicy {
        let policy = self.policy.unwrap_or(configured);
        let must_write = self.durability.is_some_and(|durability| durability > Durability::Buffered)
            || policy == WritePolicy::OnEvict && self.placement == Placement::Cold;
        if must_write { WritePolicy::Through } else { policy }
    }

    pub(super) const fn beneath(&self) -> PutOptions {
        PutOptions { ttl: self.ttl, durability: self.durability }
    }
}
