//! The stores behind one interface: what each promises, how it is opened, and its settings in words.
//!
//! A file here has one store. It says at its top where its settings come from.

mod coldpress;
mod fjall;
mod foyer;
mod group;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sled;

use core::error::Error;
use core::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The failure of a store, in its own words.
pub(crate) type Fault = Box<dyn Error + Send + Sync>;

/// The promise with which a write returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Promise {
    /// Every reader of this process sees it.
    Buffered,
    /// It survives the end of the process.
    Flushed,
    /// It survives the loss of power.
    Synced,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buffered => "buffered",
            Self::Flushed => "flushed",
            Self::Synced => "synced",
        })
    }
}

/// A store with the settings that tell it from another column of the table.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
pub(crate) enum Variant {
    /// Coldpress, values as they are.
    ColdpressRaw,
    /// Coldpress, values in LZ4: its default.
    ColdpressLz4,
    /// Coldpress, values in LZ4, two partitions.
    ColdpressLz4x2,
    /// foyer, values as they are: its default.
    Foyer,
    /// fjall, LZ4: its default.
    Fjall,
    /// fjall, values as they are.
    FjallRaw,
    /// redb.
    Redb,
    /// sled.
    Sled,
    /// RocksDB with blob files, LZ4.
    #[cfg(feature = "rocksdb")]
    Rocksdb,
}

impl Variant {
    /// All that this build has.
    pub(crate) const ALL: &[Self] = &[
        Self::ColdpressRaw,
        Self::ColdpressLz4,
        Self::ColdpressLz4x2,
        Self::Foyer,
        Self::Fjall,
        Self::FjallRaw,
        Self::Redb,
        Self::Sled,
        #[cfg(feature = "rocksdb")]
        Self::Rocksdb,
    ];

    /// The heading of its column.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ColdpressRaw => "coldpress raw",
            Self::ColdpressLz4 => "coldpress lz4",
            Self::ColdpressLz4x2 => "coldpress lz4 ×2",
            Self::Foyer => "foyer",
            Self::Fjall => "fjall",
            Self::FjallRaw => "fjall raw",
            Self::Redb => "redb",
            Self::Sled => "sled",
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => "rocksdb",
        }
    }

    /// Whether it is ours.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::ColdpressRaw | Self::ColdpressLz4 | Self::ColdpressLz4x2)
    }

    /// Whether the rate of its compaction can be limited.
    pub(crate) const fn has_compaction_rate(self) -> bool {
        self.is_ours()
    }

    /// Whether the store may drop values by its design, so that a miss is no fault.
    pub(crate) const fn may_forget(self) -> bool {
        matches!(self, Self::Foyer)
    }

    /// Whether the store can make this promise.
    pub(crate) const fn keeps(self, promise: Promise) -> bool {
        match self {
            Self::Foyer => matches!(promise, Promise::Buffered),
            Self::Redb | Self::Sled => !matches!(promise, Promise::Flushed),
            _ => true,
        }
    }
}

/// The setup that every store gets alike, each in its own terms.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Bytes of memory for cached values or blocks.
    pub(crate) cache_bytes: u64,
    /// Bytes that the files may take, for stores that have such a limit.
    pub(crate) capacity_bytes: u64,
    /// The usual length of a value.
    pub(crate) value_bytes: u32,
    /// The promise of every write.
    pub(crate) promise: Promise,
    /// The most bytes that compaction may relocate in a second, where that is limited.
    pub(crate) compaction_bytes_per_s: Option<u64>,
}

/// An open store. Clients call it from several threads.
pub(crate) trait Store: Sync {
    /// Writes a value with the promise of the setup.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault>;

    /// Writes a value that ends after some seconds; `false` where the store has no lifetimes, and nothing was written.
    fn put_for(&self, _key: &[u8], _value: &[u8], _seconds: u32) -> Result<bool, Fault> {
        Ok(false)
    }

    /// Shows the value of a key to `see`, in the form in which the store hands it out, and tells whether there is one.
    ///
    /// `scratch` is memory of the calling thread that a store may read into.
    fn get(&self, key: &[u8], scratch: &mut Vec<u8>, see: &mut dyn FnMut(&[u8])) -> Result<bool, Fault>;

