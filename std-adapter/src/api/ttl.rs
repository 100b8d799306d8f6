//! How long a value lives.

use core::time::Duration;

use crate::config::seconds;
use crate::errors::PutError;

/// How long a value lives. Where an idle time is configured, that ends it too if nobody reads it, whatever is said here.
///
/// ```
/// use coldpress_std::{PutOptions, Ttl};
/// use core::time::Duration;
///
/// let for_good = PutOptions { ttl: Ttl::Never, ..PutOptions::default() };
/// let for_an_hour = PutOptions { ttl: Duration::from_secs(3600).into(), ..PutOptions::default() };
/// assert!(for_good != for_an_hour && PutOptions::default().ttl == Ttl::Configured);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// As the configuration says; it never expires where that says nothing.
    #[default]
    Configured,
    /// It never expires, whatever the configuration says.
    Never,
    /// As the value in whose place it comes; as configured where there is none.
    Keep,
    /// It expires after so long, rounded up to whole seconds. It never expires earlier, and at most two seconds later while the
    /// clock is right.
    After(Duration),
}

impl From<Duration> for Ttl {
    fn from(ttl: Duration) -> Self {
        Self::After(ttl)
    }
}

/// Nothing said is as configured.
impl From<Option<Duration>> for Ttl {
    fn from(ttl: Option<Duration>) -> Self {
        ttl.map_or(Self::Configured, Self::After)
    }
}

impl Ttl {
    /// How many seconds a value lives that is put at `now_s` over none, if it expires.
    pub(super) fn lives_s(self, configured: Option<Duration>, now_s: u32) -> Result<Option<u32>, PutError> {
        let ttl = match self {
            Self::Configured | Self::Keep => configured,
            Self::Never => None,
            Self::After(ttl) => Some(ttl),
        };
        let Some(ttl) = ttl else { return Ok(None) };
        let max_s = (u32::MAX - 1).saturating_sub(now_s);
        if ttl.is_zero() || ttl > Duration::from_secs(u64::from(max_s)) {
            return Err(PutError::Lifetime { max_s });
        }
        Ok(Some(seconds(ttl)))
    }
}
