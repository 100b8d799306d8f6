//! The two ends of a segment: their contents, and how they are read where parts of them can't be read.
//!
//! ```text
//!  Whole ─1─► Part 0 ─► Part 1 ─► Part 2 ─► Tail ─1─► Trailer ─► Copy ─► done
//!    └──────────────────2───────────────────►┘ └────────────2────────────►┘
//! ```
//! 1 an end can't be read as a whole, or is longer than the buffer: it is read part by part; 2 the whole was read. A read that
//! fails is repeated (see [`Log::read_again`]) before its bytes count as missing.

use core::ops::Range;

use crate::drive::{Action, MediumError};
use crate::format::{Geometry, Header, HeaderError, Marker, SegmentIndex};
use crate::writer::{LANE_SCAN, Log};

/// Bytes of the first record's place that are read, to find whether anything was appended.
const FIRST_RECORD_BYTES: u32 = 32;

/// The marker and header that the two ends of a segment hold.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Head {
    pub(crate) marker: Option<Marker>,
    pub(crate) header: Option<Header>,
    /// The number of segments that the header states.
    pub(crate) segments: u32,
    pub(crate) error: Option<HeaderError>,
    /// Whether all bytes up to the first record, and its first bytes, are blank.
    is_blank: bool,
    /// Whether no record begins where the first would, as far as that was read.
    has_no_record: bool,
    /// Whether each part of the ends is blank, whole, or could be a marker or header that a cut tore.
    could_be_torn: bool,
    /// Whether a part of the ends can't be read: a cut tore a unit, it is damaged, or the medium fails for a while.
    pub(crate) is_unreadable: bool,
    /// Whether the place of the first record can't be read.
    has_unreadable_record: bool,
    /// Whether the header's place was read and is blank.
    has_blank_header: bool,
    /// Whether the marker's place was read and is blank.
    has_blank_marker: bool,
    /// Whether the trailer's and the second header's place was read and is blank.
    tail_is_blank: bool,
}

/// The parts of a head: marker, header, first record.
fn head_ranges(g: &Geometry) -> [Range<u32>; 3] {
    let end = (g.records_at() + FIRST_RECORD_BYTES).min(g.segment_bytes());
    [0..g.header_at(), g.header_at()..g.records_at(), g.records_at()..end]
}

impl Head {
    const fn new() -> Self {
        Self {
            marker: None,
            header: None,
            segments: 0,
            error: None,
            is_blank: true,
            has_no_record: true,
            could_be_torn: true,
            is_unreadable: false,
            has_unreadable_record: false,
            has_blank_header: false,
            has_blank_marker: false,
            tail_is_blank: false,
        }
    }

    /// The head of a segment that is known to be blank.
    pub(crate) const fn blank() -> Self {
        Self { has_blank_header: true, has_blank_marker: true, tail_is_blank: true, ..Self::new() }
    }

    /// Takes in the bytes of a part, and maybe more behind them: a header of another kind of store is longer.
    fn look(&mut self, g: &Geometry, part: usize, from: &[u8]) {
        let blank_byte = g.erase_value();
        let len = head_ranges(g).get(part).map_or(0, |range| (range.end - range.start) as usize);
        let bytes = from.get(..len).unwrap_or(from);
        let is_blank = bytes.iter().all(|byte| *byte == blank_byte);
        match part {
            0 => {
                self.marker = Marker::decode(bytes);
                self.has_blank_marker = is_blank;
                self.is_blank &= is_blank || self.marker.is_some();
                self.could_be_torn &= Marker::could_be(bytes, blank_byte);
            }
            1 => {
                match Header::decode_any(g, from) {
                    Ok((header, segments)) => (self.header, self.segments) = (Some(header), segments),
                    Err(HeaderError::Invalid) => {}
                    Err(error) => self.error = Some(error),
                }
                self.has_blank_header = is_blank;
                self.is_blank &= is_blank;
                self.could_be_torn &= Header::could_be(bytes, blank_byte);
            }
            _ => {
                self.is_blank &= is_blank;
                self.has_no_record = is_blank;
            }
        }
    }

    /// Takes in the trailer's place.
    fn look_at_trailer(&mut self, g: &Geometry, bytes: &[u8]) {
        let is_blank = bytes.iter().all(|byte| *byte == g.erase_value());
        self.tail_is_blank = is_blank;
        self.could_be_torn &= is_blank;
    }

    /// Takes in the second copy of the header, after the trailer's place.
    fn look_at_copy(&mut self, g: &Geometry, copy: &[u8]) {
        self.tail_is_blank &= copy.iter().all(|byte| *byte == g.erase_value());
        self.could_be_torn &= Header::could_be(copy, g.erase_value());
        match Header::decode_any(g, copy) {
            // The higher sequence is of the later life of the segment, which is the present one. The other copy is of an
            // earlier life: its page was not overwritten.
            Ok((copy, segments)) if self.header.is_none_or(|header| header.sequence < copy.sequence) => {
                (self.header, self.segments) = (Some(copy), segments);
            }
            Ok(_) => {}
            Err(HeaderError::Invalid) => {}
            Err(error) => self.error = self.error.or(Some(error)),
        }
    }

