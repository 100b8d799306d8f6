//! Checks the answers of a store against the model and counts those that are not right.

use core::time::Duration;
use std::time::Instant;

use crate::drive::{DriveError, Job};
use crate::model::{Clock, Entry, Expected, Span};
use crate::request::{KEY_BYTES_MAX, key_bytes};
use crate::store::{Handle, StoreError};

/// How an answer differed from the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A value that should be there is not.
    Missing,
    /// The value is not the one that was put last.
    Wrong,
    /// A value is there that was removed or is expired.
    Returned,
    /// The store reports that the value cannot be read.
    Unreadable,
}

/// One answer that was not right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// The key.
    pub key: u64,
    /// The version that was put last.
    pub version: u32,
    /// The fault.
    pub fault: Fault,
}

/// The counts of a run.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Requests that were carried out.
    pub requests: u64,
    /// Values that were stored.
    pub puts: u64,
    /// Reads.
    pub gets: u64,
    /// Reads that found a value.
    pub hits: u64,
    /// Removals.
    pub removes: u64,
    /// Puts that the store refused because it was full.
    pub refused: u64,
    /// Reads that found a value dropped by a store that may evict.
    pub evicted: u64,
    /// Answers that were not right.
    pub mismatches: u64,
    /// The first of them, to look into.
    pub examples: Vec<Mismatch>,
}

impl Counts {
    const EXAMPLES_MAX: usize = 5;

    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.puts += other.puts;
        self.gets += other.gets;
        self.hits += other.hits;
        self.removes += other.removes;
        self.refused += other.refused;
        self.evicted += other.evicted;
        self.mismatches += other.mismatches;
        self.examples.extend(other.examples);
        self.examples.truncate(Self::EXAMPLES_MAX);
    }
}

/// One answer of the store, and when it came.
pub(crate) struct Reading {
    pub(crate) span: Span,
    pub(crate) took: Duration,
    pub(crate) answer: Result<Option<Vec<u8>>, StoreError>,
}

impl Reading {
    pub(crate) fn take<H: Handle>(handle: H, clock: Clock, key: u64, key_len: u16) -> Self {
        let mut buffer = [0; KEY_BYTES_MAX];
        let bytes = key_bytes(key, key_len, &mut buffer);
        let from_ms = clock.now_ms();
        let called = Instant::now();
        let answer = handle.get(bytes);
        let took = called.elapsed();
        Self { span: Span { from_ms, until_ms: clock.now_ms() }, took, answer }
    }
}

impl Counts {
    /// Checks an answer against the model; `true` where the model should forget the value, since a store that
    /// may drop values has dropped it.
    pub(crate) fn judge(
        &mut self,
        job: &Job,
        key: u64,
        entry: Option<&Entry>,
        reading: &Reading,
    ) -> Result<bool, DriveError> {
        let expected = entry.map_or(Expected::Nothing, |entry| entry.expected(reading.span));
        let version = entry.map_or(0, |entry| entry.version);
        let fault = match (&reading.answer, expected) {
            (Err(StoreError::Damaged(_)), _) => Some(Fault::Unreadable),
            (Err(error), _) => return Err(error.clone().into()),
            (Ok(None), Expected::Nothing | Expected::Either) => None,
            (Ok(None), Expected::Value) if job.can_evict => {
                self.evicted += 1;
                return Ok(true);
            }
            (Ok(None), Expected::Value) => Some(Fault::Missing),
            (Ok(Some(_)), Expected::Nothing) => Some(Fault::Returned),
            (Ok(Some(value)), Expected::Value | Expected::Either) => {
                self.hits += 1;
                let is_right = entry.is_some_and(|entry| {
                    value.len() == entry.len as usize && job.content.matches(key, version, value)
                });
                (!is_right).then_some(Fault::Wrong)
            }
        };
        if let Some(fault) = fault {
            self.mismatches += 1;
            if self.examples.len() < Self::EXAMPLES_MAX {
                self.examples.push(Mismatch { key, version, fault });
            }
        }
        Ok(false)
    }
}
