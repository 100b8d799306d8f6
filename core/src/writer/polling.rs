//! The order in which the log's own parts are polled.

use super::log::Log;
use crate::drive::{Now, Poll};
use crate::index::Host;

impl Log<'_> {
    /// Takes a step of the log's own parts: a write of records or of a footer, blocks, an opening, a sync, the counts of
    /// copies, a batch, a time record. Bounds: one action, or one bounded step of the host.
    pub(crate) fn poll<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        let action = self
            .poll_slots(now)
            .or_else(|| self.poll_blocks(now))
            .or_else(|| self.poll_opening(now))
            .or_else(|| self.poll_sync(now));
        if let Some(action) = action {
            return Poll::Do(action);
        }
        if self.poll_batch(host) || self.poll_copies(host) {
            return Poll::Again;
        }
        // A time record is placed before the erase intent of the segment that holds the newest time.
        self.poll_time();
        Poll::Idle
    }

    /// The same while the machine closes. A segment is opened only for records under suspicion: these are written again before all is
    /// durable.
    pub(crate) fn poll_closing<H: Host>(&mut self, now: Now, host: &mut H) -> Poll {
        let mut action = self.poll_slots(now);
        if self.segments.has_suspects() {
            action = action.or_else(|| self.poll_blocks(now)).or_else(|| self.poll_opening(now));
        }
        match action.or_else(|| self.poll_sync(now)) {
            Some(action) => Poll::Do(action),
            None if self.poll_batch(host) => Poll::Again,
            None => Poll::Idle,
        }
    }
}
