//! The trait of all parts of the machine that work on the log in steps.

use super::log::Log;
use crate::drive::{Now, Poll};
use crate::index::Host;

/// A part of the machine that works on the log in steps.
pub(crate) trait Engine {
    /// Takes a step. [`Poll::Idle`] when it waits: for the medium, for another engine, or for something to do.
    ///
    /// # Bounds
    /// At most one action, or a bounded step inside; each engine says which.
    fn poll<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H) -> Poll;
}
