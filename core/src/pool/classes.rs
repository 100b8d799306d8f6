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
    /// [`SizeClassesError`] names the fault.
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

    /// Returns sizes that cut a page into equal slots without a rest worth naming, from about `min` up to `max` or a little
    /// above. Each doubling of the number of slots is passed in about `steps` steps, so an object wastes at most about one
    /// part in `steps` of its slot. Sizes are multiples of 8.
    ///
    /// Sizes that do not divide the page would leave a rest at its end that no move can give back.
    ///
    /// # Bounds
    /// At most 32 × (`steps` + 1) sizes; the caller takes no more than it has space for.
    pub fn cut_from(page_bytes: u32, min: u32, max: u32, steps: u32) -> impl Iterator<Item = u32> {
        let least = page_bytes.checked_div(max).unwrap_or(1).max(1);
        let most = page_bytes.checked_div(min.max(8)).unwrap_or(1).max(least);
        let fewer = move |slots: &u32| {
            let octave = slots.checked_next_power_of_two().map_or(1 << 31, |power| power / 2);
            let step = octave.checked_div(steps).unwrap_or(1).max(1);
            slots.checked_sub(step).map(|fewer| fewer.max(octave)).filter(|fewer| *fewer >= least)
        };
        let mut last = 0;
        iter::successors(Some(most), fewer).filter_map(move |slots| {
            let bytes = page_bytes.checked_div(slots)? & !7;
            let larger = bytes > last;
            last = last.max(bytes);
            larger.then_some(bytes)
        })
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
    fn cut_sizes_ascend_fill_the_page_and_reach_both_ends() {
        for (page_bytes, min, max) in
            [(1 << 18, 256, 1 << 16), (1 << 20, 64, 1 << 20), (4_096, 16, 1_000), (64, 8, 64)]
        {
            for steps in [1, 2, 4] {
                let sizes: Vec<u32> = SizeClasses::cut_from(page_bytes, min, max, steps).collect();
                let why = std::format!("{page_bytes} {min} {max} {steps}: {sizes:?}");
                assert!(SizeClasses::new(&sizes).is_ok(), "{why}");
                assert!(sizes.first() <= Some(&(min + 8)) && sizes.last() >= Some(&(max & !7)), "{why}");
                assert!(sizes.iter().all(|bytes| page_bytes % bytes <= 8 * (page_bytes / bytes)), "{why}");
            }
        }
        let sizes: Vec<u32> = SizeClasses::cut_from(4_096, 256, 1_024, 4).collect();
        assert_eq!(sizes, [256, 288, 336, 408, 512, 584, 680, 816, 1_024]);
    }

    #[test]
    fn page_of_nothing_cuts_into_nothing() {
        assert_eq!(SizeClasses::cut_from(0, 0, 0, 0).count(), 0);
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
