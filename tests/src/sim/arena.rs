//! The memory that a machine is lent, kept between mounts.

use coldpress_core::compaction::TaskMemory;
use coldpress_core::config::TierConfig;
use coldpress_core::segments::Segment;
use coldpress_core::writer::{Memory, Pending, SlotNotes};

/// The memory of one machine, and of its tasks.
pub type LentMemory<'m> = (Memory<'m>, Option<&'m mut TaskMemory>);

/// The memory that a machine is lent beyond the least.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Bytes of a slot's record buffer; raised to the longest record.
    pub records: usize,
    /// Bytes of a slot's footer buffer; 0 for segments without footers.
    pub footer: usize,
    /// Records that a slot holds unpublished.
    pub placed: usize,
    /// Slots beyond the streams.
    pub spare_slots: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { records: 0, footer: 512, placed: 6, spare_slots: 1 }
    }
}

/// The memory.
#[derive(Debug)]
pub struct Arena {
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

impl Arena {
    /// Allocates for a configuration.
    #[must_use]
    pub fn new(config: &TierConfig, sizes: Sizes) -> Self {
        let record = config.record_bytes_max as usize;
        let slots = config.streams.count() as usize + sizes.spare_slots;
        Self {
            segments: vec![Segment::default(); config.geometry.segment_count() as usize],
            slots: (0..slots).map(|_| SlotNotes::new()).collect(),
            records: vec![0; slots * record.max(sizes.records)],
            footers: vec![0; slots * sizes.footer],
            placed: vec![Pending::default(); slots * sizes.placed],
            copy: vec![0; record],
            scan: vec![0; record],
            recode: vec![0; record],
            tasks: TaskMemory::new(),
        }
    }

    /// Lends it to one machine, emptied.
    #[must_use]
    pub fn lend(&mut self) -> LentMemory<'_> {
        self.segments.fill(Segment::default());
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
        (memory, Some(&mut self.tasks))
    }
}
