//! From the index into the log: what is pending is appended in the order in which it was sent.

use core::sync::atomic::Ordering::Relaxed;

use coldpress_core::log::{KeyHash, Location};
use coldpress_core::tier::{AppendError, Fresh, Now};

use super::waiting::answer;
use super::{Work, Worker};
use crate::clock::monotonic_ms;
use crate::tier::entry::Entry;
use crate::tier::error::TierError;

/// Appends in one turn.
const APPENDS_PER_TURN: usize = 1024;

/// What became of one key's pending write.
enum Appended {
    /// It is in the log's buffer, now or since earlier; or there is none.
    Yes,
    /// Offer it again.
    Busy,
    /// The log is full of live records.
    Full,
    /// It will never fit.
    Never,
}

impl Worker<'_> {
    pub(super) fn append_backlog(&mut self) {
        let now = self.now();
        self.take_unwritten();
        for _ in 0..APPENDS_PER_TURN {
            let Some(work) = self.backlog.pop_front() else { break };
            match work {
                Work::Flush(waiter) => self.waiters.push(self.tier.appended(), waiter),
                Work::Dirty(hash, waiter) => match self.append(now, &hash) {
                    Appended::Yes => {
                        self.shell.queued.fetch_sub(1, Relaxed);
                        if let Some(waiter) = waiter {
                            self.waiters.push(self.tier.appended(), waiter);
                        }
                    }
                    Appended::Busy => {
                        self.backlog.push_front(Work::Dirty(hash, waiter));
                        break;
                    }
                    // Removes behind it may free what it needs.
                    Appended::Full | Appended::Never => {
                        self.shell.queued.fetch_sub(1, Relaxed);
                        self.stalled.push_back(hash);
                        if let Some(waiter) = waiter {
                            answer(&waiter.reply, Err(TierError::NoRoom));
                        }
                    }
                },
            }
        }
        if self.waiters.wants_sync() {
            self.tier.sync();
        } else if self.waiters.wants_flush() || self.is_memory_short() {
            self.tier.flush();
        }
    }

    /// Whether so much is pending that writing should not wait for more.
    fn is_memory_short(&self) -> bool {
        self.shell.sums.pending_bytes.load(Relaxed) > self.pending_bytes_max / 2
    }

    /// Puts keys whose write failed, or did not fit, back into the line; they have no place reserved in the queue.
    fn take_unwritten(&mut self) {
        let retry_at_ms = self.shell.health.retry_ms();
        let is_time = self.shell.health.failure().is_none() || monotonic_ms() >= retry_at_ms;
        if is_time {
            let again = self.index.unwritten.drain(..).chain(self.stalled.drain(..));
            for hash in again {
                self.shell.queued.fetch_add(1, Relaxed);
                self.backlog.push_front(Work::Dirty(hash, None));
            }
        }
    }

    /// Appends the pending write of a key, whichever is the current one: one that was superseded is acknowledged with its
    /// successor.
    fn append(&mut self, now: Now, hash: &KeyHash) -> Appended {
        let tier = &mut self.tier;
        let append = |entry: &mut Entry| {
            let after = entry.newest_version();
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
            };
            let at: Location = tier.append(now, &fresh)?;
            pending.inflight = Some(at);
            Ok(Some(at))
        };
        match self.shell.mutate(&self.terms, hash, append) {
            None | Some(Ok(None)) => Appended::Yes,
            Some(Ok(Some(_))) => {
                self.unwritten_since_ms.get_or_insert(now.monotonic_ms);
                Appended::Yes
            }
            Some(Err(AppendError::Busy | AppendError::NotMounted)) => Appended::Busy,
            Some(Err(AppendError::Full)) => Appended::Full,
            Some(Err(error)) => {
                tracing::error!(%error, "a write can't be appended");
                Appended::Never
            }
        }
    }

    /// Whether every write that was sent is in the log's buffer.
    pub(super) fn is_all_appended(&self) -> bool {
        self.backlog.is_empty()
            && self.stalled.is_empty()
            && self.index.unwritten.is_empty()
            && self.messages.is_empty()
    }

    /// Writes that were sent and are not in the log's buffer.
    pub(super) fn left_to_append(&self) -> u64 {
        (self.backlog.len() + self.stalled.len() + self.index.unwritten.len()) as u64
    }
}
