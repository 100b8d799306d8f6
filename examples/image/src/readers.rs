//! Reading a map of any shape.

use core::fmt;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::collections::BTreeMap;

use sequential_storage::Error;
use sequential_storage::cache::{Cache, CacheImpl};
use sequential_storage::map::{MapConfig, MapStorage};

use crate::keys::{KeyType, StoredKey, set_key_type};
use crate::pages::{BeyondFlash, Pages};
use crate::survey::{Survey, survey};

/// Bytes of the longest item and its padding.
const ITEM_BYTES_MAX: usize = u16::MAX as usize + 32;

/// The shape of the flash that a map lies on, as the driver of its firmware states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapShape {
    /// Bytes erased as one: `ERASE_SIZE`.
    pub page_bytes: usize,
    /// Bytes programmed as one: `WRITE_SIZE`.
    pub write_bytes: usize,
    /// Bytes read as one: `READ_SIZE`.
    pub read_bytes: usize,
}

impl MapShape {
    /// Bytes of a word of the map: the longer of the two.
    #[must_use]
    pub const fn word_bytes(&self) -> usize {
        if self.write_bytes > self.read_bytes { self.write_bytes } else { self.read_bytes }
    }
}

/// A map as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMap {
    /// The value of each key that the store finds.
    pub values: Values,
    /// Keys of which there are items, and no value is found. An erase that was cut can hide keys from the store.
    pub hidden: usize,
    /// The content of its pages.
    pub survey: Survey,
}

