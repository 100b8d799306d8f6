//! The bound of the work of one step of the machine (I-GC-3), measured in every simulated run, at every poll and completion.
//!
//! The index counts the calls to it; the driver counts bytes moved, read and written, and erases. The limits are those that the
//! engines of the machine state, taken from the memory that it was lent; each is asserted after the call it bounds.

use std::collections::BTreeMap;

use coldpress_core::config::TierConfig;
use coldpress_core::drive::{Action, Poll};
use coldpress_core::machine::Tier;
use coldpress_core::segments::SegmentState;
use coldpress_core::writer::{Counters, Memory};

/// Records or footer entries of a mount, of a segment that is freed, of expiry: in one poll.
pub const ENTRIES_MAX: u32 = 256;
/// Entries that eviction looks at in one poll.
pub const LOOKS_MAX: u32 = 64;
/// Records that a rebuild, or a second look at a segment, has the index look at in one poll: a device reads the medium for each.
pub(super) const RECONCILED_MAX: u32 = 1;
/// Values that are measured in one poll.
pub const SAMPLES_MAX: u32 = 1;

/// The calls of the machine to its index, during one call of the driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Records that a mount found.
    pub recovered: u32,
    /// Tombstones released after a mount.
    pub settled: u32,
    /// Copies counted down.
    pub gone: u32,
    /// Expired records dropped, or asked for.
    pub due: u32,
    /// Records that might be evicted.
    pub evictable: u32,
    /// Records that a rebuild or a second look has the index look at.
    pub reconciled: u32,
    /// Their bytes.
    pub reconciled_bytes: u64,
    /// Values measured.
    pub sampled: u32,
    /// Records published or handed back.
    pub published: u32,
    /// By segment, the first and last offset that was looked at for relocation.
    pub walked: BTreeMap<u32, (u32, u32)>,
}

impl Asked {
    /// Notes that the record at an offset may be relocated.
    pub(super) fn walk(&mut self, segment: u32, offset: u32) {
        let (first, last) = self.walked.entry(segment).or_insert((offset, offset));
        (*first, *last) = (offset.min(*first), offset.max(*last));
    }
}

/// The most work that any step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Largest {
    /// Bytes of a victim between the first and the last record that one poll looked at.
    pub walked_bytes: u32,
    /// Bytes copied in one poll.
    pub relocated_bytes: u64,
    /// Records found, counted down or dropped in one poll.
    pub entries: u32,
    /// Bytes of one read.
    pub read_bytes: u32,
    /// Bytes of one write.
    pub written_bytes: u32,
    /// Records published in one completion.
    pub published: u32,
}

/// The limits of one machine, and the most that was seen.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    step_bytes: u32,
    record_bytes_max: u32,
    origin_bytes: u64,
    read_max: usize,
    scan_max: u64,
    write_max: usize,
    placed_max: usize,
    before: (u64, u64, u64),
    /// The most so far.
    pub largest: Largest,
}

fn moved(counters: &Counters) -> (u64, u64, u64) {
    (counters.relocated_bytes, counters.relocated_records, counters.bytes_written)
}

impl Budget {
    /// The limits that follow from a configuration and the memory lent with it.
    pub(super) fn new(config: &TierConfig, memory: &Memory<'_>) -> Self {
        let g = &config.geometry;
        let frame = (g.records_at() + 2 * g.padded(g.header_bytes())) as usize;
        let slot = memory.records.len().max(memory.footers.len()) / memory.slots.len();
        Self {
            step_bytes: config.step_bytes,
            record_bytes_max: config.record_bytes_max,
            origin_bytes: u64::from(g.padded(g.origin_bytes())),
            read_max: memory.copy.len().max(memory.scan.len()),
            // The padding of the last record need not be in it.
            scan_max: memory.scan.len().next_multiple_of(g.write_unit() as usize) as u64,
            write_max: slot.max(frame),
            placed_max: memory.placed.len(),
            before: (0, 0, 0),
            largest: Largest::default(),
        }
    }

    /// Begins a call into the machine.
    pub(super) fn begin(&mut self, tier: &Tier<'_>) {
        self.before = moved(&tier.counters());
    }

    /// Checks the work of a poll.
    ///
    /// # Panics
    /// Where it did more than one step may.
    pub(super) fn check_poll(&mut self, tier: &Tier<'_>, asked: &Asked, poll: &Poll) {
        let after = moved(&tier.counters());
        let (bytes, records) = (after.0 - self.before.0, after.1 - self.before.1);
        let copied_max = u64::from(self.step_bytes + self.record_bytes_max) + records * self.origin_bytes;
        assert!(bytes <= copied_max, "I-GC-3: {bytes} bytes copied in one poll, {copied_max} may be");
        for (segment, (first, last)) in &asked.walked {
            if tier.segments()[*segment as usize].state() == SegmentState::Victim {
                let walked = last - first;
                assert!(walked < self.step_bytes, "I-GC-3: {walked} bytes of a victim looked at in one poll");
                self.largest.walked_bytes = self.largest.walked_bytes.max(walked);
            }
        }
        let entries = [asked.recovered, asked.settled, asked.gone, asked.due].into_iter().max().unwrap_or(0);
        assert!(entries <= ENTRIES_MAX, "I-GC-3: {asked:?} in one poll");
        assert!(asked.evictable <= LOOKS_MAX, "I-GC-3: {asked:?} in one poll");
        assert!(asked.reconciled <= RECONCILED_MAX, "I-GC-3: {asked:?} in one poll");
        assert!(asked.reconciled_bytes <= self.scan_max, "I-GC-3: {asked:?}: more than a buffer holds");
        assert!(asked.sampled <= SAMPLES_MAX, "I-GC-3: {asked:?} in one poll");
        assert_eq!(asked.published, 0, "I-GC-3: only a completion publishes");
        self.largest.relocated_bytes = self.largest.relocated_bytes.max(bytes);
        self.largest.entries = self.largest.entries.max(entries);
        let written = match *poll {
            Poll::Do(action) => self.check_action(action),
            Poll::Again | Poll::Idle => 0,
        };
        let counted = after.2 - self.before.2;
        assert!(
            counted <= u64::from(written),
            "I-GC-3: {counted} bytes counted as written in a poll that asks for {written}"
        );
    }

    /// Returns the bytes that an action writes.
    fn check_action(&mut self, action: Action) -> u32 {
        match action {
            Action::Read { bytes, .. } => {
                assert!(bytes as usize <= self.read_max, "I-GC-3: a read of {bytes} bytes");
                self.largest.read_bytes = self.largest.read_bytes.max(bytes);
                0
            }
            Action::Write { bytes, .. } => {
                assert!(bytes as usize <= self.write_max, "I-GC-3: a write of {bytes} bytes");
                self.largest.written_bytes = self.largest.written_bytes.max(bytes);
                bytes
            }
            _ => 0,
        }
    }

    /// Checks the work of a completion.
    ///
    /// # Panics
    /// Where that did more than one step may.
    pub(super) fn check_completion(&mut self, tier: &Tier<'_>, asked: &Asked) {
        assert!(asked.published as usize <= self.placed_max, "I-GC-3: {asked:?} in one completion");
        let only = Asked { published: asked.published, ..Asked::default() };
        assert_eq!(*asked, only, "I-GC-3: a completion publishes, and does nothing else");
        assert_eq!(moved(&tier.counters()).0, self.before.0, "I-GC-3: a completion copies nothing");
        self.largest.published = self.largest.published.max(asked.published);
    }
}
