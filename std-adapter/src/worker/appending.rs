//! Appends pending writes to the log, in the order in which clients sent them.

use coldpress_core::drive::Now;
use coldpress_core::format::{KeyHash, Location};
use coldpress_core::writer::{AppendError, Fresh};

use super::waiting::answer;
use super::{Work, Worker};
use crate::errors::TierError;
use crate::index::{Entry, Health};

/// Appends in one turn.
const APPENDS_PER_TURN: usize = 1024;
/// Writes that failed, and writes that did not fit, tried again in one turn.
const RETRIES_PER_TURN: usize = 256;

/// The outcome of one key's pending write.
enum Appended {
    /// The write is in the log's buffer, now or since earlier; or the key has no pending write.
    Yes,
    /// Offer it again.
    Busy,
    /// The log is full of live records.
    Full,
    /// The log takes no more records, ever.
    Never,
}

impl Worker<'_> {
    /// Appends writes. Bounds: [`APPENDS_PER_TURN`] writes, and [`RETRIES_PER_TURN`] retries before and after them.
    pub(super) fn append_backlog(&mut self) {
        let now = self.now();
        self.must_wait = false;
        if self.append_unwritten(now) && self.append_sent(now) {
            self.append_stalled(now);
        }
        if self.is_nothing_left_behind() {
            self.waiters.release_held(self.tier.appended());
        }
        if self.waiters.wants_sync() {
            self.tier.sync();
        } else if self.waiters.wants_flush() || self.is_memory_short() {
            self.tier.flush();
        }
    }

    /// Appends the writes of clients in their order; `false` where it must wait for the log.
    fn append_sent(&mut self, now: Now) -> bool {
        for _ in 0..APPENDS_PER_TURN {
            let Some(work) = self.backlog.pop_front() else { break };
            match work {
                Work::Flush(waiter) => {
                    self.shared.admission.budget.give_back_message();
                    if self.is_nothing_left_behind() {
                        self.waiters.push(self.tier.appended(), waiter);
                    } else {
                        self.waiters.hold(waiter);
                    }
                }
                Work::Dirty(hash, waiter) => match self.append(now, &hash) {
                    Appended::Yes => {
                        self.shared.admission.budget.give_back_place();
                        if let Some(waiter) = waiter {
                            self.waiters.push(self.tier.appended(), waiter);
                        }
                    }
                    Appended::Busy => {
                        self.backlog.push_front(Work::Dirty(hash, waiter));
                        self.must_wait = true;
                        return false;
                    }
                    outcome @ (Appended::Full | Appended::Never) => {
                        self.shared.admission.budget.give_back_place();
                        let error = self.set_aside(hash, &outcome);
                        if let Some(waiter) = waiter {
                            answer(waiter, Err(error));
                        }
                    }
                },
            }
        }
        true
    }

    /// Appends writes that failed, once the medium may be tried again; `false` where it must wait for the log. They go before
    /// writes sent since, and have no queue place reserved.
    fn append_unwritten(&mut self, now: Now) -> bool {
        if !self.is_retry_due() {
            return true;
        }
        for _ in 0..RETRIES_PER_TURN {
            let Some(hash) = self.index.unwritten.pop_front() else { break };
            match self.append(now, &hash) {
                Appended::Yes => {}
                Appended::Busy => {
                    self.index.unwritten.push_front(hash);
                    self.must_wait = true;
                    return false;
                }
                outcome @ (Appended::Full | Appended::Never) => {
                    self.set_aside(hash, &outcome);
                }
            }
        }
        // Those that are left also go before writes sent since.
        self.index.unwritten.is_empty()
    }

    /// Keeps a write that found no space: it stays readable. Removes behind it may free space. A write that will never be taken
    /// is not tried again.
    fn set_aside(&mut self, hash: KeyHash, outcome: &Appended) -> TierError {
        if matches!(outcome, Appended::Never) {
            self.never += 1;
            self.shared.health.worsen(Health::WornOut);
            return TierError::WornOut;
        }
        self.stalled.push_back(hash);
        TierError::LogFull
    }

    /// Retries writes that did not fit. Flushes that are held for them end with the error that there is no space.
    fn append_stalled(&mut self, now: Now) {
        for _ in 0..self.stalled.len().min(RETRIES_PER_TURN) {
            let Some(hash) = self.stalled.pop_front() else { break };
            match self.append(now, &hash) {
                Appended::Yes => {}
                Appended::Busy => {
                    self.stalled.push_front(hash);
                    break;
                }
                outcome @ (Appended::Full | Appended::Never) => {
                    let error = self.set_aside(hash, &outcome);
                    self.waiters.fail_held(error);
                }
            }
        }
        if self.never > 0 {
            self.waiters.fail_held(TierError::WornOut);
        }
    }

    /// Whether every accepted write has a position in the log.
    fn is_nothing_left_behind(&self) -> bool {
        self.index.unwritten.is_empty() && self.stalled.is_empty() && self.never == 0
    }

    /// Whether so many bytes are pending that they are to be written at once.
    fn is_memory_short(&self) -> bool {
        self.shared.admission.budget.pending_bytes() > self.pending_bytes_max / 2
    }

    /// Appends the pending write of a key, the newest one. A write that was superseded is acknowledged with its successor.
    fn append(&mut self, now: Now, hash: &KeyHash) -> Appended {
        let tier = &mut self.tier;
        let append = |entry: &mut Entry| {
            let (after, replaces) = (entry.newest_version(), entry.stored().map(|s| s.location().segment));
            let Some(pending) = entry.pending.as_mut().filter(|pending| pending.inflight.is_none()) else {
                return Ok(None);
            };
            let fresh = Fresh {
                hash: *hash,
                kind: pending.kind,
                codec: pending.codec,
                key_bytes: pending.key_bytes,
                payload: &pending.payload,
                checksum: pending.checksum,
                expires_s: pending.expires_s,
                after,
                replaces,
            };
            let at: Location = tier.append(now, &fresh)?;
            pending.inflight = Some(at);
            Ok(Some(at))
        };
        match self.shared.amend(&self.terms, hash, append) {
            None | Some(Ok(None)) => Appended::Yes,
            Some(Ok(Some(_))) => {
                self.unwritten_since_ms.get_or_insert(now.monotonic_ms);
                Appended::Yes
            }
            // A log that is broken ends this worker before its next turn.
            Some(Err(AppendError::Busy | AppendError::NotMounted | AppendError::Broken)) => Appended::Busy,
            Some(Err(AppendError::Full)) => Appended::Full,
            Some(Err(error)) => {
                tracing::error!(partition = self.partition, %error, "the log takes no more writes");
                Appended::Never
            }
        }
    }

    /// Whether to append again at once: only the bound of a turn ended the last call, or a step of the machine may have opened
    /// the segment for which it waited.
    pub(super) fn has_more_to_append(&self) -> bool {
        (!self.must_wait || self.has_progressed)
            && (!self.backlog.is_empty() || self.is_retry_due() && !self.index.unwritten.is_empty())
    }

    /// Whether failed writes may be tried again.
    pub(super) fn is_retry_due(&self) -> bool {
        self.failing.may_try()
    }

    /// Whether every write that was sent is in the log's buffer, but for those that never will be.
    pub(super) fn is_all_appended(&self) -> bool {
        let is_none_to_try = self.index.unwritten.is_empty() && self.stalled.is_empty();
        self.backlog.is_empty() && is_none_to_try && self.messages.is_empty()
    }

    /// Writes that were sent and are not in the log's buffer.
    pub(super) fn left_to_append(&self) -> u64 {
        let writes = self.backlog.iter().filter(|work| matches!(work, Work::Dirty(..))).count();
        (writes + self.stalled.len() + self.index.unwritten.len()) as u64 + self.never
    }
}
