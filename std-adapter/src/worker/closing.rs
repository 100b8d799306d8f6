//! An orderly end: all accepted writes are written and synced, as far as the time allows.

use coldpress_core::invariant::Invariant;
use coldpress_core::machine::Status;
use crossbeam_channel::Sender;
use tracing::Span;

use super::Worker;
use crate::clock::monotonic_ms;
use crate::directory::LogDigest;
use crate::errors::{CloseError, TierError};
use crate::index::Health;

/// A close that is under way.
pub(super) struct Closing {
    ends_ms: u64,
    outcome: Option<Sender<Result<LogDigest, CloseError>>>,
    is_begun: bool,
    span: Span,
}

impl Closing {
    pub(super) const fn new(
        ends_ms: u64,
        outcome: Option<Sender<Result<LogDigest, CloseError>>>,
        span: Span,
    ) -> Self {
        Self { ends_ms, outcome, is_begun: false, span }
    }

    /// Sends the outcome to the thread that closes the tier.
    pub(super) fn end(&mut self, result: Result<LogDigest, CloseError>) {
        if let Some(outcome) = self.outcome.take() {
            let _ = outcome.try_send(result);
        }
    }
}

impl Worker<'_> {
    /// The log found its own state broken: answers all waiters, and ends a close that is under way.
    pub(super) fn break_off(&mut self, invariant: Invariant) {
        tracing::error!(partition = self.partition, %invariant, "the log writes nothing more");
        self.shared.health.worsen(Health::Broken(invariant));
        self.waiters.fail_all(TierError::Broken(invariant));
        self.post();
        self.shared.admission.alert();
        if let Some(closing) = &mut self.closing {
            closing.end(Err(CloseError::Broken(invariant)));
        }
    }

    /// Takes a step of the close; tells whether it is complete.
    pub(super) fn poll_closing(&mut self) -> bool {
        let is_all_appended = self.is_all_appended();
        let Some(closing) = &mut self.closing else { return false };
        if !closing.is_begun && is_all_appended {
            closing.is_begun = true;
            self.tier.close();
        }
        let is_closed = self.tier.status() == Status::Closed;
        // Nothing becomes durable any more once the tier has to be opened anew.
        let is_hopeless = self.tier.needs_remount();
        if !is_closed && !is_hopeless && monotonic_ms() < closing.ends_ms {
            return false;
        }
        self.look_after_place(true);
        let Some(closing) = &mut self.closing else { return false };
        let (outcome, span) = (closing.outcome.take(), core::mem::replace(&mut closing.span, Span::none()));
        let _entered = span.enter();
        let lost = self.left_to_append() + self.tier.appended().saturating_sub(self.tier.durable());
        let result = if self.is_file_lost() {
            Err(CloseError::FileLost)
        } else if is_closed && self.left_to_append() == 0 {
            Ok(LogDigest::of_segments(self.tier.segments()))
        } else {
            Err(CloseError::Unwritten { writes: lost, error: self.failing.failure() })
        };
        self.waiters.settle(self.tier.written(), self.tier.durable());
        self.waiters.fail_all(TierError::Closed);
        self.post();
        match &result {
            Ok(_) => tracing::info!(partition = self.partition, "log closed"),
            Err(error) => tracing::error!(partition = self.partition, %error, "log closed in disorder"),
        }
        let is_orderly = result.is_ok();
        if let Some(outcome) = outcome {
            let _ = outcome.try_send(result);
        }
        if is_orderly {
            self.medium.settle();
        }
        true
    }
}