    /// Removes a key with the promise of the setup.
    fn remove(&self, key: &[u8]) -> Result<(), Fault>;

    /// Makes all earlier writes as durable as the store can.
    fn flush(&self) -> Result<(), Fault>;

    /// Tells whether the store has compacted since the last call; `None` where it doesn't say.
    fn has_compacted(&self) -> Option<bool> {
        None
    }

    /// Compacts to the end, and returns the bytes that it wrote for that; `None` where no caller can ask for it while others read.
    fn compact(&self) -> Result<Option<u64>, Fault> {
        Ok(None)
    }

    /// Closes in order.
    fn close(self: Box<Self>) -> Result<(), Fault>;
}

/// An opened store and its settings in words.
pub(crate) struct Opened {
    pub(crate) store: Box<dyn Store>,
    pub(crate) settings: String,
}

/// Opens the store of `variant` in `dir`, and makes it where there is none.
pub(crate) fn open(variant: Variant, dir: &Path, setup: &Setup) -> Result<Opened, Fault> {
    match variant {
        Variant::ColdpressRaw => coldpress::open(dir, setup, coldpress::CodecId::Raw, 1),
        Variant::ColdpressLz4 => coldpress::open(dir, setup, coldpress::CodecId::Lz4, 1),
        Variant::ColdpressLz4x2 => coldpress::open(dir, setup, coldpress::CodecId::Lz4, 2),
        Variant::Foyer => foyer::open(dir, setup),
        Variant::Fjall => fjall::open(dir, setup, true),
        Variant::FjallRaw => fjall::open(dir, setup, false),
        Variant::Redb => redb::open(dir, setup),
        Variant::Sled => sled::open(dir, setup),
        #[cfg(feature = "rocksdb")]
        Variant::Rocksdb => rocksdb::open(dir, setup),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(promise: Promise) -> Setup {
        Setup {
            cache_bytes: 8 << 20,
            capacity_bytes: 256 << 20,
            value_bytes: 4096,
            promise,
            compaction_bytes_per_s: None,
        }
    }

    #[test]
    fn value_put_reads_back_from_every_store_after_a_reopen() {
        for &variant in Variant::ALL {
            for promise in [Promise::Buffered, Promise::Flushed, Promise::Synced] {
                if !variant.keeps(promise) {
                    continue;
                }
                let dir = tempfile::tempdir().unwrap();
                let (mut scratch, mut seen) = (Vec::new(), Vec::new());
                let store = open(variant, dir.path(), &setup(promise)).unwrap().store;
                store.put(b"kept", &[7; 4096]).unwrap();
                store.put(b"gone", &[8; 100]).unwrap();
                store.remove(b"gone").unwrap();
                store.flush().unwrap();
                store.close().unwrap();
                let store = open(variant, dir.path(), &setup(promise)).unwrap().store;
                let mut see = |value: &[u8]| seen = value.to_vec();
                assert!(store.get(b"kept", &mut scratch, &mut see).unwrap(), "{variant:?} {promise}");
                assert!(!store.get(b"gone", &mut scratch, &mut |_| ()).unwrap(), "{variant:?} {promise}");
                store.close().unwrap();
                assert_eq!(seen, [7; 4096], "{variant:?} {promise}");
            }
        }
    }

    #[test]
    fn group_commits_of_many_clients_are_all_there() {
        for &variant in Variant::ALL.iter().filter(|variant| variant.keeps(Promise::Synced)) {
            let dir = tempfile::tempdir().unwrap();
            let store = open(variant, dir.path(), &setup(Promise::Synced)).unwrap().store;
            let store = &*store;
            std::thread::scope(|scope| {
                for client in 0..4u8 {
                    scope.spawn(move || {
                        (0..4u8).for_each(|at| store.put(&[client, at], &[client; 64]).unwrap());
                    });
                }
            });
            for client in 0..4u8 {
                for at in 0..4u8 {
                    let mut is_same = false;
                    let mut see = |value: &[u8]| is_same = value == [client; 64];
                    assert!(store.get(&[client, at], &mut Vec::new(), &mut see).unwrap(), "{variant:?}");
                    assert!(is_same, "{variant:?}");
                }
            }
        }
    }
}
