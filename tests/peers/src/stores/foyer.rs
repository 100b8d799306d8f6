//! foyer: a hybrid cache, with the block engine of its page and the settings there.
//!
//! The policy is `WriteOnInsertion`: every value goes to the disk when it is put, as in the other stores. The tombstone log is on,
//! which its documentation asks for where values are updated and recovered. Values that come faster than its flusher writes are dropped by
//! design. So clients wait for the flusher after every few MiB, which a caller who wants to keep values has to do. Each value takes whole
//! pages of 4 KiB: its page advises values of 2 KiB and more.
//!
//! It promises no more than buffered, and it may forget: the table shows how many values are missing.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::path::Path;

use foyer::{
    BlockEngineConfig, Compression, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, PsyncIoEngineConfig, RecoverMode,
};
use tokio::runtime::{Builder, Runtime};

use super::{Fault, Opened, Setup, Store};

/// Bytes of entries between two waits for the flusher: half of the buffer that its engine has by default.
const UNFLUSHED_BYTES_MAX: u64 = 8 << 20;

/// An entry takes whole pages of the buffer, header included.
const PAGE_BYTES: u64 = 4 << 10;
const HEADER_BYTES: u64 = 64;

/// The length of a block by default; a smaller device gets shorter ones, so that it has enough of them to reclaim.
const BLOCK_BYTES_DEFAULT: usize = 16 << 20;
const BLOCK_BYTES_MIN: usize = 1 << 20;
const BLOCKS_MIN: usize = 24;

/// The most threads for blocking reads and writes: the `psync` engine runs each operation on one.
const BLOCKING_THREADS: usize = 8;

struct Foyer {
    cache: HybridCache<Vec<u8>, Vec<u8>>,
    runtime: Runtime,
    unflushed_bytes: AtomicU64,
}

pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Opened, Fault> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()?;
    let (cache_bytes, capacity) =
        (usize::try_from(setup.cache_bytes)?, usize::try_from(setup.capacity_bytes)?);
    let block_bytes = (capacity / BLOCKS_MIN).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_DEFAULT);
    let cache = runtime.block_on(async {
        let device = FsDeviceBuilder::new(dir).with_capacity(capacity).build()?;
        HybridCacheBuilder::new()
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .memory(cache_bytes)
            .with_weighter(|key: &Vec<u8>, value: &Vec<u8>| key.len() + value.len())
            .storage()
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(
                BlockEngineConfig::new(device).with_block_size(block_bytes).with_tombstone_log(true),
            )
            .with_recover_mode(RecoverMode::Quiet)
            .with_compression(Compression::None)
            .build()
            .await
    })?;
    let settings = format!(
        "foyer 0.22: WriteOnInsertion, memory {} MiB, block engine on {} MiB in blocks of {} MiB, psync, tombstone log, no compression, \
         a wait for the flusher after each {} MiB of entries; all else as by default",
        setup.cache_bytes >> 20,
        setup.capacity_bytes >> 20,
        block_bytes >> 20,
        UNFLUSHED_BYTES_MAX >> 20,
    );
    let store = Box::new(Foyer { cache, runtime, unflushed_bytes: AtomicU64::new(0) });
    Ok(Opened { store, settings })
}

impl Store for Foyer {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let bytes = ((key.len() + value.len()) as u64 + HEADER_BYTES).next_multiple_of(PAGE_BYTES);
        let before = self.unflushed_bytes.fetch_add(bytes, Relaxed);
        drop(self.cache.insert(key.to_vec(), value.to_vec()));
        if before + bytes >= UNFLUSHED_BYTES_MAX {
            self.flush()?;
            self.unflushed_bytes.store(0, Relaxed);
        }
        Ok(())
    }

    fn get(&self, key: &[u8], _scratch: &mut Vec<u8>, see: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        let key = key.to_vec();
        let found = self.runtime.block_on(async { self.cache.get(&key).await })?;
        if let Some(entry) = &found {
            see(entry.value());
        }
        Ok(found.is_some())
    }

    fn remove(&self, key: &[u8]) -> Result<(), Fault> {
        self.cache.remove(&key.to_vec());
        Ok(())
    }

    fn flush(&self) -> Result<(), Fault> {
        self.runtime.block_on(self.cache.storage().wait());
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Fault> {
        Ok(self.runtime.block_on(self.cache.close())?)
    }
}
