//! The memory lent to a machine, on the worker's stack.

use coldpress_core::compaction::TaskMemory;
use coldpress_core::segments::Segment;
use coldpress_core::writer::{Memory, Pending, SlotNotes};

use crate::config::ColdTierConfig;

/// Bytes collected before an open segment is written, where the longest record takes less.
const WRITE_BYTES: usize = 256 << 10;
/// The most records of one write. Their places are initialized when a tier is opened, and take memory whether they are used or
/// not. The other buffers are zeroes, of which the system makes pages only when they are written.
const RECORDS_MAX: usize = 1024;

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
    /// Memory for records of up to so many bytes.
    pub(super) fn new(config: &ColdTierConfig, record_bytes_max: u32) -> Self {
        let record = record_bytes_max as usize;
        let segment = config.segment_bytes() as usize;
        let write = record.max(WRITE_BYTES.min(segment));
        // One for each stream, and one to fill while a full one waits for its sync.
        let slots = config.streams() as usize + 1;
        Self {
            segments: vec![Segment::default(); config.segment_count() as usize],
            slots: (0..slots).map(|_| SlotNotes::new()).collect(),
            records: vec![0; slots * write],
            // Two thirds of a segment: enough for records of one byte upwards. Memory that is never written to is never taken.
            footers: vec![0; slots * (segment / 3 * 2)],
            placed: vec![Pending::default(); slots * RECORDS_MAX.min(segment / 24).max(16)],
            copy: vec![0; write],
            scan: vec![0; write],
            recode: vec![0; record],
            tasks: TaskMemory::new(),
        }
    }

    /// Lends it all.
    pub(super) fn lend(&mut self) -> (Memory<'_>, &mut TaskMemory) {
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