    /// A place of the tail can't be read.
    const fn miss_tail(&mut self) {
        self.is_unreadable = true;
        self.tail_is_blank = false;
    }

    /// A part can't be read.
    const fn miss(&mut self, part: usize) {
        self.is_blank = false;
        self.is_unreadable = true;
        self.has_unreadable_record |= part == 2;
    }

    /// Whether both ends were read and are blank, except for a marker.
    pub(crate) const fn is_blank(&self) -> bool {
        self.is_blank && self.tail_is_blank
    }

    /// Whether a segment with this head was torn while it was opened, or while it was erased: no record can be in it.
    ///
    /// Bytes that were read must show that, for those that were not may hold anything. The header is durable before the first
    /// record. So the segment holds no record where the place of the first one is blank, or where both copies of the header
    /// are. On flash a cut leaves units that are never read back. There a blank marker shows it too: an erase takes the marker
    /// first, and a marker is durable before the header.
    pub(crate) fn is_torn(&self, trusts_blank: bool) -> bool {
        let has_no_header = self.has_blank_header && self.tail_is_blank;
        let has_no_record = self.has_no_record && (!self.has_unreadable_record || has_no_header);
        let is_half_erased = !trusts_blank && self.is_unreadable && self.has_blank_marker;
        is_half_erased || (self.marker.is_some() || self.could_be_torn) && has_no_record
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Whole,
    Part(usize),
    Tail,
    Trailer,
    Copy,
}

/// The reading of one head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadReader {
    pub(crate) segment: SegmentIndex,
    next: Next,
    head: Head,
}

/// The result of reading a head.
pub(crate) enum HeadStep {
    Read(Action),
    Done(Head),
}

impl HeadReader {
    pub(crate) const fn new(segment: SegmentIndex) -> Self {
        Self { segment, next: Next::Whole, head: Head::new() }
    }

    /// Whether no read was issued for it yet.
    pub(crate) fn is_new(&self) -> bool {
        self.next == Next::Whole
    }

    /// Takes in the bytes that were read, and goes on. Bounds: one read.
    pub(crate) fn poll(&mut self, log: &mut Log<'_>) -> HeadStep {
        let geometry = *log.layout.geometry();
        if let Some(result) = log.scan.take_result() {
            match self.take(&geometry, result, log.scan.filled()) {
                Some(next) => self.next = next,
                None => return HeadStep::Done(self.head),
            }
        }
        // A buffer holds at least the longest part.
        let buffer_bytes = log.scan.capacity();
        let mut range = self.range(&geometry);
        if range.end - range.start > buffer_bytes {
            self.next = if self.next == Next::Whole { Next::Part(0) } else { Next::Trailer };
            range = self.range(&geometry);
        }
        HeadStep::Read(log.read(LANE_SCAN, self.segment, range.start, range.end - range.start))
    }

    fn range(&self, geometry: &Geometry) -> Range<u32> {
        let ranges = head_ranges(geometry);
        let [.., last] = ranges.clone();
        match self.next {
            Next::Whole => 0..last.end,
            Next::Part(part) => ranges.get(part).cloned().unwrap_or(last),
            Next::Tail => geometry.trailer_at()..geometry.segment_bytes(),
            Next::Trailer => geometry.trailer_at()..geometry.second_header_at(),
            Next::Copy => geometry.second_header_at()..geometry.segment_bytes(),
        }
    }

    /// Takes in the result of a read; returns what to read next, or `None` at the end.
    fn take(&mut self, geometry: &Geometry, result: Result<(), MediumError>, bytes: &[u8]) -> Option<Next> {
        let ranges = head_ranges(geometry);
        let trailer_bytes = (geometry.second_header_at() - geometry.trailer_at()) as usize;
        match (self.next, result) {
            (Next::Whole, Ok(())) => {
                for (part, range) in ranges.iter().enumerate() {
                    self.head.look(geometry, part, bytes.get(range.start as usize..).unwrap_or_default());
                }
                Some(Next::Tail)
            }
            (Next::Whole, Err(_)) => Some(Next::Part(0)),
            (Next::Part(part), result) => {
                match result {
                    Ok(()) => self.head.look(geometry, part, bytes),
                    Err(_) => self.head.miss(part),
                }
                Some(if part + 1 < ranges.len() { Next::Part(part + 1) } else { Next::Tail })
            }
            (Next::Tail, Ok(())) => {
                let (trailer, copy) = bytes.split_at(bytes.len().min(trailer_bytes));
                self.head.look_at_trailer(geometry, trailer);
                self.head.look_at_copy(geometry, copy);
                None
            }
            (Next::Tail, Err(_)) => Some(Next::Trailer),
            (Next::Trailer, result) => {
                match result {
                    Ok(()) => self.head.look_at_trailer(geometry, bytes),
                    Err(_) => self.head.miss_tail(),
                }
                Some(Next::Copy)
            }
            (Next::Copy, Ok(())) => {
                self.head.look_at_copy(geometry, bytes);
                None
            }
            (Next::Copy, Err(_)) => {
                self.head.miss_tail();
                None
            }
        }
    }
}
