//! Slot sizes.

use core::{fmt, iter};

/// Tells why a table of slot sizes was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SizeClassesError {
    /// There is none.
    Empty,
    /// There are more than [`SizeClasses::COUNT_MAX`].
    TooMany,
    /// A size is zero, or not larger than the one before it.
    NotAscending,
}

impl fmt::Display for SizeClassesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no size class"),
            Self::TooMany => write!(f, "there are more than {} size classes", SizeClasses::COUNT_MAX),
            Self::NotAscending => f.write_str("size classes must be above zero and ascend"),
        }
    }
}

impl core::error::Error for SizeClassesError {}

/// A table of slot sizes in bytes, ascending.
///
/// An object goes into the smallest slot it fits, and the rest of the slot is internal fragmentation: so the steps
/// between the sizes are the largest share that can be wasted.
///
/// ```
/// use coldpress_core::pool::SizeClasses;
///
/// const CLASSES: SizeClasses<'static> = match SizeClasses::new(&[32, 64, 128]) {
///     Ok(classes) => classes,
///     Err(_) => panic!("the table is written above"),
/// };
/// assert_eq!(CLASSES.smallest_for(33), Some(64));
/// assert_eq!(CLASSES.smallest_for(129), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SizeClasses<'a> {
    slot_bytes: &'a [u32],
}

impl<'a> SizeClasses<'a> {
    /// The largest number of classes, by which the work per choice of a class is bounded.
    pub const COUNT_MAX: usize = 128;

    /// Checks a table; in a constant it is checked by the compiler.
    ///
    /// # Errors
    /// [`SizeClassesError`] names what is wrong with it.
    pub const fn new(slot_bytes: &'a [u32]) -> Result<Self, SizeClassesError> {
        if slot_bytes.is_empty() {
            return Err(SizeClassesError::Empty);
        }
        if slot_bytes.len() > Self::COUNT_MAX {
            return Err(SizeClassesError::TooMany);
        }
        let mut rest = slot_bytes;
        let mut before = 0;
        while let [first, others @ ..] = rest {
            if *first <= before {
                return Err(SizeClassesError::NotAscending);
            }
            before = *first;
            rest = others;
        }
        Ok(Self { slot_bytes })
    }

    /// Returns the sizes.
    #[must_use]
    pub const fn slot_bytes(&self) -> &'a [u32] {
        self.slot_bytes
    }

    /// Returns the smallest size that holds `len` bytes.
    #[must_use]
    pub fn smallest_for(&self, len: u32) -> Option<u32> {
        self.slot_bytes.get(self.slot_bytes.partition_point(|bytes| *bytes < len)).copied()
    }

    /// Returns sizes from `min` to `max` in which each doubling is cut into about `steps` equal steps, so that an object
    /// wastes at most one part in `steps` of its slot. Sizes are multiples of 8, but for `max` itself.
    ///
    /// # Bounds
    /// At most 64 × `steps` sizes; the caller takes no more than it has room for.
    pub fn spaced(min: u32, max: u32, steps: u32) -> impl Iterator<Item = u32> {
        let steps = steps.max(1);
        let base = min.max(8).next_multiple_of(8);
        let next = move |now: &u32| {
            let mut octave = base;
            while let Some(double) = octave.checked_mul(2).filter(|double| double <= now) {
                octave = double;
            }
            let step = octave.checked_div(steps).unwrap_or(8).max(8) & !7;
            now.checked_add(step)
        };
        let below = iter::successors(Some(base), next).take_while(move |bytes| *bytes < max);
        below.chain(iter::once(max))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    #[test]
    fn malformed_tables_are_refused() {
        assert_eq!(SizeClasses::new(&[]), Err(SizeClassesError::Empty));
        assert_eq!(SizeClasses::new(&[0, 1]), Err(SizeClassesError::NotAscending));
        assert_eq!(SizeClasses::new(&[8, 8]), Err(SizeClassesError::NotAscending));
        let many: Vec<u32> = (1..=129).collect();
        assert_eq!(SizeClasses::new(&many), Err(SizeClassesError::TooMany));
        assert!(SizeClasses::new(&many[..128]).is_ok());
    }

    #[test]
    fn spaced_sizes_ascend_and_waste_at_most_one_step() {
        for steps in [1, 2, 4, 8] {
            for (min, max) in [(64, 262_144), (8, 8), (64, 65_000), (1, 4_096), (1 << 20, u32::MAX)] {
                let sizes: Vec<u32> = SizeClasses::spaced(min, max, steps).collect();
                assert!(SizeClasses::new(&sizes).is_ok(), "{min} {max} {steps}: {sizes:?}");
                assert_eq!(sizes.last(), Some(&max));
                for pair in sizes.windows(2).filter(|pair| pair[0] >= 8 * steps) {
                    let step = pair[1] - pair[0];
                    assert!(step <= pair[0].div_ceil(steps) + 8, "{steps}: {pair:?}");
                }
            }
        }
        let sizes: Vec<u32> = SizeClasses::spaced(64, 512, 4).collect();
        assert_eq!(sizes, [64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512]);
    }

    #[test]
    fn any_length_gets_the_smallest_slot_that_holds_it() {
        let classes = SizeClasses::new(&[16, 48, 64]).unwrap();
        for len in 0..=70 {
            let expected = [16, 48, 64].into_iter().find(|bytes| *bytes >= len);
            assert_eq!(classes.smallest_for(len), expected);
        }
    }
}
