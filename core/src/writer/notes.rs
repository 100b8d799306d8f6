//! Notes of a slot beside its buffers: its state, where its records go, and the write under way.

use crate::cleanup::Ticket;
use crate::config::Stream;
use crate::format::{FooterWriter, SegmentIndex, Sequence};
use crate::segments::SyncPoint;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    Empty,
    Filling,
    Full,
    Syncing { sync_point: SyncPoint },
    Footing { bytes: u32 },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Writing {
    pub(super) ticket: Ticket,
    /// Offset in the segment up to which this write goes.
    pub(super) to: u32,
    /// Records that it completes.
    pub(super) records: usize,
    /// The position of the last append before it.
    pub(super) position: u64,
}

/// The machine's notes of an open segment; usable in a `static`, where they take no space in the image.
#[derive(Debug)]
pub struct SlotNotes {
    pub(super) state: SlotState,
    pub(super) segment: SegmentIndex,
    pub(super) sequence: Sequence,
    pub(super) stream: Stream,
    /// Whether it was the last free segment: see [`is_rescuing`](super::log::Log::is_rescuing).
    pub(super) is_rescue: bool,
    /// Offset in the segment of the first byte in the buffer.
    pub(super) base: u32,
    /// Where the next record goes.
    pub(super) head: u32,
    pub(super) footer: FooterWriter,
    /// How many records wait for publication.
    pub(super) placed: usize,
    pub(super) writing: Option<Writing>,
    pub(super) first_unwritten: Option<u64>,
    pub(super) wants_write: bool,
}

impl SlotNotes {
    /// Notes of no segment.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: SlotState::Empty,
            segment: SegmentIndex::FIRST,
            sequence: Sequence::NONE,
            stream: Stream::Hot,
            is_rescue: false,
            base: 0,
            head: 0,
            footer: FooterWriter::new(),
            placed: 0,
            writing: None,
            first_unwritten: None,
            wants_write: false,
        }
    }

    /// Whether its buffer has bytes that are not written. Members of a batch wait for publication when they are.
    pub(super) const fn has_unwritten(&self) -> bool {
        self.placed > 0 && self.head > self.base
    }

    /// Whether all that was placed is on the medium.
    pub(super) const fn is_all_written(&self) -> bool {
        self.writing.is_none() && self.head == self.base
    }
}

impl Default for SlotNotes {
    fn default() -> Self {
        Self::new()
    }
}
