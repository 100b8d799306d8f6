//! The database of `ekv`.

use core::error::Error;
use std::collections::BTreeMap;

use coldpress_tests::flash::{Counts, FlashError};
use ekv::flash::{Flash, PageID};
use ekv::{Config, Database, ReadError};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};

use crate::measure::{Key, Nor, SECTOR_BYTES, SECTORS, Store, VALUE_BYTES, Value, at_once};

/// Puts that share a commit, where they do: as many as fit into a page.
const BATCH: usize = 48;

/// The double, by pages.
pub(crate) struct Pages {
    nor: Nor,
    count: usize,
}

impl Flash for Pages {
    type Error = FlashError;

    fn page_count(&self) -> usize {
        self.count
    }

    async fn erase(&mut self, page: PageID) -> Result<(), FlashError> {
        let at = address(page, 0);
        self.nor.erase(at, at + address_of(SECTOR_BYTES)).await
    }

    async fn read(&mut self, page: PageID, offset: usize, data: &mut [u8]) -> Result<(), FlashError> {
        self.nor.read(address(page, offset), data).await
    }

    async fn write(&mut self, page: PageID, offset: usize, data: &[u8]) -> Result<(), FlashError> {
        self.nor.write(address(page, offset), data).await
    }
}

fn address(page: PageID, offset: usize) -> u32 {
    address_of(page.index() * SECTOR_BYTES + offset)
}

fn address_of(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The database, with so many puts a commit.
pub(crate) struct Ekv {
    database: Database<Pages, NoopRawMutex>,
    batch_puts: usize,
    /// Its transactions take keys in order.
    batch: BTreeMap<Key, Value>,
    waiting: usize,
}

/// Every put durable when it returns, as with the other stores.
pub(crate) fn one_a_commit() -> Result<Ekv, Box<dyn Error>> {
    formatted(1, SECTORS)
}

/// Many puts a commit, for which ekv is made: they are lost together if the power is cut before their commit.
pub(crate) fn many_a_commit() -> Result<Ekv, Box<dyn Error>> {
    formatted(BATCH, SECTORS)
}

/// Every put durable when it returns, on so many sectors.
pub(crate) fn on(sectors: usize) -> Result<Ekv, Box<dyn Error>> {
    formatted(1, sectors)
}

fn formatted(batch_puts: usize, count: usize) -> Result<Ekv, Box<dyn Error>> {
    let database = Database::new(Pages { nor: Nor::new(count, 0xFF), count }, Config::default());
    at_once(database.format())?.map_err(|error| format!("{error:?}"))?;
    Ok(Ekv { database, batch_puts, batch: BTreeMap::new(), waiting: 0 })
}

impl Ekv {
    async fn write(&self) -> Result<(), String> {
        let mut transaction = self.database.write_transaction().await;
        for (key, value) in &self.batch {
            transaction.write(key, value).await.map_err(|error| format!("{error:?}"))?;
        }
        transaction.commit().await.map_err(|error| format!("{error:?}"))
    }
}

impl Store for Ekv {
    const NAME: &'static str = "ekv 1.0.0";

    fn configuration(&self) -> &'static str {
        if self.batch_puts == 1 { "a commit a put" } else { "a commit for 48 puts" }
    }

    fn counts(&mut self) -> Counts {
        at_once(self.database.lock_flash()).map(|flash| flash.nor.counts()).unwrap_or_default()
    }

    fn put(&mut self, key: Key, value: &Value, worst: &mut Counts) -> Result<(), Box<dyn Error>> {
        self.batch.insert(key, *value);
        self.waiting += 1;
        if self.waiting == self.batch_puts { self.commit(worst) } else { Ok(()) }
    }

    fn commit(&mut self, worst: &mut Counts) -> Result<(), Box<dyn Error>> {
        let before = self.counts();
        let written = at_once(self.write())?;
        *worst = worst.max(self.counts() - before);
        // A refused batch is given up.
        self.batch.clear();
        self.waiting = 0;
        Ok(written?)
    }

    fn get(&mut self, key: Key) -> Result<Option<Value>, Box<dyn Error>> {
        let mut value = [0; VALUE_BYTES];
        let transaction = at_once(self.database.read_transaction())?;
        match at_once(transaction.read(&key, &mut value))? {
            Ok(VALUE_BYTES) => Ok(Some(value)),
            Ok(len) => Err(format!("{len} bytes").into()),
            Err(ReadError::KeyNotFound) => Ok(None),
            Err(error) => Err(format!("{error:?}").into()),
        }
    }

    /// Its files are sorted: nothing in RAM finds a key.
    fn index_bytes(&self) -> usize {
        0
    }

    fn ram_bytes(&self) -> usize {
        size_of_val(&self.database) - size_of::<Nor>()
    }
}
