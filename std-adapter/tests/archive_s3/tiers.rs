//! Small tiers, and checks of what they hold.

use std::path::Path as FilePath;

use coldpress_std::archive::object_store::ObjectStore;
use coldpress_std::archive::{self, ArchiveError, RestorePoint};
use coldpress_std::{ColdTier, ColdTierConfig};

use crate::{prefix, wait};

pub(crate) const KEYS: u64 = 150;

pub(crate) fn open(base: &FilePath, name: &str) -> ColdTier {
    let config = ColdTierConfig::builder().base_dir(base).capacity_bytes(2 << 20).segment_bytes(64 << 10);
    let config = config.partitions(2).value_bytes_max(8 << 10).build().unwrap();
    ColdTier::with_own_pools(config, name).unwrap()
}

/// A value that no codec shortens.
fn value(key: u64, version: u64) -> Vec<u8> {
    let mut state = (key * 1000 + version).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    core::iter::repeat_with(next).take(1000).collect()
}

/// Puts a version under all keys.
pub(crate) fn put_all(tier: &ColdTier, version: u64) {
    for key in 0..KEYS {
        tier.put(&key.to_le_bytes(), &value(key, version)).unwrap();
    }
}

/// Restores a backup through a store, and checks that all keys have a version.
pub(crate) fn restores(store: &dyn ObjectStore, at: RestorePoint, version: u64) -> Result<(), ArchiveError> {
    let dir = tempfile::tempdir().unwrap();
    if let Err(error) = wait(archive::restore(store, &prefix(), &dir.path().join("r"), at)) {
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nothing is left of a restore that failed");
        return Err(error);
    }
    let restored = open(dir.path(), "r");
    for key in 0..KEYS {
        let found = restored.get(&key.to_le_bytes()).unwrap();
        assert!(found == Some(value(key, version)), "key {key}, version {version}");
    }
    Ok(())
}

pub(crate) fn assert_restores(store: &dyn ObjectStore, at: RestorePoint, version: u64) {
    restores(store, at, version).unwrap();
}

/// The numbers of the backups, all of them sound.
pub(crate) fn check(store: &dyn ObjectStore) -> Result<Vec<u64>, ArchiveError> {
    let listed = wait(archive::list(store, &prefix()))?;
    let verified = wait(archive::verify(store, &prefix()))?;
    let damages = [listed.damages, verified.damages];
    assert!(damages.iter().all(Vec::is_empty), "{damages:?}");
    let numbers = |all: &[archive::Listed]| all.iter().map(|one| one.number).collect::<Vec<_>>();
    assert_eq!(numbers(&listed.backups), numbers(&verified.sound));
    Ok(numbers(&listed.backups))
}

pub(crate) fn sound(store: &dyn ObjectStore) -> Vec<u64> {
    check(store).unwrap()
}
