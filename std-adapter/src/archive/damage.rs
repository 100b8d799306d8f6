//! Deletes damaged objects, so that later backups do not rely on them.
//!
//! A backup reuses an object of the newest one by its name and its length, without reading it. So damage would stay for ever. Once the object
//! is gone, the next backup uploads its bytes again, under its own number. Nothing is uploaded under a number that was claimed, so no
//! object that is deleted here can have become sound meanwhile.

use std::collections::HashSet;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::check::{DamagedObject, Verified, fetch};
use super::error::ArchiveError;
use super::slots::{BackupSlots, claim, manifest_path, object_path, read};

/// The result of a deletion of damage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeletedDamage {
    /// Objects with segments that were deleted.
    pub objects: u64,
    /// Manifests that were made empty, as those of pruned backups.
    pub manifests: u64,
    /// The listed backups that name a deleted object, in order: they can't be restored. The next prunes delete them.
    pub backups: Vec<u64>,
}

/// Deletes the damaged objects and manifests that a [`verify`](super::verify) found. The next backup uploads these segments again, if the
/// tier still has them.
///
/// Each one is read again before. One that is missing counts as deleted, and one stays where it is sound now, since a medium may have failed for a moment. Backups that need a deleted
/// object can't be restored, neither before nor after. A manifest of a later version stays.
///
/// A backup may be under way, also in another process, and count on a deleted object: then it begins again. One that was listed
/// meanwhile is among [`DeletedDamage::backups`] if it names such an object.
///
/// # Errors
/// [`ArchiveError::Store`] where the store fails. Objects may be deleted then, and a second call deletes the rest.
///
/// # Bounds
/// Reads each damaged object twice at most, and each manifest. Memory for one of them, and for the names of damaged objects.
pub async fn delete_damaged(
    store: &dyn ObjectStore,
    prefix: &Path,
    verified: &Verified,
) -> Result<DeletedDamage, ArchiveError> {
    let mut deleted = DeletedDamage::default();
    let mut gone = HashSet::new();
    for damaged in &verified.damaged {
        match damaged {
            DamagedObject::Manifest(number) => {
                if is_damaged(read(store, prefix, *number).await)? {
                    store.put(&manifest_path(prefix, *number), Vec::new().into()).await?;
                    deleted.manifests += 1;
                }
            }
            DamagedObject::Segment(path, object) => match fetch(store, path, object).await {
                Ok(_) => {}
                Err(ArchiveError::Damaged { .. }) => {
                    match store.delete(path).await {
                        Ok(()) => deleted.objects += 1,
                        Err(object_store::Error::NotFound { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                    gone.insert(path);
                }
                // An earlier call deleted it, and may have ended before it took a number.
                Err(ArchiveError::Missing { .. }) => {
                    gone.insert(path);
                }
                Err(error) => return Err(error),
            },
        }
    }
    if gone.is_empty() {
        return Ok(deleted);
    }
    // A backup that looked at the objects before they were deleted must not claim its number any more. So a number is taken now,
    // by this call or by another process.
    let number = BackupSlots::list(store, prefix).await?.next();
    claim(store, prefix, number, Vec::new()).await?;
    for number in BackupSlots::list(store, prefix).await?.backups() {
        let manifest = match read(store, prefix, number).await {
            Ok(manifest) => manifest,
            Err(error @ ArchiveError::Store(_)) => return Err(error),
            // It was pruned meanwhile, or is damaged.
            Err(_) => continue,
        };
        let mut paths = manifest
            .objects()
            .map(|(part, segment, object)| object_path(prefix, manifest.store_id, part, segment, object));
        if paths.any(|path| gone.contains(&path)) {
            deleted.backups.push(number);
        }
    }
    Ok(deleted)
}

/// Whether something that was read is damaged still.
fn is_damaged<T>(read: Result<T, ArchiveError>) -> Result<bool, ArchiveError> {
    match read {
        Err(ArchiveError::Damaged { .. }) => Ok(true),
        Err(error @ ArchiveError::Store(_)) => Err(error),
        _ => Ok(false),
    }
}
