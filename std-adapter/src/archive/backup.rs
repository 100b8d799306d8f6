//! Makes a backup.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::error::ArchiveError;
use super::manifest::{ArchivedSegment, Manifest, SegmentContent, SegmentObject};
use super::slots::{BackupSlots, SlotClaim, claim, object_path, read, segments_path};
use crate::api::{ColdTierHandle, HeldTier};
use crate::storage::PackedSegment;
use crate::worker::{HoldLost, TakenSegment};

/// The limits of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupOptions {
    /// Memory for segments that clients change before they are uploaded, in bytes, shared out evenly among the partitions. 64 MiB by
    /// default.
    pub held_bytes_max: u64,
    /// How often the backup begins at most, where that memory is not enough or a prune comes in between. 3 by default.
    pub attempts: u32,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self { held_bytes_max: 64 << 20, attempts: 3 }
    }
}

/// A backup that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Backup {
    /// Its number: higher than those of all before it.
    pub number: u64,
    /// When its segments were held, in seconds since 1970.
    pub taken_s: u64,
    /// Objects with segments that it uploaded, in all attempts.
    pub uploaded_objects: u64,
    /// Bytes of these.
    pub uploaded_bytes: u64,
    /// Objects that were there, of earlier backups or attempts.
    pub reused_objects: u64,
    /// Bytes of these.
    pub reused_bytes: u64,
    /// Bytes of its manifest.
    pub manifest_bytes: u64,
    /// How often it began.
    pub attempts: u32,
}

/// Makes a backup, with the default options. See [`backup_with`].
///
/// # Errors
/// As [`backup_with`].
pub async fn backup(
    handle: &ColdTierHandle,
    store: &dyn ObjectStore,
    prefix: &Path,
) -> Result<Backup, ArchiveError> {
    backup_with(handle, store, prefix, BackupOptions::default()).await
}

/// Makes a backup while clients go on.
///
/// It syncs the tier, then has each worker note the moment. The backup holds every segment as it was then. A write that was acknowledged before
/// the call is in it. One that is made meanwhile is in it, or not. The moments of the partitions differ by the time that a message
/// takes. Of two writes to different partitions in that time, the later one alone may be there.
///
/// Dropped, or ended by an error, it leaves objects that no backup names. A later prune deletes them.
///
/// # Errors
/// [`ArchiveError`]. No backup is listed then, except where the answer to the last put was lost.
///
/// # Bounds
/// Reads every segment that is not free. Memory for one segment, the manifest, and up to `held_bytes_max`. A worker copies a segment before its first
/// change, and waits for nothing. One backup of a tier is made at a time.
pub async fn backup_with(
    handle: &ColdTierHandle,
    store: &dyn ObjectStore,
    prefix: &Path,
    options: BackupOptions,
) -> Result<Backup, ArchiveError> {
    let mut made = Backup::default();
    loop {
        made.attempts += 1;
        let failure = match attempt(handle, store, prefix, options, &mut made).await {
            Ok(SlotClaim::Mine) => return Ok(made),
            Ok(SlotClaim::Others) => return Err(ArchiveError::SecondWriter { number: made.number }),
            Ok(SlotClaim::Prunes) => ArchiveError::SecondWriter { number: made.number },
            Err(error @ ArchiveError::Overrun { .. }) => error,
            Err(error) => return Err(error),
        };
        if made.attempts >= options.attempts {
            return Err(failure);
        }
        tracing::debug!(%failure, "the backup begins again");
    }
}

async fn attempt(
    handle: &ColdTierHandle,
    store: &dyn ObjectStore,
    prefix: &Path,
    options: BackupOptions,
    made: &mut Backup,
) -> Result<SlotClaim, ArchiveError> {
    let tier = handle.identity()?;
    let slots = BackupSlots::list(store, prefix).await?;
    made.number = slots.next();
    let mut uploading = Uploading::after(store, prefix, &slots, tier.store_id, made.number).await?;
    handle.flush_async().await?;
    let held = handle.hold_async(options.held_bytes_max).await?.ok_or(ArchiveError::Busy)?;
    made.taken_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    (made.reused_objects, made.reused_bytes) = (0, 0);
    let nonce = getrandom::u64().unwrap_or(made.taken_s);
    let mut manifest = Manifest::new(made.number, nonce, made.taken_s, tier);
    for (part, segments) in (0..).zip(&held.parts) {
        let mut archived = Vec::new();
        for (segment, at) in (0..).zip(segments) {
            let packed = take(&held, part, segment, at.bytes, options).await?;
            if let Some(mut entry) = ArchivedSegment::of(segment, at.sequence, made.number, &packed) {
                uploading.put(part, &mut entry, packed, made).await?;
                archived.push(entry);
            }
        }
        manifest.parts.push(archived);
    }
    drop(held);
    let bytes = manifest.encode()?;
    made.manifest_bytes = bytes.len() as u64;
    claim(store, prefix, made.number, bytes).await
}

