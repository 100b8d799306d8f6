//! Deletes old backups.

use std::collections::HashSet;

use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::error::ArchiveError;
use super::slots::{BackupSlots, SlotClaim, claim, manifest_path, object_path, read, segments_path, slot_of};

/// The most numbers that are tried, where backups take them.
const CLAIMS_MAX: u32 = 3;

/// The result of a prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// Backups that are not listed any more.
    pub backups: u64,
    /// Objects with segments.
    pub objects: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// Keeps the newest backups, and deletes all others with the objects that only they name.
///
/// A backup may be under way, also in another process: it begins again. Of an old backup an empty object stays, so that its number is
/// not given out again. A prune that was ended early leaves objects, which the next one deletes.
///
/// # Errors
/// [`ArchiveError`]: [`KeepNone`](ArchiveError::KeepNone) where `keep` is 0. Nothing is deleted where a manifest to keep can't be
/// read, or another process prunes at the same time.
///
/// # Bounds
/// Reads the manifests that are kept; lists all objects. Memory for the names of the objects that are kept or deleted.
pub async fn prune(store: &dyn ObjectStore, prefix: &Path, keep: usize) -> Result<Pruned, ArchiveError> {
    Ok(prune_from(store, prefix, keep, 0).await?.0)
}

/// As [`prune`], where no backup has a number below `from`. Returns the number that it took, too.
pub(super) async fn prune_from(
    store: &dyn ObjectStore,
    prefix: &Path,
    keep: usize,
    from: u64,
) -> Result<(Pruned, u64), ArchiveError> {
    if keep == 0 {
        return Err(ArchiveError::KeepNone);
    }
    let (slots, number) = claim_prune(store, prefix, from).await?;
    let mut kept: Vec<u64> = slots.backups().rev().take(keep).collect();
    kept.reverse();
    let mut named = HashSet::new();
    for number in &kept {
        let manifest = match read(store, prefix, *number).await {
            // Another prune is under way, and knows of newer backups.
            Err(ArchiveError::NoBackup) => return Err(ArchiveError::SecondWriter { number: *number }),
            manifest => manifest?,
        };
        let paths = manifest
            .objects()
            .map(|(part, segment, object)| object_path(prefix, manifest.store_id, part, segment, object));
        named.extend(paths);
    }
    let mut pruned = Pruned::default();
    for old in slots.backups().filter(|old| !kept.contains(old)) {
        store.put(&manifest_path(prefix, old), Vec::new().into()).await?;
        pruned.backups += 1;
    }
    let mut deleted = Vec::new();
    let mut objects = store.list(Some(&segments_path(prefix)));
    while let Some(object) = objects.try_next().await? {
        // Objects of later numbers are of backups that are under way.
        let is_of_past = slot_of(&object.location).is_some_and(|slot| slot <= number);
        if is_of_past && !named.contains(&object.location) {
            deleted.push(object);
        }
    }
    for object in deleted {
        match store.delete(&object.location).await {
            Ok(()) => {
                pruned.objects += 1;
                pruned.bytes += object.size;
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((pruned, number))
}

async fn claim_prune(
    store: &dyn ObjectStore,
    prefix: &Path,
    from: u64,
) -> Result<(BackupSlots, u64), ArchiveError> {
    let mut claims = 0;
    loop {
        let slots = BackupSlots::list_from(store, prefix, from).await?;
        let number = slots.next();
        match claim(store, prefix, number, Vec::new()).await? {
            SlotClaim::Mine => return Ok((slots, number)),
            SlotClaim::Prunes => return Err(ArchiveError::SecondWriter { number }),
            SlotClaim::Others => claims += 1,
        }
        if claims == CLAIMS_MAX {
            return Err(ArchiveError::SecondWriter { number });
        }
    }
}
