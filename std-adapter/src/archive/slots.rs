//! The names of a prefix, and the numbers that backups and prunes claim.
//!
//! ```text
//! PREFIX/manifests/NUMBER                                            a manifest; empty: pruned, or claimed by a prune
//! PREFIX/segments/NUMBER/STORE-PARTITION-SEGMENT-SEQUENCE-DIGEST     bytes, uploaded for the backup of that number
//! ```
//! A number is claimed once, by a conditional put, and its name stays for ever. So numbers order all backups and prunes of a
//! prefix. A prune deletes objects up to its own number only; a backup uses those of the newest backup, which each prune
//! keeps, and its own. If any number was claimed since the backup looked, its own claim fails.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};

use super::error::ArchiveError;
use super::manifest::{ArchivedSegment, Manifest, SegmentObject};

/// The numbers of a prefix that were claimed, with the bytes of each manifest.
#[derive(Debug)]
pub(super) struct BackupSlots {
    sizes: BTreeMap<u64, u64>,
}

impl BackupSlots {
    pub(super) async fn list(store: &dyn ObjectStore, prefix: &Path) -> Result<Self, ArchiveError> {
        Self::list_from(store, prefix, 0).await
    }

    /// As [`list`](Self::list), without names below a number: no backup has such a number any more.
    pub(super) async fn list_from(
        store: &dyn ObjectStore,
        prefix: &Path,
        from: u64,
    ) -> Result<Self, ArchiveError> {
        let all = below(prefix, "manifests");
        if let Some(before) = from.checked_sub(1) {
            let slots =
                Self::of(store.list_with_offset(Some(&all), &manifest_path(prefix, before)), prefix).await?;
            if !slots.sizes.is_empty() {
                return Ok(slots);
            }
        }
        Self::of(store.list(Some(&all)), prefix).await
    }

    async fn of(
        mut objects: BoxStream<'static, object_store::Result<ObjectMeta>>,
        prefix: &Path,
    ) -> Result<Self, ArchiveError> {
        let mut sizes = BTreeMap::new();
        while let Some(object) = objects.try_next().await? {
            // Files that something else left there are none of ours.
            if let Some(number) = object.location.filename().and_then(|name| name.parse().ok())
                && object.location == manifest_path(prefix, number)
            {
                sizes.insert(number, object.size);
            }
        }
        Ok(Self { sizes })
    }

    /// The oldest backup; 0 where there is none.
    pub(super) fn oldest(&self) -> u64 {
        self.backups().next().unwrap_or(0)
    }

    /// The number to claim next.
    pub(super) fn next(&self) -> u64 {
        self.sizes.keys().next_back().map_or(1, |last| last.saturating_add(1))
    }

    /// The numbers of the backups, the oldest first.
    pub(super) fn backups(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.sizes.iter().filter(|(_, bytes)| **bytes > 0).map(|(number, _)| *number)
    }
}

fn below(prefix: &Path, rest: &str) -> Path {
    Path::from(format!("{prefix}/{rest}"))
}

pub(super) fn manifest_path(prefix: &Path, number: u64) -> Path {
    below(prefix, &format!("manifests/{number:020}"))
}

pub(super) fn segments_path(prefix: &Path) -> Path {
    below(prefix, "segments")
}

pub(super) fn object_path(
    prefix: &Path,
    store_id: u64,
    part: u16,
    segment: &ArchivedSegment,
    object: &SegmentObject,
) -> Path {
    use core::fmt::Write as _;
    let mut digest = String::new();
    for byte in object.digest {
        // Writing to a string does not fail.
        let _ = write!(digest, "{byte:02x}");
    }
    let ArchivedSegment { segment, sequence, .. } = segment;
    let slot = object.slot;
    below(prefix, &format!("segments/{slot:020}/{store_id:016x}-{part}-{segment}-{sequence}-{digest}"))
}

/// The number for which an object was uploaded, by its path.
pub(super) fn slot_of(path: &Path) -> Option<u64> {
    path.parts().nth_back(1)?.as_ref().parse().ok()
}

/// The outcome of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotClaim {
    Mine,
    Prunes,
    Others,
}

/// Claims a number with a manifest, or with none for a prune.
pub(super) async fn claim(
    store: &dyn ObjectStore,
    prefix: &Path,
    number: u64,
    manifest: Vec<u8>,
) -> Result<SlotClaim, ArchiveError> {
    let path = manifest_path(prefix, number);
    let options = PutOptions::from(PutMode::Create);
    let failure = match store.put_opts(&path, manifest.clone().into(), options).await {
        Ok(_) => return Ok(SlotClaim::Mine),
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => None,
        // The put may be done, and its answer lost. A store repeats no conditional put where it can't know. An empty object may be
        // another prune's.
        Err(error) if manifest.is_empty() => return Err(error.into()),
        Err(error) => Some(error),
    };
    let there = read_whole(store, &path).await;
    match (there, failure) {
        // A manifest has a number drawn at random, so it is this one's, and the answer to its put was lost.
        (Ok(there), _) if !there.is_empty() && there == manifest => Ok(SlotClaim::Mine),
        (_, Some(error)) | (Err(error), None) => Err(error.into()),
        (Ok(there), None) if there.is_empty() => Ok(SlotClaim::Prunes),
        (Ok(_), None) => Ok(SlotClaim::Others),
    }
}

/// Reads an object.
pub(super) async fn read_whole(store: &dyn ObjectStore, path: &Path) -> object_store::Result<Vec<u8>> {
    Ok(store.get(path).await?.bytes().await?.into())
}

/// Reads a manifest.
pub(super) async fn read(
    store: &dyn ObjectStore,
    prefix: &Path,
    number: u64,
) -> Result<Manifest, ArchiveError> {
    let path = manifest_path(prefix, number);
    let bytes = read_whole(store, &path).await?;
    if bytes.is_empty() {
        return Err(ArchiveError::NoBackup);
    }
    Manifest::decode(number, path.as_ref(), &bytes)
}
