//! The map of `sequential-storage`.

use core::error::Error;

use coldpress_tests::flash::Counts;
use sequential_storage::cache::key_pointers::ArrayKeyPointers;
use sequential_storage::cache::page_pointers::ArrayPagePointers;
use sequential_storage::cache::page_states::ArrayPageStates;
use sequential_storage::cache::{Cache, CacheImpl, Uncached};
use sequential_storage::map::{MapConfig, MapStorage};

use crate::measure::{Key, Nor, SECTOR_BYTES, SECTORS, Store, VALUE_BYTES, Value, at_once};

type Everything<const COUNT: usize, const KEYS: usize> =
    Cache<ArrayPageStates<COUNT>, ArrayPagePointers<COUNT>, ArrayKeyPointers<Key, KEYS>, Key>;
type Nothing = Cache<Uncached, Uncached, Uncached, Key>;

/// Bytes lent to each call: a key and a value.
const BUFFER_BYTES: usize = size_of::<Key>() + VALUE_BYTES;

/// The map with a cache, or none.
pub(crate) struct Sequential<C: CacheImpl<Key>> {
    map: MapStorage<Key, Nor, C>,
    buffer: [u8; BUFFER_BYTES],
    configuration: &'static str,
    index_bytes: usize,
}

/// With all it can cache: the state of every page, its fill, and the place of every key.
pub(crate) fn cached<const KEYS: usize>() -> Sequential<Everything<SECTORS, KEYS>> {
    cached_on::<SECTORS, KEYS>()
}

/// The same on so many sectors.
pub(crate) fn cached_on<const COUNT: usize, const KEYS: usize>() -> Sequential<Everything<COUNT, KEYS>> {
    let cache = Cache::new(ArrayPageStates::new(), ArrayPagePointers::new(), ArrayKeyPointers::new());
    over(cache, COUNT, "every key cached", size_of::<ArrayKeyPointers<Key, KEYS>>())
}

/// Without a cache.
pub(crate) fn uncached() -> Sequential<Nothing> {
    over(Cache::new_uncached(), SECTORS, "no cache", 0)
}

fn over<C: CacheImpl<Key>>(
    cache: C,
    sectors: usize,
    configuration: &'static str,
    index_bytes: usize,
) -> Sequential<C> {
    let end = u32::try_from(sectors * SECTOR_BYTES).unwrap_or(u32::MAX);
    let map = MapStorage::new(Nor::new(sectors, 0xFF), MapConfig::new(0..end), cache);
    Sequential { map, buffer: [0; BUFFER_BYTES], configuration, index_bytes }
}

impl<C: CacheImpl<Key>> Store for Sequential<C> {
    const NAME: &'static str = "sequential-storage 8.0.2";

    fn configuration(&self) -> &'static str {
        self.configuration
    }

    fn counts(&mut self) -> Counts {
        self.map.flash().counts()
    }

    fn put(&mut self, key: Key, value: &Value, worst: &mut Counts) -> Result<(), Box<dyn Error>> {
        let before = self.counts();
        at_once(self.map.store_item(&mut self.buffer, &key, &value.as_slice()))?
            .map_err(|error| format!("{error:?}"))?;
        *worst = worst.max(self.counts() - before);
        Ok(())
    }

    fn commit(&mut self, _: &mut Counts) -> Result<(), Box<dyn Error>> {
        Ok(())
    }

    fn get(&mut self, key: Key) -> Result<Option<Value>, Box<dyn Error>> {
        let found = at_once(self.map.fetch_item::<&[u8]>(&mut self.buffer, &key))?;
        found.map_err(|error| format!("{error:?}"))?.map(|value| Ok(value.try_into()?)).transpose()
    }

    fn index_bytes(&self) -> usize {
        self.index_bytes
    }

    fn ram_bytes(&self) -> usize {
        size_of_val(&self.map) - size_of::<Nor>() + BUFFER_BYTES
    }
}
