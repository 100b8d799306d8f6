//! The memory lent to a machine, on the worker's stack.

use coldpress_core::compaction::TaskMemory;
use coldpress_core::segments::Segment;
use coldpress_core::writer::{Memory, Pending, SlotMemory, SlotNotes};

use crate::config::ColdTierConfig;

/// Bytes collected before an open segment is written, where the longest record takes less.
const WRITE_BYTES: usize = 256 << 10;
/// The most records of one write. Their places are initialized when a tier is opened, and take memory whether they are used or
/// not. The other buffers are zeroes, of which the system makes pages only when they are written.
const RECORDS_MAX: usize = 1024;

/// One slot's memory.
struct Slot {
    records: Vec<u8>,
    footer: Vec<u8>,
    placed: Vec<Pending>,
    notes: SlotNotes,
}

/// Everything a machine needs.
pub(super) struct Buffers {
    segments: Vec<Segment>,
    slots: Vec<Slot>,
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
        let slot = |_| Slot {
            records: vec![0; write],
            // Two thirds of a segment: enough for records of one byte upwards. Memory that is never written to is never taken.
            footer: vec![0; segment / 3 * 2],
            placed: vec![Pending::default(); RECORDS_MAX.min(segment / 24).max(16)],
            notes: SlotNotes::new(),
        };
        Self {
            segments: vec![Segment::default(); config.segment_count() as usize],
            // One for each stream, and one to fill while a full one waits for its sync.
            slots: (0..=config.streams()).map(slot).collect(),
            copy: vec![0; write],
            scan: vec![0; write],
            recode: vec![0; record],
            tasks: TaskMemory::new(),
        }
    }

    /// Lends it all; `None` if there are more slots than a machine takes.
    pub(super) fn lend(&mut self) -> Option<(Memory<'_>, &mut TaskMemory)> {
        let mut slots = heapless::Vec::new();
        for slot in &mut self.slots {
            let memory = SlotMemory {
                records: &mut slot.records,
                footer: &mut slot.footer,
                placed: &mut slot.placed,
                notes: &mut slot.notes,
            };
            slots.push(memory).ok()?;
        }
        let memory = Memory {
            segments: &mut self.segments,
            slots,
            copy: &mut self.copy,
            scan: &mut self.scan,
            recode: &mut self.recode,
        };
        Some((memory, &mut self.tasks))
    }
}
