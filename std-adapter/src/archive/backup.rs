//! Makes a backup.

use core::num::NonZeroU64;

use object_store::ObjectStore;
use object_store::path::Path;

use super::error::ArchiveError;
use super::known::KnownSegments;
use super::manifest::{ArchivedSegment, Manifest, SegmentContent, SegmentObject};
use super::progress::BackupProgress;
use super::slots::{BackupSlots, SlotClaim, claim};
use super::timer::ArchiveTimer;
use super::uploads::{StoredObjects, UploadPace, Uploads};
use crate::api::{ColdTierHandle, HeldTier};
use crate::clock::SystemClock;
use crate::storage::PackedSegment;
use crate::worker::{HeldSegment, HoldLost, TakenSegment};

/// The limits of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupOptions {
    /// Memory for segments that clients change before they are uploaded, in bytes, shared out evenly among the partitions. 64 MiB by
    /// default.
    pub held_bytes_max: u64,
    /// How often the backup begins at most, where that memory is not enough or a prune comes in between. 3 by default.
    pub attempts: u32,
    /// How many objects are uploaded at a time, at least one. Each takes memory for a segment. 4 by default.
    pub uploads_max: usize,
    /// Bytes to upload in a second at most, on average; no limit by default. In any `T` seconds uploads of `T` times so many bytes and of
    /// one object more begin. The store sends each one as fast as it can, and repeats some.
    pub upload_bytes_per_s: Option<NonZeroU64>,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self { held_bytes_max: 64 << 20, attempts: 3, uploads_max: 4, upload_bytes_per_s: None }
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
    /// Bytes of segments that it read, in all attempts.
    pub read_bytes: u64,
    /// Bytes of its manifest.
    pub manifest_bytes: u64,
    /// How often it began.
    pub attempts: u32,
}

impl Backup {
    /// Notes an object that was there.
    const fn reuse(&mut self, object: &SegmentObject) {
        self.reused_objects += 1;
        self.reused_bytes += object.bytes;
    }
}

/// The surroundings of a backup: where it counts, and its time.
#[derive(Debug, Clone, Copy)]
pub struct BackupWatch<'a> {
    /// How far it is.
    pub progress: &'a BackupProgress,
    /// The time by which uploads are paced.
    pub timer: &'a dyn ArchiveTimer,
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
/// Reads every segment that is not free, on the thread that polls it. Memory for the manifest, for `uploads_max` segments and one more, and up to `held_bytes_max`. A worker copies a
/// segment before its first change, and waits for nothing. One backup of a tier is made at a time.
pub async fn backup_with(
    handle: &ColdTierHandle,
    store: &dyn ObjectStore,
    prefix: &Path,
    options: BackupOptions,
) -> Result<Backup, ArchiveError> {
    let watch = BackupWatch { progress: &BackupProgress::new(), timer: &SystemClock };
    backup_watched(handle, store, prefix, options, watch).await
}

/// As [`backup_with`]; others can read meanwhile how far it is.
///
/// # Errors
/// As [`backup_with`].
pub async fn backup_watched(
    handle: &ColdTierHandle,
    store: &dyn ObjectStore,
    prefix: &Path,
    options: BackupOptions,
    watch: BackupWatch<'_>,
) -> Result<Backup, ArchiveError> {
    BackupJob { handle, store, prefix, options, watch, from: 0 }.run(&mut KnownSegments::default()).await
}

/// A backup to be made.
pub(super) struct BackupJob<'a> {
    pub(super) handle: &'a ColdTierHandle,
    pub(super) store: &'a dyn ObjectStore,
    pub(super) prefix: &'a Path,
    pub(super) options: BackupOptions,
    pub(super) watch: BackupWatch<'a>,
    /// No backup has a lower number than this.
    pub(super) from: u64,
}

