//! fjall: its defaults, with values separated from keys where its pages advise it.
//!
//! The page of the crate advises key–value separation for large values; its own limit for that is 1 KiB. A store of smaller values
//! has none. By default a write is handed to the system as it returns (flushed); `manual_journal_persist` leaves it in the memory of
//! the process (buffered). A synced write is followed by `persist(SyncData)`, which all clients that wait share.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::path::Path;

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::group::GroupCommit;
use super::{Fault, Opened, Promise, Setup, Store};
use crate::process::written_bytes;

/// The length from which fjall separates values where that is on.
const SEPARATED_BYTES: u32 = 1024;

struct Fjall {
    keyspace: Keyspace,
    database: Database,
    syncs: Option<GroupCommit<()>>,
    /// Compactions that had ended when it was last asked.
    completed: AtomicUsize,
}

pub(super) fn open(dir: &Path, setup: &Setup, compresses: bool) -> Result<Opened, Fault> {
    let database = Database::builder(dir).cache_size(setup.cache_bytes).open()?;
    let is_separated = setup.value_bytes >= SEPARATED_BYTES;
    let codec = if compresses { CompressionType::Lz4 } else { CompressionType::None };
    let options = || {
        let options =
            KeyspaceCreateOptions::default().manual_journal_persist(setup.promise == Promise::Buffered);
        // Its default compresses from the third level on.
        let options = if compresses {
            options
        } else {
            options.data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        };
        let separation = KvSeparationOptions::default().compression(codec);
        options.with_kv_separation(is_separated.then_some(separation))
    };
    let keyspace = database.keyspace("peers", options)?;
    let settings = format!(
        "fjall 3.1: block cache {} MiB, memtable 64 MiB, {}, key-value separation {}, manual_journal_persist {}; all else as by \
         default",
        setup.cache_bytes >> 20,
        if compresses { "LZ4 (its default policy)" } else { "no compression" },
        if is_separated { "on (its defaults)" } else { "off (values below its threshold)" },
        setup.promise == Promise::Buffered,
    );
    let syncs = (setup.promise == Promise::Synced).then(GroupCommit::new);
    Ok(Opened {
        store: Box::new(Fjall { keyspace, database, syncs, completed: AtomicUsize::new(0) }),
        settings,
    })
}

impl Fjall {
    fn promise(&self) -> Result<(), Fault> {
        let Some(syncs) = &self.syncs else { return Ok(()) };
        syncs.commit((), |_| Ok(self.database.persist(PersistMode::SyncData)?))
    }
}

impl Store for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.keyspace.insert(key, value)?;
        self.promise()
    }

    fn get(&self, key: &[u8], _scratch: &mut Vec<u8>, see: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        let value = self.keyspace.get(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn remove(&self, key: &[u8]) -> Result<(), Fault> {
        self.keyspace.remove(key)?;
        self.promise()
    }

    fn flush(&self) -> Result<(), Fault> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn has_compacted(&self) -> Option<bool> {
        let completed = self.database.compactions_completed();
        let is_new = self.completed.swap(completed, Relaxed) != completed;
        Some(is_new || self.database.active_compactions() > 0)
    }

    /// The memtable is written first, since a compaction is of tables alone.
    fn compact(&self) -> Result<Option<u64>, Fault> {
        let written = written_bytes()?;
        self.keyspace.rotate_memtable_and_wait()?;
        self.keyspace.major_compact()?;
        Ok(Some(written_bytes()? - written))
    }

    fn close(self: Box<Self>) -> Result<(), Fault> {
        self.flush()
    }
}
