//! The objects that an archive has, and the uploads of others, several at a time.

use core::future::poll_fn;
use core::num::NonZeroU64;
use core::task::Poll;
use core::time::Duration;
use std::collections::HashMap;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::error::ArchiveError;
use super::manifest::{ArchivedSegment, SegmentObject};
use super::progress::BackupProgress;
use super::slots::{BackupSlots, object_path, read, segments_path};
use super::timer::ArchiveTimer;

/// The objects that are there.
pub(super) struct StoredObjects {
    /// The segments of the newest backup, by partition and segment. Every prune keeps their objects.
    newest: HashMap<(u16, u32), ArchivedSegment>,
    /// The lengths of all objects with segments. One of the number that is to be claimed is of an attempt that ended early: no prune has deleted it,
    /// else the number was claimed.
    sizes: HashMap<Path, u64>,
}

impl StoredObjects {
    pub(super) async fn list(
        store: &dyn ObjectStore,
        prefix: &Path,
        slots: &BackupSlots,
        store_id: u64,
    ) -> Result<Self, ArchiveError> {
        let mut this = Self { newest: HashMap::new(), sizes: HashMap::new() };
        let mut objects = store.list(Some(&segments_path(prefix)));
        while let Some(object) = objects.try_next().await? {
            this.sizes.insert(object.location, object.size);
        }
        for (nth, number) in slots.backups().rev().enumerate() {
            let manifest = match read(store, prefix, number).await {
                Ok(manifest) => manifest,
                // A prune came in between: the claim of this backup will fail, and it begins again.
                Err(ArchiveError::NoBackup) => continue,
                // The next one tells whose the prefix is.
                Err(ArchiveError::Damaged { object }) => {
                    tracing::warn!(object, "a backup is damaged");
                    continue;
                }
                Err(error) => return Err(error),
            };
            // A tier that holds nothing has no store yet: each open of it chooses one.
            if !manifest.has_store() {
                continue;
            }
            if manifest.store_id != store_id {
                return Err(ArchiveError::OtherStore { stored: manifest.store_id, found: store_id });
            }
            if nth == 0 {
                let objects = manifest.objects();
                this.newest =
                    objects.map(|(part, segment, _)| ((part, segment.segment), segment.clone())).collect();
            }
            break;
        }
        Ok(this)
    }

    /// The object of the newest backup that has the bytes of this segment, and its path.
    pub(super) fn find(
        &self,
        prefix: &Path,
        store_id: u64,
        part: u16,
        entry: &ArchivedSegment,
    ) -> Option<(SegmentObject, Path)> {
        let known = self.newest.get(&(part, entry.segment)).filter(|known| known.is_same(entry))?.object()?;
        let path = object_path(prefix, store_id, part, entry, known);
        self.is_there(&path, known).then(|| (known.clone(), path))
    }

    /// Chooses the object of a segment: that of the newest backup where it has the same bytes. Returns its path, and whether it is there.
    pub(super) fn place(
        &self,
        prefix: &Path,
        store_id: u64,
        part: u16,
        entry: &ArchivedSegment,
        object: &SegmentObject,
    ) -> (SegmentObject, Path, bool) {
        if let Some((known, path)) = self.find(prefix, store_id, part, entry) {
            return (known, path, true);
        }
        let path = object_path(prefix, store_id, part, entry, object);
        let is_there = self.is_there(&path, object);
        (object.clone(), path, is_there)
    }

    /// Whether an object has the length that it should have. One that was cut short or deleted is uploaded again.
    fn is_there(&self, path: &Path, object: &SegmentObject) -> bool {
        self.sizes.get(path) == Some(&object.bytes)
    }
}

/// Spreads uploads over time: each begins once all before it would be done at the limit.
#[derive(Debug)]
pub(super) struct UploadPace {
    bytes_per_s: Option<NonZeroU64>,
    /// When the next upload may begin.
    free_at: Duration,
}

impl UploadPace {
    pub(super) const fn new(bytes_per_s: Option<NonZeroU64>) -> Self {
        Self { bytes_per_s, free_at: Duration::ZERO }
    }

    /// An upload of so many bytes begins.
    fn begin(&mut self, bytes: u64, now: Duration) {
        if let Some(bytes_per_s) = self.bytes_per_s {
            let ns = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_s.get());
            self.free_at = now.saturating_add(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)));
        }
    }
}

/// An upload that was made: the bytes of the object, and of its segment.
struct Uploaded {
    bytes: u64,
    read_bytes: u64,
}