impl BackupJob<'_> {
    /// Makes it. It reads no segment that is known and did not change since.
    pub(super) async fn run(&self, known: &mut KnownSegments) -> Result<Backup, ArchiveError> {
        self.watch.progress.begin();
        let mut made = Backup::default();
        loop {
            made.attempts += 1;
            let failure = match self.attempt(known, &mut made).await {
                Ok(SlotClaim::Mine) => {
                    let state = self.watch.progress.snapshot();
                    (made.uploaded_objects, made.uploaded_bytes) =
                        (state.uploaded_objects, state.uploaded_bytes);
                    return Ok(made);
                }
                Ok(SlotClaim::Others) => return Err(ArchiveError::SecondWriter { number: made.number }),
                Ok(SlotClaim::Prunes) => ArchiveError::SecondWriter { number: made.number },
                Err(error @ ArchiveError::Overrun { .. }) => error,
                Err(error) => return Err(error),
            };
            if made.attempts >= self.options.attempts {
                return Err(failure);
            }
            tracing::debug!(%failure, "the backup begins again");
        }
    }

    async fn attempt(&self, known: &mut KnownSegments, made: &mut Backup) -> Result<SlotClaim, ArchiveError> {
        let Self { handle, store, prefix, options, watch: BackupWatch { progress, timer }, from } = *self;
        let tier = handle.identity()?;
        let store_id = tier.store_id;
        let slots = BackupSlots::list_from(store, prefix, from).await?;
        made.number = slots.next();
        let stored = StoredObjects::list(store, prefix, &slots, store_id).await?;
        let placed = known.placed(&stored, prefix, store_id);
        progress.begin_attempt(timer.now());
        handle.flush_async().await?;
        let held = handle.hold_async(options.held_bytes_max, placed.hold()).await?;
        let held = held.ok_or(ArchiveError::Busy)?;
        made.taken_s = u64::from(timer.wall_s());
        (made.reused_objects, made.reused_bytes) = (0, 0);
        let all = held.parts.iter().flatten();
        progress.hold(all.clone().count() as u64, all.map(HeldSegment::bytes_to_read).sum());
        let nonce = getrandom::u64().unwrap_or(made.taken_s);
        let mut manifest = Manifest::new(made.number, nonce, made.taken_s, tier);
        let pace = UploadPace::new(options.upload_bytes_per_s);
        let mut uploads = Uploads::new(store, timer, progress, options.uploads_max, pace);
        for (part, segments) in (0..).zip(&held.parts) {
            let mut archived = Vec::new();
            for (segment, at) in (0..).zip(segments) {
                let read_bytes = at.bytes_to_read();
                if !at.is_changed {
                    let entry = placed.segment(part, segment).cloned();
                    entry.iter().filter_map(ArchivedSegment::object).for_each(|object| made.reuse(object));
                    archived.extend(entry);
                    progress.finish_segment(read_bytes);
                    continue;
                }
                let packed = take(&held, part, segment, at.bytes, options).await?;
                made.read_bytes += read_bytes;
                let entry = ArchivedSegment::of(segment, at.sequence, made.number, &packed);
                let Some(mut entry) = entry else {
                    progress.finish_segment(read_bytes);
                    continue;
                };
                if let SegmentContent::Object(object) = &entry.content {
                    let (object, path, is_there) = stored.place(prefix, store_id, part, &entry, object);
                    if is_there {
                        made.reuse(&object);
                        progress.finish_segment(read_bytes);
                    } else {
                        uploads.add(path, packed.bytes, read_bytes).await?;
                    }
                    entry.content = SegmentContent::Object(object);
                } else {
                    progress.finish_segment(read_bytes);
                }
                archived.push(entry);
            }
            manifest.parts.push(archived);
        }
        let hold = held.number;
        drop(held);
        let bytes = manifest.encode()?;
        made.manifest_bytes = bytes.len() as u64;
        uploads.finish(made.manifest_bytes).await?;
        let claim = claim(store, prefix, made.number, bytes).await?;
        if matches!(claim, SlotClaim::Mine) {
            known.learn(hold, manifest.parts);
        }
        Ok(claim)
    }
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
