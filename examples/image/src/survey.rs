//! A look at the pages of a map, which finds mistakes about its shape.
//!
//! ```text
//! page  start marker │ item │ item │ … │ blank │ end marker
//! item  checksum u32 │ length u16 │ checksum of it u16 │ padding │ data │ padding
//! ```
//! Both markers take a word, blank or zero. Items are padded to words. A removed item has a checksum of zero.

use crate::readers::{MapError, MapShape};

/// Bytes of the head of an item.
const HEAD_BYTES: usize = 8;
/// The smallest page.
const PAGE_BYTES_MIN: usize = 256;

/// The content of the pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// Pages of the map.
    pub pages: usize,
    /// Pages that were written to.
    pub used: usize,
    /// Items that were not removed: all versions of all keys.
    pub items: usize,
    /// Items that were removed.
    pub removed: usize,
    /// Words at which an item should begin and none does. Power cuts leave some.
    pub skipped: usize,
}

/// The findings about one page.
#[derive(Default)]
struct Page {
    is_used: bool,
    items: usize,
    removed: usize,
    skipped: usize,
    /// A marker is neither blank nor zero.
    is_odd: bool,
    /// There is more behind the blank part.
    has_gap: bool,
    /// A smaller page ends in it.
    is_split: bool,
}

/// Looks at all pages.
///
/// # Errors
/// [`MapError::PageBytes`] and [`MapError::WordBytes`] where the content contradicts the shape. A power cut leaves one page at most
/// that was erased in part: it may be odd, have a gap, and hold more words without an item than items.
pub(crate) fn survey(flash: &[u8], shape: &MapShape) -> Result<Survey, MapError> {
    let mut found = Survey::default();
    let (mut odd, mut gaps, mut split, mut unlike) = (0, 0, 0, 0);
    // Words that an item takes whose head was cut.
    let cut = (2 * HEAD_BYTES).div_ceil(shape.word_bytes());
    for bytes in flash.chunks_exact(shape.page_bytes) {
        let page = look(bytes, shape);
        found.pages += 1;
        found.used += usize::from(page.is_used);
        found.items += page.items;
        found.removed += page.removed;
        found.skipped += page.skipped;
        odd += usize::from(page.is_odd);
        gaps += usize::from(page.has_gap);
        split += usize::from(page.is_split);
        unlike += usize::from(page.skipped > page.items + page.removed + cut);
    }
    if odd > 1 || gaps > 1 || split > 0 {
        return Err(MapError::PageBytes(shape.page_bytes));
    }
    if unlike > 1 || unlike == 1 && found.used == 1 {
        return Err(MapError::WordBytes { items: found.items + found.removed, skipped: found.skipped });
    }
    Ok(found)
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0xFF)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn look(bytes: &[u8], shape: &MapShape) -> Page {
    let word = shape.word_bytes();
    let end = bytes.len() - word;
    let (start, marker) = (&bytes[..word], &bytes[end..]);
    let is_odd = [start, marker].iter().any(|marker| !is_blank(marker) && !is_zero(marker));
    let mut page = Page { is_odd, ..Page::default() };
    if is_blank(start) {
        return page;
    }
    page.is_used = true;
    let mut at = word;
    while at + HEAD_BYTES.next_multiple_of(word) <= end {
        let head = &bytes[at..at + HEAD_BYTES.next_multiple_of(word)];
        if is_blank(head) {
            let blank = bytes[at..end].iter().take_while(|byte| **byte == 0xFF).count();
            page.has_gap = at + blank < end;
            // The end marker of a smaller page, which was closed, lies behind its blank part.
            page.is_split |= page.has_gap && ends_page(bytes, at + blank, word);
            break;
        }
        let item = item_bytes(head, word).filter(|len| at + len <= end);
        match item {
            Some(_) if is_zero(&head[..4]) => page.removed += 1,
            Some(_) => page.items += 1,
            None => {
                page.skipped += 1;
                // Two markers side by side: a full page that was closed, and the next one.
                page.is_split |= ends_page(bytes, at, word) && is_zero(&bytes[at + word..at + 2 * word]);
            }
        }
        at += item.unwrap_or(word);
    }
    page
}

/// Whether the word at a place is zero and ends a page that would be smaller.
fn ends_page(bytes: &[u8], at: usize, word: usize) -> bool {
    let sizes = core::iter::successors(Some(bytes.len() / 2), |size| Some(size / 2));
    let mut sizes = sizes.take_while(|size| *size >= PAGE_BYTES_MIN);
    sizes.any(|size| (at + word).is_multiple_of(size)) && is_zero(&bytes[at..at + word])
}

/// The bytes of the item with this head; `None` where it is none.
fn item_bytes(head: &[u8], word: usize) -> Option<usize> {
    let [.., low, high, check_low, check_high] = *head.first_chunk::<HEAD_BYTES>()?;
    let length = [low, high];
    let is_right = u16::from_le_bytes([check_low, check_high]) == checksum(length);
    is_right.then(|| head.len() + usize::from(u16::from_le_bytes(length)).next_multiple_of(word))
}

/// The checksum of a length.
fn checksum(length: [u8; 2]) -> u16 {
    let folded = length.iter().fold(0xFFFF_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x1A2E } else { 0 })
    });
    match !folded {
        0xFFFF => 0xFFFE,
        other => other,
    }
}
