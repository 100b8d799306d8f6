//! Pages as anonymous mappings, and the books of a pool on the heap.

use core::sync::atomic::{AtomicU32, Ordering};

use coldpress_core::pool::{
    ClassEntry, GapEntry, ObjectEntry, PageEntry, PageId, PageLayout, Pages, PagesError, SlotEntry, Tables,
};
use memmap2::MmapMut;

use super::config::{MAPPINGS_MAX, PoolConfig};
use super::hot::HotKey;

/// Mappings held by all pools of the process: their limit is the process's, not a pool's.
static MAPPINGS: AtomicU32 = AtomicU32::new(0);

/// One anonymous mapping, counted.
///
/// A mapping of its own is what makes the release real: unmapping returns the memory at once, while an allocator may keep
/// a freed block for later.
#[derive(Debug)]
struct MappedPage(MmapMut);

impl MappedPage {
    fn new(page_bytes: u32) -> Result<Self, PagesError> {
        let more = |count: u32| (count < MAPPINGS_MAX).then_some(count + 1);
        MAPPINGS
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| PagesError::Exhausted)?;
        match MmapMut::map_anon(page_bytes as usize) {
            Ok(mapping) => Ok(Self(mapping)),
            Err(_) => {
                MAPPINGS.fetch_sub(1, Ordering::Relaxed);
                Err(PagesError::Refused)
            }
        }
    }
}

impl Drop for MappedPage {
    fn drop(&mut self) {
        MAPPINGS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lends anonymous mappings as pages.
#[derive(Debug)]
pub(super) struct MappedPages {
    page_bytes: u32,
    pages: Vec<Option<MappedPage>>,
    free: Vec<u16>,
}

impl MappedPages {
    pub(super) fn new(page_bytes: u32, pages_max: u16) -> Self {
        Self {
            page_bytes,
            pages: (0..pages_max).map(|_| None).collect(),
            // Low numbers first.
            free: (0..pages_max).rev().collect(),
        }
    }
}

impl Pages for MappedPages {
    fn page_bytes(&self) -> u32 {
        self.page_bytes
    }

    fn commit(&mut self) -> Result<PageId, PagesError> {
        let number = *self.free.last().ok_or(PagesError::Exhausted)?;
        let place = self.pages.get_mut(usize::from(number)).ok_or(PagesError::Exhausted)?;
        *place = Some(MappedPage::new(self.page_bytes)?);
        self.free.pop();
        Ok(PageId(number))
    }

    fn release(&mut self, page: PageId) {
        if self.pages.get_mut(usize::from(page.0)).and_then(Option::take).is_some() {
            self.free.push(page.0);
        }
    }

    fn bytes(&self, page: PageId) -> Option<&[u8]> {
        self.pages.get(usize::from(page.0))?.as_ref().map(|page| &page.0[..])
    }

    fn bytes_mut(&mut self, page: PageId) -> Option<&mut [u8]> {
        self.pages.get_mut(usize::from(page.0))?.as_mut().map(|page| &mut page.0[..])
    }

    fn pair(&mut self, from: PageId, to: PageId) -> Option<(&[u8], &mut [u8])> {
        let pages = self.pages.get_disjoint_mut([usize::from(from.0), usize::from(to.0)]);
        match pages {
            Ok([Some(from), Some(to)]) => Some((&from.0[..], &mut to.0[..])),
            _ => None,
        }
    }
}

/// The books of a partition's pool.
#[derive(Debug)]
pub(super) struct HeapTables {
    objects: Vec<ObjectEntry<HotKey>>,
    pages: Vec<PageEntry>,
    classes: Vec<ClassEntry>,
    gaps: Vec<GapEntry>,
    bins: u64,
}

impl HeapTables {
    pub(super) fn new(config: &PoolConfig) -> Self {
        let (objects, pages) =
            (config.objects_per_partition as usize, usize::from(config.pages_per_partition));
        Self {
            objects: vec![ObjectEntry::EMPTY; objects],
            pages: vec![PageEntry::EMPTY; pages],
            classes: vec![ClassEntry::EMPTY; GapEntry::BINS],
            gaps: vec![GapEntry::EMPTY; objects + pages],
            bins: 0,
        }
    }
}

impl Tables for HeapTables {
    type Tag = HotKey;

    const LAYOUT: PageLayout = PageLayout::Packed;

    fn objects(&self) -> &[ObjectEntry<HotKey>] {
        &self.objects
    }
    fn objects_mut(&mut self) -> &mut [ObjectEntry<HotKey>] {
        &mut self.objects
    }
    fn pages(&self) -> &[PageEntry] {
        &self.pages
    }
    fn pages_mut(&mut self) -> &mut [PageEntry] {
        &mut self.pages
    }
    fn slots(&self) -> &[SlotEntry] {
        &[]
    }
    fn slots_mut(&mut self) -> &mut [SlotEntry] {
        &mut []
    }
    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }
    fn classes_mut(&mut self) -> &mut [ClassEntry] {
        &mut self.classes
    }
    fn gaps(&self) -> &[GapEntry] {
        &self.gaps
    }
    fn gaps_mut(&mut self) -> &mut [GapEntry] {
        &mut self.gaps
    }
    fn bins(&self) -> u64 {
        self.bins
    }
    fn set_bins(&mut self, bins: u64) {
        self.bins = bins;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_pages_are_lent_and_released() {
        let mut pages = MappedPages::new(4_096, 2);
        let (first, second) = (pages.commit().unwrap(), pages.commit().unwrap());
        assert_eq!(pages.commit(), Err(PagesError::Exhausted));
        pages.bytes_mut(first).unwrap().fill(7);
        let (from, to) = pages.pair(first, second).unwrap();
        to.copy_from_slice(from);
        assert!(pages.bytes(second).unwrap().iter().all(|byte| *byte == 7));
        assert!(pages.pair(first, first).is_none());
        pages.release(first);
        pages.release(first);
        assert!(pages.bytes(first).is_none() && pages.pair(first, second).is_none());
        assert_eq!(pages.commit(), Ok(first));
        assert!(pages.bytes(first).unwrap().iter().all(|byte| *byte == 0), "a fresh mapping is zero");
    }
}
