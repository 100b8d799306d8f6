//! The content of a medium, and the effect of interrupted operations on it. Every double of a medium keeps its bytes in an
//! image.

use core::hash::{Hash, Hasher};
use core::ops::Range;

/// Bytes, and which write units were programmed since their last erase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) programmed: Vec<bool>,
}

impl Image {
    /// An image that was just erased.
    pub(crate) fn blank(len: usize, unit: usize, erase_value: u8) -> Self {
        Self { bytes: vec![erase_value; len], programmed: vec![false; len / unit] }
    }

    /// The units that a range touches.
    pub(crate) const fn units(unit: usize, range: &Range<usize>) -> Range<usize> {
        range.start / unit..range.end.div_ceil(unit)
    }

    /// Programs those of the bytes that `covers` lets through, by their place among them. A unit of which any byte was
    /// written counts as programmed.
    pub(crate) fn program(&mut self, unit: usize, at: usize, bytes: &[u8], covers: impl Fn(usize) -> bool) {
        for (place, byte) in bytes.iter().enumerate().filter(|(place, _)| covers(*place)) {
            self.bytes[at + place] = *byte;
            self.programmed[(at + place) / unit] = true;
        }
    }

    /// Erases those bytes of a range that `covers` lets through, by their place in it. Where any is left out, no unit of
    /// the range counts as blank, however it reads.
    pub(crate) fn erase(
        &mut self,
        unit: usize,
        range: Range<usize>,
        erase_value: u8,
        covers: impl Fn(usize) -> bool,
    ) {
        let covered = range.clone().filter(|at| covers(at - range.start));
        let mut count = 0;
        for at in covered {
            self.bytes[at] = erase_value;
            count += 1;
        }
        if count > 0 {
            self.programmed[Self::units(unit, &range)].fill(count < range.len());
        }
    }
}

impl Hash for Image {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
        // Hashed as bits: one by one they would take longer than the bytes.
        for units in self.programmed.chunks(64) {
            state
                .write_u64(units.iter().fold(0, |bits, is_programmed| bits << 1 | u64::from(*is_programmed)));
        }
    }
}
