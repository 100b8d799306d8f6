//! The source of pages, to which they go back.

use core::fmt;

/// Names one page of a [`Pages`]; smaller than the number of pages it can ever have committed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PageId(
    /// The number of the page.
    pub u16,
);

/// Tells why no page was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PagesError {
    /// All pages allowed are committed.
    Exhausted,
    /// The backing memory refused, as an operating system does when it is out of memory.
    Refused,
}

impl fmt::Display for PagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "all pages are committed",
            Self::Refused => "the backing memory refused a page",
        })
    }
}

impl core::error::Error for PagesError {}

/// Lends pages of equal size, one by one.
///
/// A page is the unit in which memory is returned, so this is the whole interface to the backing memory: on a device
/// slices of a static region, on a host one mapping each.
pub trait Pages {
    /// Returns the size of a page in bytes. It never changes.
    fn page_bytes(&self) -> u32;

    /// Takes a page from the backing memory. Its contents are of no concern.
    ///
    /// # Errors
    /// [`PagesError`] when there is none to be had.
    fn commit(&mut self) -> Result<PageId, PagesError>;

    /// Returns a page to the backing memory. Of a page that is not committed it does nothing.
    fn release(&mut self, page: PageId);

    /// Borrows the bytes of a committed page.
    fn bytes(&self, page: PageId) -> Option<&[u8]>;

    /// Borrows the bytes of a committed page for writing.
    fn bytes_mut(&mut self, page: PageId) -> Option<&mut [u8]>;

    /// Borrows one page to copy from and another to copy to; `None` when they are the same or one is not committed.
    fn pair(&mut self, from: PageId, to: PageId) -> Option<(&[u8], &mut [u8])>;
}

/// Lends the pages of one region of memory, such as a `static` buffer; at most `PAGES` of them.
///
/// A region returns memory to nobody: the firmware may use all but the committed pages for something else.
/// [`free_pages`](Self::free_pages) tells how many it may use.
///
/// ```
/// use coldpress_core::pool::{Pages, RegionPages};
///
/// let mut pages: RegionPages<[u8; 4096], 4> = RegionPages::new([0; 4096], 1024);
/// let page = pages.commit()?;
/// assert_eq!(pages.free_pages(), 3);
/// pages.release(page);
/// assert_eq!(pages.free_pages(), 4);
/// # Ok::<(), coldpress_core::pool::PagesError>(())
/// ```
#[derive(Clone)]
pub struct RegionPages<B, const PAGES: usize> {
    region: B,
    page_bytes: u32,
    committed: [bool; PAGES],
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const PAGES: usize> RegionPages<B, PAGES> {
    /// Cuts a region into pages. A rest at its end is not used, nor is anything past `PAGES` pages.
    pub const fn new(region: B, page_bytes: u32) -> Self {
        Self { region, page_bytes, committed: [false; PAGES] }
    }

    /// Returns the number of pages that could be committed now.
    #[must_use]
    pub fn free_pages(&self) -> usize {
        self.committed.iter().take(self.pages_max()).filter(|committed| !**committed).count()
    }

    fn pages_max(&self) -> usize {
        let page_bytes = self.page_bytes as usize;
        let in_region = self.region.as_ref().len().checked_div(page_bytes).unwrap_or(0);
        in_region.min(PAGES).min(usize::from(u16::MAX))
    }

    fn is_committed(&self, page: PageId) -> bool {
        self.committed.get(usize::from(page.0)).copied().unwrap_or(false)
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, const PAGES: usize> Pages for RegionPages<B, PAGES> {
    fn page_bytes(&self) -> u32 {
        self.page_bytes
    }

    fn commit(&mut self) -> Result<PageId, PagesError> {
        let pages_max = self.pages_max();
        let mut places = (0u16..).zip(self.committed.iter_mut()).take(pages_max);
        let (number, place) = places.find(|(_, committed)| !**committed).ok_or(PagesError::Exhausted)?;
        *place = true;
        Ok(PageId(number))
    }

    fn release(&mut self, page: PageId) {
        if let Some(place) = self.committed.get_mut(usize::from(page.0)) {
            *place = false;
        }
    }

    fn bytes(&self, page: PageId) -> Option<&[u8]> {
        if !self.is_committed(page) {
            return None;
        }
        self.region.as_ref().chunks_exact(self.page_bytes as usize).nth(usize::from(page.0))
    }

    fn bytes_mut(&mut self, page: PageId) -> Option<&mut [u8]> {
        if !self.is_committed(page) {
            return None;
        }
        self.region.as_mut().chunks_exact_mut(self.page_bytes as usize).nth(usize::from(page.0))
    }

    fn pair(&mut self, from: PageId, to: PageId) -> Option<(&[u8], &mut [u8])> {
        if from == to || !self.is_committed(from) || !self.is_committed(to) {
            return None;
        }
        let page_bytes = self.page_bytes as usize;
        let (low, high) = (from.0.min(to.0), from.0.max(to.0));
        let (below, above) = self.region.as_mut().split_at_mut_checked(usize::from(high) * page_bytes)?;
        let low = below.get_mut(usize::from(low) * page_bytes..)?.get_mut(..page_bytes)?;
        let high = above.get_mut(..page_bytes)?;
        Some(if from.0 < to.0 { (low, high) } else { (high, low) })
    }
}

impl<B, const PAGES: usize> fmt::Debug for RegionPages<B, PAGES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let committed = self.committed.iter().filter(|committed| **committed).count();
        write!(f, "RegionPages({committed} committed of {PAGES}, {} B each)", self.page_bytes)
    }
}

#[cfg(feature = "defmt")]
impl<B, const PAGES: usize> defmt::Format for RegionPages<B, PAGES> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let committed = self.committed.iter().filter(|committed| **committed).count();
        defmt::write!(
            f,
            "RegionPages({=usize} of {=usize}, {=u32} B each)",
            committed,
            PAGES,
            self.page_bytes
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> RegionPages<[u8; 70], 8> {
        RegionPages::new([0; 70], 16)
    }

    #[test]
    fn exhausted_commit_is_refused_until_a_release() {
        let mut pages = region();
        // 70 bytes hold four whole pages of 16.
        for number in 0..4 {
            assert_eq!(pages.commit(), Ok(PageId(number)));
        }
        assert_eq!(pages.commit(), Err(PagesError::Exhausted));
        pages.release(PageId(2));
        assert_eq!(pages.free_pages(), 1);
        assert_eq!(pages.commit(), Ok(PageId(2)));
    }

    #[test]
    fn pair_borrows_two_pages_in_either_order() {
        let mut pages = region();
        for _ in 0..3 {
            pages.commit().unwrap();
        }
        pages.bytes_mut(PageId(0)).unwrap().fill(1);
        pages.bytes_mut(PageId(2)).unwrap().fill(3);
        for (from, to, value) in [(0, 2, 1), (2, 0, 3)] {
            let (source, target) = pages.pair(PageId(from), PageId(to)).unwrap();
            assert_eq!((source.len(), target.len()), (16, 16));
            assert!(source.iter().all(|byte| *byte == value));
        }
        assert!(pages.pair(PageId(1), PageId(1)).is_none());
        assert!(pages.pair(PageId(1), PageId(3)).is_none());
    }

    #[test]
    fn page_of_no_bytes_commits_nothing() {
        let mut pages: RegionPages<[u8; 8], 2> = RegionPages::new([0; 8], 0);
        assert_eq!(pages.commit(), Err(PagesError::Exhausted));
        assert!(pages.bytes(PageId(0)).is_none());
    }
}
