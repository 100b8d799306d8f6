//! Whether the values of a partition shrink: if they do not, compression is skipped for a while.
//!
//! A codec takes as long on values that do not shrink as on others, and gains nothing. So after [`FAILED_MAX`] values in a row that did
//! not shrink, the next ones are stored raw without a try: first 16 of them, and twice as many each time that the try behind them
//! fails too, up to 256. A value that shrinks ends that. So a stream that does not shrink is compressed once in 257 values, and one
//! that begins to shrink has at most 256 values stored raw.
//!
//! The decisions depend on the sequence of the partition's puts alone, and on no clock.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use coldpress_core::codec::CodecId;

use super::handle::ColdTierHandle;
use super::opened::{Part, TierLimits};
use crate::errors::TierError;

/// Values in a row that do not shrink, after which some are skipped.
const FAILED_MAX: u16 = 16;

/// The values that are skipped at first, and at most.
const SKIPS_MIN: u16 = 16;
const SKIPS_MAX: u16 = 256;

/// The outcome of the last values of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Recent {
    /// Values in a row that did not shrink.
    failed: u16,
    /// Values that are still to be skipped.
    left: u16,
    /// How many were skipped the last time.
    skips: u16,
}

impl Recent {
    const fn from_bits(bits: u64) -> Self {
        let [a, b, c, d, e, f, ..] = bits.to_le_bytes();
        let [failed, left, skips] =
            [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]), u16::from_le_bytes([e, f])];
        Self { failed, left, skips }
    }

    const fn to_bits(self) -> u64 {
        let ([a, b], [c, d], [e, f]) =
            (self.failed.to_le_bytes(), self.left.to_le_bytes(), self.skips.to_le_bytes());
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// The state behind a value that is skipped; `None` where it is to be tried.
    const fn skipped(self) -> Option<Self> {
        match self.left.checked_sub(1) {
            Some(left) => Some(Self { left, ..self }),
            None => None,
        }
    }

    /// The state behind a value that was tried.
    fn tried(self, has_shrunk: bool) -> Self {
        if has_shrunk {
            return Self::default();
        }
        let failed = self.failed.saturating_add(1);
        if failed < FAILED_MAX {
            return Self { failed, ..self };
        }
        let skips = self.skips.saturating_mul(2).clamp(SKIPS_MIN, SKIPS_MAX);
        Self { failed: FAILED_MAX, left: skips, skips }
    }
}

/// The state of one partition, for all threads that put to it.
#[derive(Debug, Default)]
pub(crate) struct Shrinking(AtomicU64);

/// The decision about one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShrinkTrial {
    /// It is stored raw.
    Skip,
    /// It is to be compressed, and [`tried`](Shrinking::tried) called with the outcome.
    Try,
    /// The same, and the call is needed only where it did not shrink.
    TryAmongShrinking,
}

impl Shrinking {
    /// Decides about the next value.
    pub(super) fn next(&self) -> ShrinkTrial {
        let bits = self.0.load(Relaxed);
        if bits == 0 {
            return ShrinkTrial::TryAmongShrinking;
        }
        let skip = |bits| Recent::from_bits(bits).skipped().map(Recent::to_bits);
        if self.0.fetch_update(Relaxed, Relaxed, skip).is_ok() { ShrinkTrial::Skip } else { ShrinkTrial::Try }
    }

    /// Takes the outcome of a try.
    pub(super) fn tried(&self, has_shrunk: bool) {
        let next = |bits| Some(Recent::from_bits(bits).tried(has_shrunk).to_bits());
        // It gives a state for each.
        let _ = self.0.fetch_update(Relaxed, Relaxed, next);
    }
}

impl ColdTierHandle {
    /// Notes whether a value shrank, where its partition is to know it.
    pub(super) fn note_trial(
        &self,
        part: usize,
        trial: ShrinkTrial,
        has_shrunk: bool,
    ) -> Result<(), TierError> {
        let is_noted = match trial {
            ShrinkTrial::Skip => false,
            ShrinkTrial::Try => true,
            ShrinkTrial::TryAmongShrinking => !has_shrunk,
        };
        if is_noted {
            self.enter(|open| open.part(part).map(|part| part.shrinking.tried(has_shrunk)))?
        } else {
            Ok(())
        }
    }
}

impl Part {
    /// The codec for the next value, and whether its outcome is to be noted. It is raw where a try would be in vain.
    pub(super) fn codec_for(&self, limits: &TierLimits) -> (CodecId, ShrinkTrial) {
        let codec = self.shared.codec();
        // A put that may be unchanged is compared as encoded, so the same value is always encoded in the same way.
        if codec == CodecId::Raw || limits.skips_unchanged {
            return (codec, ShrinkTrial::Skip);
        }
        match self.shrinking.next() {
            ShrinkTrial::Skip => {
                self.shared.counts.skipped_compressions.fetch_add(1, Relaxed);
                (CodecId::Raw, ShrinkTrial::Skip)
            }
            trial => (codec, trial),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes values, and returns which of them were tried.
    fn pass(shrinking: &Shrinking, values: impl IntoIterator<Item = bool>) -> Vec<bool> {
        let one = |shrinks| {
            let is_tried = shrinking.next() != ShrinkTrial::Skip;
            if is_tried {
                shrinking.tried(shrinks);
            }
            is_tried
        };
        values.into_iter().map(one).collect()
    }

    fn count(tried: &[bool]) -> usize {
        tried.iter().filter(|is_tried| **is_tried).count()
    }

    #[test]
    fn values_that_never_shrink_are_tried_ever_more_seldom() {
        let shrinking = Shrinking::default();
        let tried = pass(&shrinking, [false; 100_000]);
        assert_eq!(count(&tried[..16]), 16);
        let first: Vec<usize> = (0..1_000).filter(|at| *at >= 16 && tried[*at]).collect();
        assert_eq!(first[..6], [32, 65, 130, 259, 516, 773]);
        assert_eq!(count(&tried[1_000..1_000 + 257 * 100]), 100);
    }

    #[test]
    fn value_that_shrinks_ends_the_skipping() {
        let shrinking = Shrinking::default();
        pass(&shrinking, [false; 10_000]);
        let tried = pass(&shrinking, [true; 1_000]);
        let first = tried.iter().position(|is_tried| *is_tried).unwrap();
        assert!(first <= 256);
        assert_eq!(count(&tried), 1_000 - first);
        assert_eq!(shrinking.next(), ShrinkTrial::TryAmongShrinking);
    }

    #[test]
    fn one_value_in_sixteen_that_shrinks_keeps_all_tried() {
        let shrinking = Shrinking::default();
        let tried = pass(&shrinking, (0..10_000).map(|at| at % 16 == 15));
        assert_eq!(count(&tried), 10_000);
    }

    #[test]
    fn same_sequence_of_values_gets_the_same_decisions() {
        let values: Vec<bool> = (0..5_000u32).map(|at| at.wrapping_mul(0x9E37_79B1) >> 27 == 0).collect();
        let passes = [(); 2].map(|()| pass(&Shrinking::default(), values.clone()));
        assert_eq!(passes[0], passes[1]);
        assert!(count(&passes[0]) < 5_000);
    }

    #[test]
    fn state_survives_its_bits() {
        for (failed, left, skips) in [(0, 0, 0), (1, 2, 3), (u16::MAX, 0, u16::MAX), (0, u16::MAX, 0)] {
            let recent = Recent { failed, left, skips };
            assert_eq!(Recent::from_bits(recent.to_bits()), recent);
        }
    }
}
