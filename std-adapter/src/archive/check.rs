//! Lists and verifies backups.

use std::collections::HashSet;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::error::ArchiveError;
use super::manifest::{Manifest, SegmentObject, digest};
use super::slots::{BackupSlots, manifest_path, object_path, read, read_whole};

/// A backup, as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its number.
    pub number: u64,
    /// When its segments were held, in seconds since 1970.
    pub taken_s: u64,
    /// The store that it is of.
    pub store_id: u64,
    /// The schema of its values.
    pub schema: Option<String>,
    /// The partitions of the tier.
    pub partitions: usize,
    /// The capacity of the tier, in bytes.
    pub capacity_bytes: u64,
    /// Objects with its segments, those that other backups name too included.
    pub objects: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl Listed {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let partitions = manifest.parts.len();
        Self {
            number: manifest.number,
            taken_s: manifest.taken_s,
            store_id: manifest.store_id,
            schema: manifest.schema.clone(),
            partitions,
            capacity_bytes: u64::from(manifest.segment_bytes)
                .saturating_mul(u64::from(manifest.segments))
                .saturating_mul(partitions as u64),
            objects: manifest.objects().count() as u64,
            bytes: manifest.objects().map(|(_, _, object)| object.bytes).sum(),
        }
    }
}

/// The backups of a prefix.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BackupList {
    /// Those with a whole manifest, the oldest first.
    pub backups: Vec<Listed>,
    /// Damage of the other manifests, the oldest first.
    pub damages: Vec<ArchiveDamage>,
}

/// Lists the backups of a prefix. It looks at manifests alone, and [`verify`] at their objects too.
///
/// # Errors
/// [`ArchiveError::Store`] where the store fails. A damaged manifest is no error, but part of the result.
///
/// # Bounds
/// Reads each manifest. Memory for one of them, and for the result.
pub async fn list(store: &dyn ObjectStore, prefix: &Path) -> Result<BackupList, ArchiveError> {
    let mut list = BackupList::default();
    for number in BackupSlots::list(store, prefix).await?.backups() {
        match read(store, prefix, number).await {
            Ok(manifest) => list.backups.push(Listed::of(&manifest)),
            // It was pruned meanwhile.
            Err(ArchiveError::NoBackup) => {}
            Err(error @ ArchiveError::Store(_)) => return Err(error),
            Err(error) => list.damages.push(ArchiveDamage { number, error }),
        }
    }
    Ok(list)
}

/// The result of a check of all backups.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Verified {
    /// Backups that can be restored.
    pub sound: Vec<Listed>,
    /// Damage of the others.
    pub damages: Vec<ArchiveDamage>,
    /// Objects that were read, each once.
    pub objects: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Manifests and objects that are not as they were uploaded, or are missing, for [`delete_damaged`](super::delete_damaged).
    pub(super) damaged: Vec<DamagedObject>,
}

/// An object that is not as it was uploaded, or is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DamagedObject {
    Manifest(u64),
    Segment(Path, SegmentObject),
}

/// An object that is not what was uploaded, and a backup that needs it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ArchiveDamage {
    /// The backup.
    pub number: u64,
    /// [`Damaged`](ArchiveError::Damaged), [`Missing`](ArchiveError::Missing) or [`Version`](ArchiveError::Version), with the path
    /// of the object.
    pub error: ArchiveError,
}

/// Reads every object that a backup names, and checks each byte. It changes nothing: see
/// [`delete_damaged`](super::delete_damaged).
///
/// # Errors
/// [`ArchiveError::Store`] where the store fails. Damage is no error, but part of the result.
///
/// # Bounds
/// Reads all objects once. Memory for their names, and one of them.
pub async fn verify(store: &dyn ObjectStore, prefix: &Path) -> Result<Verified, ArchiveError> {
    let mut verified = Verified::default();
    let mut sound = HashSet::new();
    for number in BackupSlots::list(store, prefix).await?.backups() {
        let before = (verified.damages.len(), verified.damaged.len());
        let mut damage = |error| verified.damages.push(ArchiveDamage { number, error });
        let manifest = match read(store, prefix, number).await {
            Ok(manifest) => manifest,
            Err(ArchiveError::NoBackup) => continue,
            Err(error @ ArchiveError::Store(_)) => return Err(error),
            Err(error) => {
                if matches!(error, ArchiveError::Damaged { .. }) {
                    verified.damaged.push(DamagedObject::Manifest(number));
                }
                damage(error);
                continue;
            }
        };
        for (part, segment, object) in manifest.objects() {
            let path = object_path(prefix, manifest.store_id, part, segment, object);
            if sound.contains(&path) {
                continue;
            }
            match fetch(store, &path, object).await {
                Ok(bytes) => {
                    verified.objects += 1;
                    verified.bytes += bytes.len() as u64;
                    sound.insert(path);
                }
                Err(error @ ArchiveError::Store(_)) => return Err(error),
                Err(error) => {
                    let found = DamagedObject::Segment(path, object.clone());
                    if !verified.damaged.contains(&found) {
                        verified.damaged.push(found);
                    }
                    damage(error);
                }
            }
        }
        if verified.damages.len() == before.0 {
            verified.sound.push(Listed::of(&manifest));
        } else if is_gone(store, prefix, number).await? {
            // A prune deleted it meanwhile.
            verified.damages.truncate(before.0);
            verified.damaged.truncate(before.1);
        }
    }
    Ok(verified)
}

async fn is_gone(store: &dyn ObjectStore, prefix: &Path, number: u64) -> Result<bool, ArchiveError> {
    Ok(store.head(&manifest_path(prefix, number)).await?.size == 0)
}

/// Reads the bytes of a segment, and checks them.
pub(super) async fn fetch(
    store: &dyn ObjectStore,
    path: &Path,
    object: &SegmentObject,
) -> Result<Vec<u8>, ArchiveError> {
    let bytes = read_whole(store, path).await?;
    if bytes.len() as u64 != object.bytes || digest(&bytes) != object.digest {
        return Err(ArchiveError::Damaged { object: path.to_string() });
    }
    Ok(bytes)
}
