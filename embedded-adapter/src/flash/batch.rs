//! Several keys that are written together: all of them, or none.

use core::fmt;

/// The most items of a batch, whatever its `N`.
const ITEMS_MAX: usize = 32;

/// Puts and removes that [`commit_batch`](super::FlashTier::commit_batch) carries out together: after any power cut all of them have
/// happened, or none.
///
/// It borrows keys and values, so it takes 24 bytes an item on a 32-bit part. `N` is 32 at most. A key that comes twice has its last
/// item alone.
///
/// ```
/// # mod ram { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ram/mod.rs")); }
/// # use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, Now, buckets_for};
/// use coldpress_embedded::flash::Batch;
///
/// /// Memory for batches of up to four keys: the last number.
/// type Memory = FlashMemory<16, { buckets_for(100) }, 128, 1, 4>;
///
/// # let (flash, now) = (ram::Ram::<4, 4096>::new(16), Now { monotonic_ms: 0, wall_s: 0 });
/// # let mut memory = Memory::new();
/// # let mut tier = FlashTier::new(FlashConfig::new(4096, 1), &mut memory, NorMedium::new(flash))?;
/// # tier.mount(now)?;
/// # while !tier.poll(now, 64).is_idle {}
/// # tier.put(now, b"old", b"guest")?;
/// let mut batch = Batch::<3>::new();
/// batch.put(b"ssid", b"attic")?;
/// batch.put(b"psk", b"correct horse")?;
/// batch.remove(b"old")?;
/// tier.commit_batch(now, &batch)?;
///
/// let mut value = [0; 64];
/// assert_eq!(tier.get(now, b"ssid", &mut value)?, Some(b"attic".as_slice()));
/// assert!(tier.contains(now, b"psk")? && !tier.contains(now, b"old")?);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Batch<'a, const N: usize> {
    // No vector, which has a destructor: the slices would have to outlive that.
    items: [BatchItem<'a>; N],
    len: usize,
}

/// One put or remove of a batch.
#[derive(Clone, Copy)]
pub(super) struct BatchItem<'a> {
    pub(super) key: &'a [u8],
    /// The value to put; `None` for a remove.
    pub(super) value: Option<&'a [u8]>,
    pub(super) ttl_s: Option<u32>,
}

/// A batch has as many items as it takes. The item was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BatchFull;

impl fmt::Display for BatchFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch has as many items as it takes")
    }
}

impl core::error::Error for BatchFull {}

impl<'a, const N: usize> Batch<'a, N> {
    const CHECKED: () = assert!(N <= ITEMS_MAX, "a batch takes 32 items at most");

    /// A batch without items.
    #[must_use]
    pub const fn new() -> Self {
        const { Self::CHECKED }
        Self { items: [BatchItem { key: &[], value: None, ttl_s: None }; N], len: 0 }
    }

    /// Adds a put. An earlier item of the same key goes.
    ///
    /// # Errors
    /// [`BatchFull`] with `N` items of other keys.
    pub fn put(&mut self, key: &'a [u8], value: &'a [u8]) -> Result<(), BatchFull> {
        self.add(BatchItem { key, value: Some(value), ttl_s: None })
    }

    /// Adds a put of a value that expires `ttl_s` seconds after its record is written, as
    /// [`put_with_ttl`](super::FlashTier::put_with_ttl) does.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn put_with_ttl(&mut self, key: &'a [u8], value: &'a [u8], ttl_s: u32) -> Result<(), BatchFull> {
        self.add(BatchItem { key, value: Some(value), ttl_s: Some(ttl_s) })
    }

    /// Adds a remove; the key need not have a value. An earlier item of the same key goes.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn remove(&mut self, key: &'a [u8]) -> Result<(), BatchFull> {
        self.add(BatchItem { key, value: None, ttl_s: None })
    }

    /// Takes all items out.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// How many items it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no item.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn items(&self) -> &[BatchItem<'a>] {
        self.items.get(..self.len).unwrap_or_default()
    }

    fn add(&mut self, item: BatchItem<'a>) -> Result<(), BatchFull> {
        let mut places = self.items.iter_mut();
        if let Some(same) = places.by_ref().take(self.len).find(|other| other.key == item.key) {
            *same = item;
            return Ok(());
        }
        *places.next().ok_or(BatchFull)? = item;
        self.len += 1;
        Ok(())
    }
}

impl<const N: usize> Default for Batch<'_, N> {
    fn default() -> Self {
        Self::new()
    }
}

// Keys and values are a client's: neither is shown.
impl<const N: usize> fmt::Debug for Batch<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("items", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(feature = "defmt")]
impl<const N: usize> defmt::Format for Batch<'_, N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Batch({=usize} items)", self.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_keeps_the_last_item_of_a_key_and_refuses_more() {
        let mut batch = Batch::<2>::new();
        assert_eq!((batch.put(b"a", b"1"), batch.remove(b"b")), (Ok(()), Ok(())));
        assert_eq!(batch.put_with_ttl(b"c", b"2", 5), Err(BatchFull));
        assert_eq!(batch.remove(b"a"), Ok(()), "no further item");
        let items = || batch.items().iter().map(|item| (item.key, item.value));
        assert!(items().eq([(b"a".as_slice(), None), (b"b".as_slice(), None)]));
        batch.clear();
        assert!(batch.is_empty() && batch.put(b"c", b"").is_ok());
    }
}
