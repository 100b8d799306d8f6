//! RocksDB with blob files: its defaults, and the settings that its wiki advises for them.
//!
//! The pages on BlobDB and on basic tuning advise: blob files with garbage collection for large values, LZ4, a Bloom filter of ten bits,
//! a block cache that blobs share, and as many background jobs as processors. By default a write is in the log of the system as it
//! returns (flushed); `manual_wal_flush` leaves it in the process (buffered), and `sync` asks for the medium. RocksDB has group commit.

use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, Options, WriteOptions};

use super::{Fault, Opened, Promise, Setup, Store};
use crate::process::written_bytes;

/// Values from this length lie in blob files.
const BLOB_BYTES: u64 = 1024;

struct Rocksdb {
    db: DB,
    writes: WriteOptions,
}

pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Opened, Fault> {
    let cache = Cache::new_lru_cache(usize::try_from(setup.cache_bytes)?);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&cache);
    blocks.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.increase_parallelism(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&blocks);
    let has_blobs = u64::from(setup.value_bytes) >= BLOB_BYTES;
    options.set_enable_blob_files(has_blobs);
    options.set_min_blob_size(BLOB_BYTES);
    options.set_blob_compression_type(DBCompressionType::Lz4);
    options.set_enable_blob_gc(true);
    options.set_blob_cache(&cache);
    options.set_manual_wal_flush(setup.promise == Promise::Buffered);
    let mut writes = WriteOptions::default();
    writes.set_sync(setup.promise == Promise::Synced);
    let settings = format!(
        "RocksDB 11.8: LZ4, Bloom filter of 10 bits, block cache {} MiB (blobs too), 2 background jobs, blob files {}, \
         manual_wal_flush {}, sync {}; all else as by default",
        setup.cache_bytes >> 20,
        if has_blobs { "from 1 KiB with garbage collection" } else { "off (values below 1 KiB)" },
        setup.promise == Promise::Buffered,
        setup.promise == Promise::Synced,
    );
    Ok(Opened { store: Box::new(Rocksdb { db: DB::open(&options, dir)?, writes }), settings })
}

impl Store for Rocksdb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        Ok(self.db.put_opt(key, value, &self.writes)?)
    }

    fn get(&self, key: &[u8], _scratch: &mut Vec<u8>, see: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        let value = self.db.get_pinned(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn remove(&self, key: &[u8]) -> Result<(), Fault> {
        Ok(self.db.delete_opt(key, &self.writes)?)
    }

    fn flush(&self) -> Result<(), Fault> {
        Ok(self.db.flush_wal(true)?)
    }

    fn has_compacted(&self) -> Option<bool> {
        let running = self.db.property_int_value("rocksdb.num-running-compactions").ok().flatten()?;
        Some(running > 0)
    }

    fn compact(&self) -> Result<Option<u64>, Fault> {
        let written = written_bytes()?;
        self.db.flush()?;
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        Ok(Some(written_bytes()? - written))
    }

    fn close(self: Box<Self>) -> Result<(), Fault> {
        self.flush()
    }
}
