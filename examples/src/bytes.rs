//! A machine in memory: the memory that it is lent, and a medium of bytes.

use coldpress_core::compaction::TaskMemory;
use coldpress_core::config::TierConfig;
use coldpress_core::drive::{Medium, MediumError, Started};
use coldpress_core::format::Geometry;
use coldpress_core::segments::Segment;
use coldpress_core::writer::{Memory, Pending, SlotNotes};

/// The memory that a machine is lent.
pub struct Buffers {
    segments: Vec<Segment>,
    /// One note for each open segment, and records of all of them to publish.
    slots: Vec<SlotNotes>,
    placed: Vec<Pending>,
    /// Records and footers of open segments.
    open: [Vec<u8>; 2],
    /// For copying, scanning and encoding again.
    buffers: [Vec<u8>; 3],
    tasks: TaskMemory,
}

impl Buffers {
    /// Makes the memory for a configuration.
    #[must_use]
    pub fn new(config: &TierConfig) -> Self {
        let (record, segment) = (config.record_bytes_max as usize, config.geometry.segment_bytes() as usize);
        let slots = config.streams.count() as usize + 1;
        let segments = vec![Segment::default(); config.geometry.segment_count() as usize];
        let buffers = [record; 3].map(|bytes| vec![0; bytes.max(64)]);
        let open = [record, segment].map(|bytes| vec![0; slots * bytes]);
        let placed = vec![Pending::new(); slots * 256];
        let slots = (0..slots).map(|_| SlotNotes::new()).collect();
        Self { segments, slots, placed, open, buffers, tasks: TaskMemory::new() }
    }

    /// Lends it.
    pub fn lend(&mut self) -> (Memory<'_>, Option<&mut TaskMemory>) {
        let Self { segments, slots, placed, open: [records, footers], buffers: [copy, scan, recode], tasks } =
            self;
        let memory = Memory { segments, slots, records, footers, placed, copy, scan, recode };
        (memory, Some(tasks))
    }
}

/// A medium of bytes.
pub struct Bytes {
    /// Its bytes.
    pub bytes: Vec<u8>,
    erase_value: u8,
}

impl Bytes {
    /// Blank bytes of a shape that fits into memory.
    #[must_use]
    pub fn blank(geometry: &Geometry) -> Self {
        let (len, erase_value) = (geometry.medium_bytes(), geometry.erase_value());
        Self { bytes: vec![erase_value; usize::try_from(len).unwrap_or(usize::MAX)], erase_value }
    }

    /// The bytes of a range.
    ///
    /// # Errors
    /// [`MediumError::Io`] where there are none.
    pub fn range(&mut self, at: u64, len: usize) -> Result<&mut [u8], MediumError> {
        let at = usize::try_from(at).map_err(|_| MediumError::Io)?;
        self.bytes.get_mut(at..at.saturating_add(len)).ok_or(MediumError::Io)
    }
}

impl Medium for Bytes {
    type Error = MediumError;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        bytes.copy_from_slice(self.range(at, bytes.len())?);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.range(at, bytes.len())?.copy_from_slice(bytes);
        Ok(Started::Done)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        let (len, blank) = (usize::try_from(bytes).map_err(|_| MediumError::Io)?, self.erase_value);
        self.range(at, len)?.fill(blank);
        Ok(Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}
