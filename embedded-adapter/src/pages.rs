//! Pages of a region whose size is fixed when the firmware is built.

use core::fmt;

use coldpress_core::pool::{PageId, Pages, PagesError};

/// The memory itself; aligned so that a word, or a DMA transfer of words, may start at a page.
#[repr(align(8))]
struct Region<const PAGE: usize, const N: usize>([[u8; PAGE]; N]);

/// Lends `N` pages of `PAGE` bytes each, which lie in the value itself and so in a `static`.
///
/// The size is part of the type: a region that is no whole number of words, or beyond the page numbers, does not compile. The
/// memory it takes is a constant to add up. Firmware that must cut up a buffer it was handed at run time uses
/// [`RegionPages`](coldpress_core::pool::RegionPages).
///
/// ```
/// use coldpress_embedded::pool::Pages;
/// use coldpress_embedded::{StaticPages, TryCell};
///
/// static PAGES: TryCell<StaticPages<256, 8>> = TryCell::new(StaticPages::new());
///
/// const _: () = assert!(StaticPages::<256, 8>::POOL_BYTES == 2_048);
/// let free = PAGES.try_with(|pages| pages.commit().map(|_| pages.free_pages()))?;
/// assert_eq!(free, Ok(7));
/// # Ok::<(), coldpress_embedded::Contended>(())
/// ```
pub struct StaticPages<const PAGE: usize, const N: usize> {
    region: Region<PAGE, N>,
    committed: [bool; N],
}

impl<const PAGE: usize, const N: usize> StaticPages<PAGE, N> {
    /// Bytes of all pages together: the most that the pools can hold.
    pub const POOL_BYTES: usize = {
        assert!(PAGE > 0 && PAGE.is_multiple_of(8), "a page is a whole number of 8-byte words");
        assert!(PAGE <= u32::MAX as usize, "the size of a page is 32 bits");
        assert!(N > 0 && N <= u16::MAX as usize, "the number of a page is 16 bits");
        PAGE * N
    };

    /// Bytes of RAM the value takes, bookkeeping included.
    pub const RAM_BYTES: usize = size_of::<Self>();

    /// Makes a region with no page committed; usable in a `static`, where it takes no space in the image.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(Self::POOL_BYTES > 0) };
        Self { region: Region([[0; PAGE]; N]), committed: [false; N] }
    }

    /// Returns the number of pages that could be committed now.
    #[must_use]
    pub fn free_pages(&self) -> usize {
        self.committed.iter().filter(|committed| !**committed).count()
    }

    fn is_committed(&self, page: PageId) -> bool {
        self.committed.get(usize::from(page.0)).copied().unwrap_or(false)
    }
}

impl<const PAGE: usize, const N: usize> Default for StaticPages<PAGE, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const PAGE: usize, const N: usize> Pages for StaticPages<PAGE, N> {
    #[expect(clippy::cast_possible_truncation, reason = "POOL_BYTES asserts at compile time that it fits")]
    fn page_bytes(&self) -> u32 {
        PAGE as u32
    }

    fn commit(&mut self) -> Result<PageId, PagesError> {
        let mut places = (0u16..).zip(&mut self.committed);
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
        let bytes = self.region.0.get(usize::from(page.0))?;
        self.is_committed(page).then_some(bytes)
    }

    fn bytes_mut(&mut self, page: PageId) -> Option<&mut [u8]> {
        if !self.is_committed(page) {
            return None;
        }
        self.region.0.get_mut(usize::from(page.0)).map(<[u8; PAGE]>::as_mut_slice)
    }

    fn pair(&mut self, from: PageId, to: PageId) -> Option<(&[u8], &mut [u8])> {
        if !self.is_committed(from) || !self.is_committed(to) {
            return None;
        }
        let pages = [from, to].map(|page| usize::from(page.0));
        let [from, to] = self.region.0.get_disjoint_mut(pages).ok()?;
        Some((from, to))
    }
}

/// A pool holds its pages by value; given this one, it is a few words large and the region stays where it was linked.
impl<const PAGE: usize, const N: usize> Pages for &mut StaticPages<PAGE, N> {
    fn page_bytes(&self) -> u32 {
        (**self).page_bytes()
    }

    fn commit(&mut self) -> Result<PageId, PagesError> {
        (**self).commit()
    }

    fn release(&mut self, page: PageId) {
        (**self).release(page);
    }

    fn bytes(&self, page: PageId) -> Option<&[u8]> {
        (**self).bytes(page)
    }

    fn bytes_mut(&mut self, page: PageId) -> Option<&mut [u8]> {
        (**self).bytes_mut(page)
    }

    fn pair(&mut self, from: PageId, to: PageId) -> Option<(&[u8], &mut [u8])> {
        (**self).pair(from, to)
    }
}

impl<const PAGE: usize, const N: usize> fmt::Debug for StaticPages<PAGE, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticPages({} free of {N}, {PAGE} B each)", self.free_pages())
    }
}

#[cfg(feature = "defmt")]
impl<const PAGE: usize, const N: usize> defmt::Format for StaticPages<PAGE, N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "StaticPages({=usize} free of {=usize}, {=usize} B each)",
            self.free_pages(),
            N,
            PAGE
        );
    }
}
