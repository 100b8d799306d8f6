//! sled: its defaults, with the cache that every store gets.
//!
//! A write waits in the memory of the process, and sled writes it within half a second (buffered). A synced write is followed by `flush`,
//! which all clients that wait share. On Linux that calls `sync_file_range`, which leaves the data in the cache of the disk, where a
//! power cut finds it. So the caller syncs the file after it, and the promise is the one of the other stores. Nothing between the two
//! is offered.

use std::fs::File;
use std::path::Path;

use sled::Db;

use super::group::GroupCommit;
use super::{Fault, Opened, Promise, Setup, Store};

struct Sled {
    db: Db,
    file: File,
    syncs: Option<GroupCommit<()>>,
}

pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Opened, Fault> {
    let path = dir.join("sled");
    let db = sled::Config::new().path(&path).cache_capacity(setup.cache_bytes).open()?;
    let file = File::open(path.join("db"))?;
    let settings = format!(
        "sled 0.34: cache {} MiB, {}; all else as by default",
        setup.cache_bytes >> 20,
        if setup.promise == Promise::Synced {
            "a shared flush and a sync of its file after each write"
        } else {
            "a flush every 500 ms"
        },
    );
    let syncs = (setup.promise == Promise::Synced).then(GroupCommit::new);
    Ok(Opened { store: Box::new(Sled { db, file, syncs }), settings })
}

impl Sled {
    fn promise(&self) -> Result<(), Fault> {
        let Some(syncs) = &self.syncs else { return Ok(()) };
        syncs.commit((), |_| self.flush())
    }
}

impl Store for Sled {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.db.insert(key, value)?;
        self.promise()
    }

    fn get(&self, key: &[u8], _scratch: &mut Vec<u8>, see: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        let value = self.db.get(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn remove(&self, key: &[u8]) -> Result<(), Fault> {
        self.db.remove(key)?;
        self.promise()
    }

    fn flush(&self) -> Result<(), Fault> {
        self.db.flush()?;
        Ok(self.file.sync_data()?)
    }

    fn close(self: Box<Self>) -> Result<(), Fault> {
        self.flush()
    }
}
