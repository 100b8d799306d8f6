//! A write on a medium that takes its time: how a call that returned `Busy` goes on.
//!
//! ```text
//!  put ─► appended ─► the medium programs it ─► its end is seen ─► the same call, made again, is answered
//!            └── Busy: the call ends                └── by any call, or by a poll
//! ```
//! One write waits at a time, since nothing is appended while an operation is under way. Its outcome is kept until the call is
//! made again; a write of anything else gives it up. The call is known by a hash of its arguments.

use coldpress_core::codec::CodecId;
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::format::{IdentityHasher, KeyHash, Kind};
use coldpress_core::writer::BatchState;

use super::access::Access;
use super::index::Match;
use super::tier::FlashTier;
use super::{PutError, Wait};

/// The write that a call makes.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) kind: Kind,
    pub(super) codec: CodecId,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) expires_s: Option<u32>,
    /// The lifetime as the client gave it, which is the same when the call is made again.
    pub(super) lifetime_s: Option<u32>,
}

impl<'a> Change<'a> {
    /// A value without an expiry, or a tombstone.
    pub(super) const fn new(kind: Kind, key: &'a [u8], value: &'a [u8]) -> Self {
        Self { kind, codec: CodecId::Raw, key, value, expires_s: None, lifetime_s: None }
    }

    /// A value that expires at a time that does not move with the clock.
    pub(super) const fn expiring(self, expires_s: Option<u32>) -> Self {
        Self { expires_s, lifetime_s: expires_s, ..self }
    }
}

/// A record that was appended, until its outcome is returned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    position: u64,
    /// The call; `None` while that one has not returned.
    call: Option<KeyHash>,
    expires_s: Option<u32>,
    /// Whether the key had a value before.
    had_value: bool,
    outcome: Option<Result<(), MediumError>>,
}

impl Pending {
    pub(super) const fn new(position: u64, expires_s: Option<u32>, had_value: bool) -> Self {
        Self { position, call: None, expires_s, had_value, outcome: None }
    }
}

impl<M: Access> FlashTier<'_, M> {
    /// Takes the end of the operation under way, if it has ended; asks the medium once.
    pub(super) fn settle(&mut self, now: Now) {
        let Some(ticket) = self.under_way else { return };
        let Some(result) = self.flash.medium.take_end() else { return };
        self.under_way = None;
        self.done(now, ticket, result);
    }

    /// Notes the outcome of the pending write, once it has one.
    pub(super) fn note_written(&mut self) {
        let written = self.tier.written();
        let Some(pending) = self.pending.as_mut().filter(|p| p.outcome.is_none() && p.position <= written)
        else {
            return;
        };
        let failure = self.failure.unwrap_or(MediumError::Io);
        pending.outcome = Some(if self.index.is_unwritten { Err(failure) } else { Ok(()) });
        self.index.known.clear();
    }

    /// Forgets the pending write if it failed, and why it did.
    pub(super) fn forget_failed(&mut self) {
        if self.pending.is_some_and(|pending| pending.outcome.is_some_and(|outcome| outcome.is_err())) {
            self.pending = None;
        }
        if self.tier.batch() == BatchState::Failed {
            self.batch = None;
        }
        self.failure = None;
    }

    /// Searches anew for the key that is being written, where its entry went while others were compacted. The machine publishes the
    /// record by what is known of it, and does not wait. Nothing is compacted while a batch is written.
    pub(super) async fn renew_known(&mut self) {
        let Some((hash, Match { newest: Some(found), .. })) = self.index.known.iter().next() else { return };
        if self.index.renewed(&hash, found).is_none() {
            let found = self.desk().find(&hash).await;
            if let Some(known) = self.index.known.get_mut(&hash) {
                *known = found;
            }
        }
    }

    /// Takes the outcome of the pending write, and forgets that write.
    pub(super) fn take_outcome(&mut self) -> Option<Result<(), PutError>> {
        let outcome = self.pending.and_then(|pending| pending.outcome)?;
        self.pending = None;
        Some(outcome.map_err(PutError::Medium))
    }

    /// Ends a call before its write has ended.
    pub(super) fn leave(&mut self, change: &Change<'_>) -> PutError {
        let call = self.call(change);
        if let Some(pending) = &mut self.pending {
            pending.call = Some(call);
        }
        PutError::Busy(Wait::Operation)
    }

    /// Returns whether a change is the pending one, or one whose outcome no call has returned.
    pub(super) fn is_pending(&self, change: &Change<'_>) -> bool {
        self.pending.is_some_and(|pending| pending.call == Some(self.call(change)))
    }

    /// Goes on with a change that was left. Returns whether its key had a value before, once it is written; `None` for a new
    /// change.
    ///
    /// # Errors
    /// [`PutError::Busy`] while an operation is under way, [`PutError::Medium`] where it failed.
    pub(super) fn resume(&mut self, now: Now, change: &Change<'_>) -> Result<Option<bool>, PutError> {
        self.settle(now);
        let now_s = self.clock_s(now);
        let answered = self.pending.filter(|pending| pending.outcome.is_some());
        // A record whose time is over is written again, unless it would be over at once, and so for ever.
        let is_over = |expires_s: Option<u32>| expires_s.is_some_and(|at| at <= now_s);
        if let Some(pending) = answered
            && (!is_over(pending.expires_s) || is_over(change.expires_s))
            && self.is_pending(change)
            && let Some(outcome) = self.take_outcome()
        {
            return outcome.map(|()| Some(pending.had_value));
        }
        if self.is_waiting() { Err(PutError::Busy(Wait::Operation)) } else { Ok(None) }
    }

    /// The identity of a call: a hash of its arguments.
    fn call(&self, change: &Change<'_>) -> KeyHash {
        let mut hashing = IdentityHasher::new(&self.flash.secret, usize::MAX);
        let [a, b, c, d, ..] = change.key.len().to_le_bytes();
        let lifetime = change.lifetime_s.map_or([0; 5], |seconds| {
            let [a, b, c, d] = seconds.to_le_bytes();
            [1, a, b, c, d]
        });
        hashing.take(&[change.kind as u8, change.codec.tag(), a, b, c, d]);
        hashing.take(&lifetime);
        hashing.take(change.key);
        hashing.take(change.value);
        hashing.finish()
    }
}
