//! Which engine a completion belongs to, and the buffers that reads fill.

use crate::cleanup::Ticket;
use crate::config::SLOTS_MAX;
use crate::drive::MediumError;
use crate::format::{Hidden, SegmentIndex};
use crate::invariant::{Invariant, Watch};

/// Which engine a ticket belongs to: its index. Slots come first, in their order.
pub(crate) const LANE_OPENING: u16 = 8;
pub(crate) const LANE_COPY: u16 = LANE_OPENING + 1;
pub(crate) const LANE_SCAN: u16 = LANE_OPENING + 2;
pub(crate) const LANE_SYNC: u16 = LANE_OPENING + 3;
pub(crate) const LANE_ERASE: u16 = LANE_OPENING + 4;
pub(crate) const LANE_BLOCKS: u16 = LANE_OPENING + 5;

const _: () = assert!(LANE_OPENING as usize == SLOTS_MAX, "each slot has a ticket index of its own");

/// How many times a mount or a second look tries a read before it takes the bytes for unreadable. A single failure may pass,
/// and says nothing of the bytes.
///
/// The tries follow each other at once. How long one try waits for the medium is up to the adapter.
pub const READ_TRIES: u32 = 4;

/// An engine that may hold the scan buffer for more than one poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lessee {
    /// Eviction, which goes through the entries of a footer.
    Eviction,
    /// Reclaiming, which counts copies down.
    Reclaiming,
    /// The second look at a segment that could not be read.
    Restoring,
    /// A sample of values.
    Sampling,
    /// The check of every record.
    Verifying,
    /// Taking a relocation back.
    Undoing,
}

/// A buffer that reads go to, one at a time.
#[derive(Debug)]
pub(crate) struct ReadBuffer<'m> {
    buffer: Hidden<&'m mut [u8]>,
    ticket: Option<Ticket>,
    /// The range asked for, for the adapter's slice.
    bytes: u32,
    /// Where the range lies: segment and offset.
    at: (SegmentIndex, u32),
    /// How often the range was asked for.
    tries: u32,
    result: Option<Result<(), MediumError>>,
    /// The engine that uses the buffer until it gives it back.
    lessee: Option<Lessee>,
    watch: Watch,
}

impl<'m> ReadBuffer<'m> {
    pub(super) const fn new(buffer: &'m mut [u8]) -> Self {
        let buffer = Hidden(buffer);
        Self {
            buffer,
            ticket: None,
            bytes: 0,
            at: (SegmentIndex::FIRST, 0),
            tries: 0,
            result: None,
            lessee: None,
            watch: Watch::new(),
        }
    }

    pub(crate) const fn is_leased(&self) -> bool {
        self.lessee.is_some()
    }

    /// An engine takes the buffer for more than one poll. No other may hold it.
    pub(crate) fn lease(&mut self, lessee: Lessee) {
        self.hand_over(None, Some(lessee));
    }

    /// The engine that holds the buffer needs it no more.
    pub(crate) fn give_back(&mut self, lessee: Lessee) {
        self.hand_over(Some(lessee), None);
    }

    /// One engine at a time has the buffer, and only that one gives it back (I-BUF-1).
    fn hand_over(&mut self, from: Option<Lessee>, to: Option<Lessee>) {
        self.watch.hold(Invariant::ReadBuffer, self.lessee == from);
        self.lessee = to;
    }

    /// Whether a read is under way.
    pub(crate) const fn is_reading(&self) -> bool {
        self.ticket.is_some()
    }

    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.ticket == Some(ticket)
    }

    /// The bytes that fit.
    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.buffer.0.len()).unwrap_or(u32::MAX)
    }

    /// The bytes of the last read.
    pub(crate) const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Holds no bytes from now on.
    pub(crate) const fn clear(&mut self) {
        self.bytes = 0;
    }

    pub(crate) fn lent(&mut self, ticket: Ticket) -> Option<&mut [u8]> {
        if self.ticket != Some(ticket) {
            return None;
        }
        let lent = self.buffer.0.get_mut(..self.bytes as usize);
        self.watch.hold(Invariant::ReadBuffer, lent.is_some());
        lent
    }

    /// The bytes of the last read.
    pub(crate) fn filled(&self) -> &[u8] {
        self.watch.must_have(Invariant::ReadBuffer, self.buffer.0.get(..self.bytes as usize))
    }

    pub(crate) const fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The memory leaves while its records are looked at, so that they can be appended to the log. It is put back in the same poll.
    pub(crate) fn take_memory(&mut self) -> &'m mut [u8] {
        core::mem::take(&mut self.buffer.0)
    }

    pub(crate) fn put_memory(&mut self, memory: &'m mut [u8]) {
        self.buffer.0 = memory;
    }

    pub(super) fn begin(
        &mut self,
        ticket: Ticket,
        (segment, offset): (SegmentIndex, u32),
        bytes: u32,
    ) -> u32 {
        self.ticket = Some(ticket);
        self.bytes = bytes.min(self.capacity());
        self.at = (segment, offset);
        self.tries = 1;
        self.result = None;
        self.bytes
    }

    /// The read that failed, where it was not tried [`READ_TRIES`] times: place, bytes, and how often it was.
    pub(super) const fn to_try_again(&self) -> Option<((SegmentIndex, u32), u32, u32)> {
        match self.result {
            Some(Err(_)) if self.tries < READ_TRIES => Some((self.at, self.bytes, self.tries)),
            _ => None,
        }
    }

    pub(super) const fn set_tries(&mut self, tries: u32) {
        self.tries = tries;
    }

    pub(crate) const fn done(&mut self, result: Result<(), MediumError>) {
        self.ticket = None;
        self.result = Some(result);
    }

    pub(crate) const fn result(&self) -> Option<Result<(), MediumError>> {
        self.result
    }

    pub(crate) const fn take_result(&mut self) -> Option<Result<(), MediumError>> {
        self.result.take()
    }

    pub(crate) const fn forget_result(&mut self) {
        self.result = None;
    }
}