/// The bytes of a segment at the moment of the hold.
async fn take(
    held: &HeldTier,
    part: u16,
    segment: u32,
    bytes: u32,
    options: BackupOptions,
) -> Result<PackedSegment, ArchiveError> {
    let read = held.read(part, segment, bytes)?;
    match held.take(part, segment).await? {
        TakenSegment::AsRead => read.map_err(ArchiveError::Unreadable),
        TakenSegment::Copied(packed) => Ok(packed),
        TakenSegment::Lost(HoldLost::Unreadable(failure)) => Err(ArchiveError::Unreadable(failure)),
        TakenSegment::Lost(HoldLost::Overrun) => {
            Err(ArchiveError::Overrun { held_bytes_max: options.held_bytes_max })
        }
        TakenSegment::Lost(HoldLost::Ended) => Err(ArchiveError::HoldEnded),
    }
}

/// The objects that are there, and the way to put others.
struct Uploading<'a> {
    store: &'a dyn ObjectStore,
    prefix: &'a Path,
    store_id: u64,
    /// The segments of the newest backup, by partition and segment. Every prune keeps their objects.
    newest: HashMap<(u16, u32), ArchivedSegment>,
    /// The lengths of all objects with segments. One of the number that is to be claimed is of an attempt that ended early: no prune has deleted it,
    /// else the number was claimed.
    sizes: HashMap<Path, u64>,
}

impl<'a> Uploading<'a> {
    async fn after(
        store: &'a dyn ObjectStore,
        prefix: &'a Path,
        slots: &BackupSlots,
        store_id: u64,
        number: u64,
    ) -> Result<Self, ArchiveError> {
        let mut this = Self { store, prefix, store_id, newest: HashMap::new(), sizes: HashMap::new() };
        let mut objects = store.list(Some(&segments_path(prefix)));
        while let Some(object) = objects.try_next().await? {
            this.sizes.insert(object.location, object.size);
        }
        let Some(newest) = slots.backups().next_back() else { return Ok(this) };
        let manifest = match read(store, prefix, newest).await {
            Ok(manifest) => manifest,
            // A prune came in between: the claim of this backup will fail, and it begins again.
            Err(ArchiveError::NoBackup) => return Ok(this),
            Err(ArchiveError::Damaged { object }) => {
                tracing::warn!(object, number, "the newest backup is damaged; all segments are uploaded");
                return Ok(this);
            }
            Err(error) => return Err(error),
        };
        if manifest.store_id != store_id {
            return Err(ArchiveError::OtherStore { stored: manifest.store_id, found: store_id });
        }
        this.newest =
            manifest.objects().map(|(part, segment, _)| ((part, segment.segment), segment.clone())).collect();
        Ok(this)
    }

    /// Names the object of the newest backup where it has the same bytes, or uploads them.
    async fn put(
        &mut self,
        part: u16,
        entry: &mut ArchivedSegment,
        packed: PackedSegment,
        made: &mut Backup,
    ) -> Result<(), ArchiveError> {
        let SegmentContent::Object(object) = &entry.content else { return Ok(()) };
        let object = self.known(part, entry).unwrap_or_else(|| object.clone());
        let path = object_path(self.prefix, self.store_id, part, entry, &object);
        if self.is_there(&path, &object) {
            made.reused_objects += 1;
            made.reused_bytes += object.bytes;
        } else {
            self.store.put(&path, packed.bytes.into()).await?;
            made.uploaded_objects += 1;
            made.uploaded_bytes += object.bytes;
        }
        entry.content = SegmentContent::Object(object);
        Ok(())
    }

    /// The object of the newest backup, where it has the same bytes.
    fn known(&self, part: u16, entry: &ArchivedSegment) -> Option<SegmentObject> {
        let known = self.newest.get(&(part, entry.segment)).filter(|known| known.is_same(entry))?;
        let object = known.object()?;
        let path = object_path(self.prefix, self.store_id, part, known, object);
        self.is_there(&path, object).then(|| object.clone())
    }

    /// Whether an object has the length that it should have. One that was cut short or deleted is uploaded again.
    fn is_there(&self, path: &Path, object: &SegmentObject) -> bool {
        self.sizes.get(path) == Some(&object.bytes)
    }
}
