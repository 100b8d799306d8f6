//! The log of a service's partition, read while its service may go on writing it.
//!
//! No lock is taken. A mount is a picture of the log if no segment was freed from its beginning to its end:
//!
//! - Records are appended, and are read or not. Either way a key has a record that it had meanwhile.
//! - A relocated record is durable in its new place before its segment is erased. So a mount that found the old place erased may
//!   have read the new place too early. The header of an erased segment is gone, which shows that.
//! - A mount counts no record of a segment whose erase an intent announces. The intent lies behind all relocated records. So a mount
//!   that begins after the intent was read finds them.
//!
//! Where either shows, the log is mounted again. A file that nobody wrote to meanwhile is mounted once.
//!
//! A long value is several records, and a head names its pieces by a generation that is used again. So a mount may find the head of
//! one value and pieces of another. A long value counts only if a mount that ended before found the same head and the same pieces:
//!
//! - No piece is newer than the head. A generation is used again only after a newer head, or a tombstone, was synced. If the
//!   earlier mount found such a piece, this mount finds that head.
//! - No piece is older than the head. All pieces are synced before their head is written. If the earlier mount found the head, this
//!   mount finds its pieces.
//!
//! The earlier mount serves as a witness only: segments may have been freed during it.

use core::time::Duration;
use std::path::Path;
use std::time::SystemTime;

use coldpress_core::format::{Format, Geometry, HEADER_BYTES_KEYED, KeyHash, MARKER_BYTES, Sequence};
use coldpress_core::segments::SegmentState;

use super::error::ImageError;
use super::index::PieceProof;
use super::probe;
use super::source::Source;
use super::{Contents, Damage, Image};
use crate::file_error::FileError;

/// The most mounts of one log, but for those behind it that fail.
const MOUNTS_MAX: u32 = 10;
/// The most mounts in a row that fail. A writer may be the reason, and damage is the reason more often.
const FAILED_MOUNTS_MAX: u32 = 3;
const BETWEEN_MOUNTS: Duration = Duration::from_millis(10);

/// Longer than a tick of any file system's clock.
const TICK_MAX: Duration = Duration::from_secs(3);

const LIFE_BYTES: usize = (MARKER_BYTES + HEADER_BYTES_KEYED) as usize;

/// The beginning of a segment, which is another one in each of its lives.
type Life = [u8; LIFE_BYTES];

/// A partition's log, as it was while it was mounted.
#[derive(Debug)]
pub(crate) struct PartImage {
    image: Image,
    lives: Vec<Option<Life>>,
    is_settled: bool,
}

