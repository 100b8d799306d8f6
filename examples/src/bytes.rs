//! A machine in memory: the memory that it is lent, and a medium of bytes.

use coldpress_core::compaction::TaskMemory;
use coldpress_core::config::TierConfig;
use coldpress_core::drive::{Medium, MediumError, Started};
use coldpress_core::format::Geometry;
use coldpress_core::segments::Segment;
use coldpress_core::writer::{Memory, Pending, SlotMemory, SlotNotes};

/// The memory of one open segment: records, footer, records to publish, and notes.
type OpenSegment = (Vec<u8>, Vec<u8>, Vec<Pending>, SlotNotes);

/// The memory that a machine is lent.
pub struct Buffers {
    segments: Vec<Segment>,
    slots: Vec<OpenSegment>,
    /// For copying, scanning and encoding again.
    buffers: [Vec<u8>; 3],
    tasks: TaskMemory,
}

impl Buffers {
    /// Makes the memory for a configuration.
    #[must_use]
    pub fn new(config: &TierConfig) -> Self {
        let (record, segment) = (config.record_bytes_max as usize, config.geometry.segment_bytes() as usize);
        let slot = |_| (vec![0; record], vec![0; segment], vec![Pending::new(); 256], SlotNotes::new());
        let segments = vec![Segment::default(); config.geometry.segment_count() as usize];
        let buffers = [record; 3].map(|bytes| vec![0; bytes.max(64)]);
        let slots = (0..=config.streams.count()).map(slot).collect();
        Self { segments, slots, buffers, tasks: TaskMemory::new() }
    }

    /// Lends it.
    pub fn lend(&mut self) -> (Memory<'_>, Option<&mut TaskMemory>) {
        let slots = self.slots.iter_mut();
        let slots =
            slots.map(|(records, footer, placed, notes)| SlotMemory { records, footer, placed, notes });
        let [copy, scan, recode] = &mut self.buffers;
        let memory = Memory { segments: &mut self.segments, slots: slots.collect(), copy, scan, recode };
        (memory, Some(&mut self.tasks))
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
