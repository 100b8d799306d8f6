//! The machine over an image: its memory, and the targets that carry out its actions.

use coldpress_core::compaction::TaskMemory;
use coldpress_core::config::{ConfigError, Reserve, Streams, TierConfig};
use coldpress_core::drive::{Medium, MediumError, Now, Started};
use coldpress_core::format::{ENTRY_BYTES_MAX, Geometry, Identity, Store, TRAILER_BYTES};
use coldpress_core::machine::{Driven, Driver, Status, Tier};
use coldpress_core::recovery::MountError;
use coldpress_core::segments::Segment;
use coldpress_core::writer::{Memory, Pending, SlotNotes};

use super::index::ImageIndex;
use crate::storage::MediumFailure;

/// Records that an open segment holds unpublished.
const PLACED: usize = 1024;
/// Bytes of an open segment that are written at a time, or one record.
const BATCH_BYTES: usize = 64 << 10;

/// The configuration for a shape. A machine that `only_reads` takes any record that a segment can hold.
pub(super) fn config(geometry: Geometry, store: Store, only_reads: bool) -> TierConfig {
    // Footers name keys by their hash, which says nothing where keys are stored as they are.
    let has_footers = geometry.identity() == Identity::KeyedHash;
    // A device with few segments keeps one of them free, with one stream.
    let reserve = if has_footers { Reserve::Several } else { Reserve::of_device(geometry.segment_count()) };
    let (streams, watermark) = match reserve {
        Reserve::Several => (Streams::Two, 1),
        Reserve::One => (Streams::One, 0),
    };
    let config = TierConfig {
        streams,
        reserve,
        has_footers,
        low_watermark_segments: watermark,
        high_watermark_segments: watermark,
        ..TierConfig::new(geometry, store)
    };
    if only_reads {
        let record_bytes_max = geometry.usable_bytes().saturating_sub(ENTRY_BYTES_MAX + TRAILER_BYTES);
        return TierConfig { record_bytes_max, ..config };
    }
    config
}

/// Everything a machine needs.
pub(super) struct Buffers {
    segments: Vec<Segment>,
    slots: Vec<SlotNotes>,
    records: Vec<u8>,
    footers: Vec<u8>,
    placed: Vec<Pending>,
    copy: Vec<u8>,
    scan: Vec<u8>,
    recode: Vec<u8>,
    tasks: TaskMemory,
}

impl Buffers {
    /// Memory for a configuration, with footers of up to so many bytes.
    pub(super) fn new(config: &TierConfig, footer_bytes: usize) -> Self {
        let footer_bytes = if config.has_footers { footer_bytes } else { 0 };
        let record = config.record_bytes_max as usize;
        // The ends of segments are read into it too.
        let scan = record.max(config.geometry.padded(config.geometry.header_bytes()) as usize);
        let batch = BATCH_BYTES.min(config.geometry.segment_bytes() as usize);
        let slots = config.streams.count() as usize + 1;
        Self {
            segments: vec![Segment::default(); config.geometry.segment_count() as usize],
            slots: (0..slots).map(|_| SlotNotes::new()).collect(),
            records: vec![0; slots * record.max(batch)],
            footers: vec![0; slots * footer_bytes],
            placed: vec![Pending::default(); slots * PLACED],
            copy: vec![0; record],
            scan: vec![0; scan],
            recode: vec![0; record],
            tasks: TaskMemory::new(),
        }
    }

    fn lend(&mut self) -> (Memory<'_>, &mut TaskMemory) {
        let memory = Memory {
            segments: &mut self.segments,
            slots: &mut self.slots,
            records: &mut self.records,
            footers: &mut self.footers,
            placed: &mut self.placed,
            copy: &mut self.copy,
            scan: &mut self.scan,
            recode: &mut self.recode,
        };
        (memory, &mut self.tasks)
    }
}

/// A machine and its index.
#[derive(Debug)]
pub(super) struct Machine<'m> {
    pub(super) tier: Tier<'m>,
    pub(super) index: ImageIndex,
    /// The first write or erase that failed.
    pub(super) failed: Option<MediumFailure>,
    /// The last read that failed.
    unread: Option<MediumFailure>,
    driver: Driver,
    now: Now,
}

impl<'m> Machine<'m> {
    pub(super) fn new(
        config: TierConfig,
        buffers: &'m mut Buffers,
        time_s: u32,
    ) -> Result<Self, ConfigError> {
        let (memory, tasks) = buffers.lend();
        let tier = Tier::new(config, memory, Some(tasks))?;
        let now = Now { monotonic_ms: 0, wall_s: time_s };
        let index = ImageIndex::new(config.geometry.identity());
        Ok(Self { tier, index, failed: None, unread: None, driver: Driver::new(), now })
    }

    /// The time, which stands still: an image carries the one that it was given, however many steps it takes to make it.
    pub(super) const fn now(&self) -> Now {
        self.now
    }

    /// Mounts the log on a medium. The error holds the failure of the medium that led to it.
    pub(super) fn mount(
        &mut self,
        medium: &mut impl Medium<Error: Into<MediumFailure>>,
    ) -> Result<(), MountFailure> {
        while self.tier.status() == Status::Mounting {
            self.step(medium);
        }
        match self.tier.status() {
            Status::Failed(MountError::Medium(kind)) => {
                let failures = [self.failed.take(), self.unread.take()];
                let failure = failures.into_iter().flatten().find(|failure| failure.kind() == kind);
                Err(MountFailure::Medium(failure.unwrap_or_else(|| kind.into())))
            }
            Status::Failed(error) => Err(MountFailure::Log(error)),
            _ => Ok(()),
        }
    }

    /// Takes one step; tells whether there was anything to do. No task runs, so the pools are never asked.
    pub(super) fn step(&mut self, medium: &mut impl Medium<Error: Into<MediumFailure>>) -> bool {
        let mut watched = Watched { medium, failed: &mut self.failed, unread: &mut self.unread };
        self.driver.drive(&mut self.tier, self.now, &mut self.index, &mut watched, 1) != Driven::Idle
    }
}

/// Why a mount came to nothing.
#[derive(Debug)]
pub(super) enum MountFailure {
    Medium(MediumFailure),
    Log(MountError),
}

/// A medium, and what of it failed.
struct Watched<'a, M> {
    medium: &'a mut M,
    failed: &'a mut Option<MediumFailure>,
    unread: &'a mut Option<MediumFailure>,
}

impl<M> Watched<'_, M> {
    /// Keeps the first failure of a change.
    fn changed<R, E: Into<MediumFailure>>(&mut self, result: Result<R, E>) -> Result<R, MediumError> {
        result.map_err(|failure| {
            let failure = failure.into();
            let kind = failure.kind();
            self.failed.get_or_insert(failure);
            kind
        })
    }
}

impl<M: Medium<Error: Into<MediumFailure>>> Medium for Watched<'_, M> {
    type Error = MediumError;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        let read = self.medium.read(at, bytes);
        read.map_err(|failure| self.unread.insert(failure.into()).kind())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        let written = self.medium.write(at, bytes);
        self.changed(written)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        let erased = self.medium.erase(at, bytes);
        self.changed(erased)
    }

    /// The owner of an image makes it durable.
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }

    fn is_done(&mut self) -> Option<Result<(), MediumError>> {
        let ended = self.medium.is_done()?;
        Some(self.changed(ended))
    }
}