/// Uploads objects, so many at a time. Dropped, it breaks them off.
pub(super) struct Uploads<'a> {
    store: &'a dyn ObjectStore,
    timer: &'a dyn ArchiveTimer,
    progress: &'a BackupProgress,
    at_once: usize,
    pace: UploadPace,
    under_way: FuturesUnordered<BoxFuture<'a, Result<Uploaded, ArchiveError>>>,
}

impl<'a> Uploads<'a> {
    pub(super) fn new(
        store: &'a dyn ObjectStore,
        timer: &'a dyn ArchiveTimer,
        progress: &'a BackupProgress,
        at_once: usize,
        pace: UploadPace,
    ) -> Self {
        Self { store, timer, progress, at_once: at_once.max(1), pace, under_way: FuturesUnordered::new() }
    }

    /// Begins an upload, once fewer than the most are under way and the limit permits it.
    pub(super) async fn add(
        &mut self,
        path: Path,
        bytes: Vec<u8>,
        read_bytes: u64,
    ) -> Result<(), ArchiveError> {
        while self.under_way.len() >= self.at_once {
            self.next().await?;
        }
        let uploaded = Uploaded { bytes: bytes.len() as u64, read_bytes };
        self.wait_for_pace(uploaded.bytes).await?;
        let store = self.store;
        self.under_way.push(Box::pin(async move {
            store.put(&path, bytes.into()).await?;
            Ok(uploaded)
        }));
        // It begins now, and goes on while the next segment is read.
        self.take_done().await
    }

    /// Waits until all are done, and the limit permits so many bytes more.
    pub(super) async fn finish(&mut self, more_bytes: u64) -> Result<(), ArchiveError> {
        while !self.under_way.is_empty() {
            self.next().await?;
        }
        self.wait_for_pace(more_bytes).await
    }

    /// Waits until so many bytes may begin. The uploads that are under way go on.
    async fn wait_for_pace(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        let timer = self.timer;
        if self.pace.free_at > timer.now() {
            let mut sleep = timer.sleep_until(self.pace.free_at);
            let mut is_over = false;
            while !is_over {
                let done = poll_fn(|cx| {
                    is_over = sleep.as_mut().poll(cx).is_ready();
                    if is_over {
                        return Poll::Ready(None);
                    }
                    match self.under_way.poll_next_unpin(cx) {
                        Poll::Ready(Some(done)) => Poll::Ready(Some(done)),
                        // Nothing is under way: the sleep wakes this.
                        Poll::Ready(None) | Poll::Pending => Poll::Pending,
                    }
                });
                if let Some(uploaded) = done.await {
                    self.note(&uploaded?);
                }
            }
        }
        self.pace.begin(bytes, timer.now());
        Ok(())
    }

    async fn next(&mut self) -> Result<(), ArchiveError> {
        if let Some(uploaded) = self.under_way.next().await {
            self.note(&uploaded?);
        }
        Ok(())
    }

    /// Takes those that are done, without waiting.
    async fn take_done(&mut self) -> Result<(), ArchiveError> {
        loop {
            let done = poll_fn(|cx| match self.under_way.poll_next_unpin(cx) {
                Poll::Ready(done) => Poll::Ready(done),
                Poll::Pending => Poll::Ready(None),
            });
            match done.await {
                Some(uploaded) => self.note(&uploaded?),
                None => return Ok(()),
            }
        }
    }

    fn note(&self, uploaded: &Uploaded) {
        self.progress.upload(uploaded.bytes);
        self.progress.finish_segment(uploaded.read_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paced_uploads_never_exceed_the_limit_and_one_object() {
        let rate = 1000;
        let mut pace = UploadPace::new(NonZeroU64::new(rate));
        let mut begun = Vec::new();
        let mut now = Duration::ZERO;
        for n in 0..500u64 {
            let bytes = 1 + n * 7919 % 3000;
            // Now and then the backup is late itself.
            now = pace.free_at.max(now) + Duration::from_millis(if n % 50 == 0 { 5000 } else { 0 });
            pace.begin(bytes, now);
            begun.push((now, bytes));
        }
        for (at, (from, _)) in begun.iter().enumerate() {
            let mut sum = 0;
            for (to, bytes) in &begun[at..] {
                let limit = rate as f64 * (*to - *from).as_secs_f64() + 3000.0;
                sum += bytes;
                assert!(sum as f64 <= limit + 1e-3, "{sum} bytes from {from:?} to {to:?}");
            }
        }
        let mut unlimited = UploadPace::new(None);
        unlimited.begin(u64::MAX, now);
        assert_eq!(unlimited.free_at, Duration::ZERO);
    }
}
