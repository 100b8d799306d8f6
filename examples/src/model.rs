//! The content that a store must have: every read is checked against this model.
//!
//! Each thread keeps the model of its own keys, so a key's version is known exactly at every moment. A store
//! counts time in seconds and a call takes a while, so around the moment of expiry both answers
//! are right; outside of it only one is.

use core::time::Duration;
use std::collections::HashMap;
use std::time::Instant;

/// How far around its stated moment an expiry may happen, in milliseconds: one second of the store's clock, and a tenth for the
/// time between two readings of clocks.
pub const EXPIRY_SLACK_MS: u64 = 1100;

/// Milliseconds since a run began.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts at zero.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Reads the clock.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Reads the clock in whole milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// When a call began and when it returned, in milliseconds of the [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Before the call.
    pub from_ms: u64,
    /// After it.
    pub until_ms: u64,
}

/// The entry of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The version of the last value, counted from one; the contents follow from it.
    pub version: u32,
    /// Bytes of the last value.
    pub len: u32,
    /// Bytes of the key.
    pub key_len: u16,
    /// Whether the last thing done was a put.
    is_held: bool,
    /// The first moment at which the value may be gone, and the first at which it must be.
    expiry: Option<Span>,
}

/// The right answer of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The value.
    Value,
    /// Nothing.
    Nothing,
    /// One or the other: the value expires about now.
    Either,
}

impl Entry {
    /// Gives the right answer of a read that took that span.
    #[must_use]
    pub fn expected(&self, span: Span) -> Expected {
        match self.expiry {
            _ if !self.is_held => Expected::Nothing,
            None => Expected::Value,
            Some(expiry) if span.until_ms < expiry.from_ms => Expected::Value,
            Some(expiry) if span.from_ms > expiry.until_ms => Expected::Nothing,
            Some(_) => Expected::Either,
        }
    }
}

/// The keys of one thread.
#[derive(Debug, Default)]
pub struct Model {
    entries: HashMap<u64, Entry>,
}

impl Model {
    /// Gives the entry of a key.
    #[must_use]
    pub fn entry(&self, key: u64) -> Option<&Entry> {
        self.entries.get(&key)
    }

    /// Lists all keys that were ever put, removed and expired ones too.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }

    /// Lists the keys whose last value was not removed, with the lengths of the keys.
    #[must_use]
    pub fn held(&self) -> Vec<(u64, u16)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.is_held)
            .map(|(key, entry)| (*key, entry.key_len))
            .collect()
    }

    /// Gives the number of keys that were ever put.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether nothing was ever put.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives the version that the next value of a key has.
    #[must_use]
    pub fn next_version(&self, key: u64) -> u32 {
        self.entry(key).map_or(1, |entry| entry.version.wrapping_add(1))
    }

    /// Notes that a value was stored.
    pub fn put(&mut self, key: u64, key_len: u16, version: u32, len: u32, ttl_s: Option<u32>, span: Span) {
        let expiry = ttl_s.map(|ttl| {
            let ttl_ms = u64::from(ttl) * 1000;
            Span {
                from_ms: (span.from_ms + ttl_ms).saturating_sub(EXPIRY_SLACK_MS),
                until_ms: span.until_ms + ttl_ms + EXPIRY_SLACK_MS,
            }
        });
        self.entries.insert(key, Entry { version, len, key_len, is_held: true, expiry });
    }

    /// Notes that a key was removed, or found evicted; its version is kept, so that none comes twice.
    pub fn remove(&mut self, key: u64) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.is_held = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(from_ms: u64, until_ms: u64) -> Span {
        Span { from_ms, until_ms }
    }

    #[test]
    fn value_near_its_expiry_may_be_present_or_absent() {
        let mut model = Model::default();
        model.put(1, 8, 1, 10, Some(4), span(1000, 1200));
        let entry = *model.entry(1).unwrap();
        // May be gone from 1000 + 4000 - 1100, must be gone after 1200 + 4000 + 1100.
        for (from, until, expected) in [
            (1200, 3899, Expected::Value),
            (1200, 3900, Expected::Either),
            (6300, 6300, Expected::Either),
            (6301, 6301, Expected::Nothing),
            (3000, 9000, Expected::Either),
        ] {
            assert_eq!(entry.expected(span(from, until)), expected, "{from}..{until}");
        }
    }

    #[test]
    fn key_removed_and_put_again_never_repeats_a_version() {
        let mut model = Model::default();
        assert_eq!(model.next_version(5), 1);
        model.put(5, 8, 1, 10, None, span(0, 0));
        assert_eq!(model.entry(5).unwrap().expected(span(9, 9)), Expected::Value);
        model.remove(5);
        assert_eq!(model.entry(5).unwrap().expected(span(9, 9)), Expected::Nothing);
        assert_eq!(model.next_version(5), 2);
        assert_eq!(model.len(), 1);
        model.remove(6);
        assert_eq!(model.len(), 1);
    }
}