impl PartImage {
    /// Mounts the file of a partition; `None` where no segment of it was ever opened, or all of them were freed.
    ///
    /// Bounds: one mount at rest, two where a writer wrote and there are long values. Up to ten while it frees segments. Memory for
    /// two indexes.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, ImageError> {
        Self::open_from(|| Source::open(path), BETWEEN_MOUNTS)
    }

    /// Mounts one source after the other.
    fn open_from(
        mut source: impl FnMut() -> Result<Source, FileError>,
        pause: Duration,
    ) -> Result<Option<Self>, ImageError> {
        let mut announced = Vec::new();
        let mut earlier = None;
        let (mut mounts, mut failed) = (0, 0);
        loop {
            mounts += 1;
            match source().map_err(ImageError::from).and_then(Self::mount) {
                Ok(None) => return Ok(None),
                Ok(Some(mut part)) => {
                    failed = 0;
                    let needs_proof = !part.is_settled && part.has_pieces();
                    let freeing = part.freeing();
                    let is_known = freeing.iter().all(|segment| announced.contains(segment));
                    part.is_settled |= is_known && !part.was_freed();
                    let is_enough = part.is_settled && (!needs_proof || earlier.is_some());
                    if is_enough || mounts >= MOUNTS_MAX {
                        part.image.proof = match earlier {
                            _ if !needs_proof => PieceProof::AtRest,
                            Some(index) if part.is_settled => PieceProof::Earlier(index),
                            _ => PieceProof::Lacking,
                        };
                        return Ok(Some(part));
                    }
                    announced = freeing;
                    earlier = needs_proof.then_some(part.image.index);
                    if part.is_settled {
                        // Only the second look is lacking, and a pause would give time for overwrites.
                        continue;
                    }
                }
                Err(error) => {
                    failed += 1;
                    if failed == FAILED_MOUNTS_MAX {
                        return Err(error);
                    }
                }
            }
            std::thread::sleep(pause);
        }
    }

    /// Mounts a source; it counts as settled where nobody wrote to it meanwhile.
    fn mount(source: Source) -> Result<Option<Self>, ImageError> {
        let Some((geometry, header)) = probe::part(&source)? else { return Ok(None) };
        if geometry.format() != Format::Two {
            return Err(ImageError::Version(geometry.format().number()));
        }
        let modified = source.modified();
        let is_old = is_old(modified);
        let lives = (0..geometry.segment_count()).map(|segment| life(&source, &geometry, segment)).collect();
        let image = Image::mount_as(source, geometry, &header)?;
        let is_settled = is_old && image.source.modified() == modified;
        Ok(Some(Self { image, lives, is_settled }))
    }

    pub(crate) const fn image(&self) -> &Image {
        &self.image
    }

    /// Whether the image shows the log as it was at one time, so far as a single key goes.
    pub(crate) const fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Reads a segment record by record; `None` where it was freed, or opened, since the mount began. Its live records have another
    /// place then.
    pub(crate) fn examine(&self, segment: u32) -> Result<Option<Contents>, ImageError> {
        let mut contents = self.image.examine(segment)?;
        if contents.damage.iter().any(|damage| !matches!(damage, Damage::Header | Damage::Footer)) {
            // A record or a footer may have been written at this moment.
            std::thread::sleep(BETWEEN_MOUNTS);
            contents = self.image.examine(segment)?;
        }
        Ok((!self.has_changed(segment)).then_some(contents))
    }

    /// Whether a segment is not the one that was mounted.
    pub(crate) fn has_changed(&self, segment: u32) -> bool {
        let now = life(&self.image.source, &self.image.geometry, segment);
        self.lives.get(segment as usize) != Some(&now)
    }

    /// The keys with a value in a segment.
    pub(crate) fn keys_in(&self, segment: u32) -> Vec<KeyHash> {
        self.image.index.keys_in(segment)
    }

    fn has_pieces(&self) -> bool {
        self.image.records() > self.image.len() as u64
    }

    /// Whether a segment that held records was freed during the mount.
    fn was_freed(&self) -> bool {
        let held = |life: &Option<Life>| {
            life.is_some_and(|bytes| bytes.iter().skip(MARKER_BYTES as usize).any(|byte| *byte != 0))
        };
        let segments = (0..).zip(&self.lives);
        segments.filter(|(_, life)| held(life)).any(|(segment, _)| self.has_changed(segment))
    }

    /// The segments that are about to be erased.
    fn freeing(&self) -> Vec<(u32, Sequence)> {
        let segments = (0..).zip(self.image.segments());
        let freeing = segments.filter(|(_, segment)| segment.state() == SegmentState::Freeing);
        freeing.map(|(at, segment)| (at, segment.sequence)).collect()
    }
}

/// Whether a time is so long ago that a write now gets a later one.
fn is_old(modified: Option<SystemTime>) -> bool {
    modified.and_then(|at| at.elapsed().ok()).is_some_and(|since| since > TICK_MAX)
}

/// The beginning of a segment; `None` where it can't be read.
fn life(source: &Source, geometry: &Geometry, segment: u32) -> Option<Life> {
    let mut bytes = [0; LIFE_BYTES];
    let at = u64::from(segment) * u64::from(geometry.segment_bytes());
    source.read(at, &mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests;