/// Why a map can't be read.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum MapError {
    /// There is no reader for this shape.
    Shape(MapShape),
    /// The flash is not a number of pages of so many bytes, at least two.
    Pages {
        /// Bytes of a page.
        page_bytes: usize,
        /// Bytes of the flash.
        found: usize,
    },
    /// Nothing was ever written there.
    Blank,
    /// The content contradicts pages of so many bytes.
    PageBytes(usize),
    /// So few items were found, and so many words at which none begins: the length of a word is wrong, or this is no map.
    WordBytes {
        /// Items that were found.
        items: usize,
        /// Words at which an item should begin.
        skipped: usize,
    },
    /// An item of so many bytes does not begin with a key of the type.
    Key(KeyType, usize),
    /// The crate found damage that its repair does not mend.
    Damaged,
    /// The crate failed in another way.
    Other(Error<BeyondFlash>),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(shape) => write!(
                f,
                "no reader for pages of {} bytes, programmed by {} and read by {}: pages have 256 bytes to 128 KiB, \
                 1 to 32 bytes are programmed as one, powers of two all, and 1 is read as one, or as many as the 4 or 8 \
                 that are programmed",
                shape.page_bytes, shape.write_bytes, shape.read_bytes
            ),
            Self::Pages { page_bytes, found } => {
                write!(
                    f,
                    "a map has two pages of {page_bytes} bytes or more, and no other bytes; there are {found}"
                )
            }
            Self::Blank => f.write_str("nothing was ever written there"),
            Self::PageBytes(bytes) => write!(f, "it is no map with pages of {bytes} bytes"),
            Self::WordBytes { items, skipped } => write!(
                f,
                "{items} items and {skipped} words at which none begins: it is no map with words of this length"
            ),
            Self::Key(keys, bytes) => {
                write!(f, "an item of {bytes} bytes does not begin with a key of {keys}")
            }
            Self::Damaged => f.write_str("the map is damaged, and its own repair does not mend it"),
            Self::Other(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for MapError {}

/// Reads the value of each key of a map, as the store finds it. `flash` is the range of the map, which is not changed.
///
/// # Errors
/// [`MapError`].
///
/// # Bounds
/// Memory for a copy of the flash, all values and 64 KiB. The store searches the map once for each key.
pub fn read_map(flash: &[u8], shape: &MapShape, keys: KeyType) -> Result<StoredMap, MapError> {
    let reader = READERS.iter().flatten().find(|reader| reader.shape == *shape);
    let reader = reader.ok_or(MapError::Shape(*shape))?;
    let pages = flash.len() / shape.page_bytes;
    if pages < 2 || !flash.len().is_multiple_of(shape.page_bytes) || u32::try_from(flash.len()).is_err() {
        return Err(MapError::Pages { page_bytes: shape.page_bytes, found: flash.len() });
    }
    let survey = survey(flash, shape)?;
    if flash.iter().all(|byte| *byte == 0xFF) {
        return Err(MapError::Blank);
    }
    set_key_type(keys);
    let (values, hidden) = (reader.read)(&mut flash.to_vec(), keys)?;
    Ok(StoredMap { values, hidden, survey })
}

/// The values of a map, by their keys.
pub type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// The values that the store finds, and how many keys it does not find.
type Found = (Values, usize);

/// The reader of one shape.
struct Reader {
    shape: MapShape,
    read: fn(&mut [u8], KeyType) -> Result<Found, MapError>,
}

macro_rules! reader {
    ($page:literal, $write:literal, $read:literal) => {
        Reader {
            shape: MapShape { page_bytes: $page, write_bytes: $write, read_bytes: $read },
            read: read_as::<$page, $write, $read>,
        }
    };
}

macro_rules! readers_of_page {
    ($page:literal) => {
        [
            reader!($page, 1, 1),
            reader!($page, 2, 1),
            reader!($page, 4, 1),
            reader!($page, 4, 4),
            reader!($page, 8, 1),
            reader!($page, 8, 8),
            reader!($page, 16, 1),
            reader!($page, 32, 1),
        ]
    };
}

const READERS: [[Reader; 8]; 10] = [
    readers_of_page!(256),
    readers_of_page!(512),
    readers_of_page!(1024),
    readers_of_page!(2048),
    readers_of_page!(4096),
    readers_of_page!(8192),
    readers_of_page!(16384),
    readers_of_page!(32768),
    readers_of_page!(65536),
    readers_of_page!(131_072),
];

fn read_as<const PAGE: usize, const WRITE: usize, const READ: usize>(
    flash: &mut [u8],
    keys: KeyType,
) -> Result<Found, MapError> {
    let end = u32::try_from(flash.len()).unwrap_or(u32::MAX);
    let refused = MapError::Pages { page_bytes: PAGE, found: flash.len() };
    let config = MapConfig::<Pages<'_, PAGE, WRITE, READ>>::try_new(0..end).map_err(|_| refused)?;
    let map = MapStorage::<StoredKey, _, _>::new(Pages(flash), config, Cache::new_uncached());
    at_once(found_values(map, keys))
}

/// Collects the keys of all items, and then fetches each as firmware does. The items alone would not do: after an erase that was cut
/// the newest of a key may be another one than the store finds.
async fn found_values<const PAGE: usize, const WRITE: usize, const READ: usize>(
    mut map: MapStorage<StoredKey, Pages<'_, PAGE, WRITE, READ>, impl CacheImpl<StoredKey>>,
    keys: KeyType,
) -> Result<Found, MapError> {
    let failed = |error| match error {
        Error::Corrupted { .. } => MapError::Damaged,
        error => MapError::Other(error),
    };
    let (mut buffer, mut stored) = (vec![0; ITEM_BYTES_MAX], BTreeMap::new());
    // A fetch repairs a page that was erased in part. A walk over all items (8.0.2) fails there instead.
    map.fetch_item::<&[u8]>(&mut buffer, &StoredKey::absent()).await.map_err(failed)?;
    let mut items = map.fetch_all_items(&mut buffer).await.map_err(failed)?;
    while let Some((its, item)) = items.next::<&[u8]>(&mut buffer).await.map_err(failed)? {
        let (key, _) = keys.split(item).ok_or(MapError::Key(keys, item.len()))?;
        stored.insert(key.to_vec(), its);
    }
    let (mut values, mut hidden) = (Values::new(), 0);
    for (key, its) in stored {
        match map.fetch_item::<&[u8]>(&mut buffer, &its).await.map_err(failed)? {
            Some(item) => {
                let (_, value) = keys.split(item).ok_or(MapError::Key(keys, item.len()))?;
                values.insert(key, value.to_vec());
            }
            None => hidden += 1,
        }
    }
    Ok((values, hidden))
}

/// Polls once: the flash is memory, so nothing is waited for.
fn at_once<T>(future: impl Future<Output = Result<T, MapError>>) -> Result<T, MapError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(MapError::Other(Error::LogicBug {})),
    }
}
