//! A count that tells whether anything was done since a look that found nothing.

use crate::writer::Log;

/// Erases and records of a log, modulo 2³²: while their number is the same, another look finds the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deeds(u32);

impl Deeds {
    #[expect(clippy::cast_possible_truncation, reason = "so many are never done between two looks")]
    pub(super) fn of(log: &Log<'_>) -> Self {
        let counters = &log.counters;
        let done = counters.erases + counters.fresh_records + counters.relocated_records;
        Self(done as u32)
    }
}
