//! One segment: what it is, and exactly how many live bytes it holds.

use super::sync_point::SyncPoint;
use crate::format::{RECORD_HEADER_BYTES_MIN, SEGMENT_BYTES_MAX, SegmentIndex, Sequence};

/// The state of a segment.
///
/// ```text
///  Free ─1─► Opening ─2─► Open ─3─► Sealing ─4─► Sealed ─5─► Victim ─6─► Emptied ─7─► Freeing ─8─► Erased ─9─► Free
///                                                   ▲───────────┘ (a copy failed: nothing is lost)
/// ```
/// 1 it is chosen, and its marker and headers are written next; 2 the header is durable; 3 it is sealed, since it is full or
/// for another reason; 4 all its records are durable and the footer is written; 5 it is chosen as a victim; 6 nothing live is
/// left in it; 7 that is durable, and an erase intent is appended; 8 the erase intent is durable, and the segment is erased and
/// marked; 9 that is durable.
///
/// Not drawn: an opening that failed goes to `Freeing`, without an erase intent. A failed write or sync seals an open segment
/// without a footer. A failed sync takes `Erased` back to `Freeing`, and `Freeing` back to `Emptied`. A mount finds segments
/// that were never sealed as `Sealed` without a footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SegmentState {
    /// Erased, with a marker; or never written.
    #[default]
    Free,
    /// Its marker and headers are being written, or are not known to be durable yet.
    Opening,
    /// Records are appended to it.
    Open,
    /// Full; waits until its records are durable, for the footer.
    Sealing,
    /// Never changes until it is erased.
    Sealed,
    /// Its live records are being relocated.
    Victim,
    /// Nothing live is left in it; waits until that is durable.
    Emptied,
    /// Its erase intent is appended; waits until that is durable, then for the erase.
    Freeing,
    /// Erased and marked; waits until that is durable.
    Erased,
    /// Neither blank nor readable: kept as it is, and reported.
    Quarantined,
}

impl SegmentState {
    /// Whether nothing live is left in it and it is on its way to be free.
    pub(crate) const fn is_emptied(self) -> bool {
        matches!(self, Self::Emptied | Self::Freeing | Self::Erased)
    }
}

/// One segment, in 32 bytes. On a device only this table and the index grow with the medium.
///
/// ```text
/// sequence: 32 │ erases: 32
/// state: 4  │ used bytes: 28
/// unread: 1, plain: 1, stream: 2 │ live bytes: 28
/// flags: 6  │ live records: 26
/// relocated: 1 │ sealed at, modulo 2⁴⁷; from emptied to free: freed in: 24, freed bytes: 8
/// sync point: 48
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// The sequence of its opening. In quarantine, the newest sequence that had been issued when its marker was written.
    pub sequence: Sequence,
    /// How often it was erased.
    pub erases: u32,
    used: Split<28>,
    live: Split<28>,
    records: Split<26>,
    late: u32,
    sync_point: u32,
    late_high: u16,
    mark_high: u16,
}

const _: () = assert!(size_of::<Segment>() == 32);

const _: () = assert!(SEGMENT_BYTES_MAX <= 1 << 28, "bytes of a segment take 28 bits");

const _: () = assert!(SEGMENT_BYTES_MAX / RECORD_HEADER_BYTES_MIN < 1 << 26, "its records take 26");

/// The bit beside the two of the stream that tells whether a segment is unread.
const UNREAD: u8 = 8;

/// The bit that tells whether a record without an origin has been live in it.
const PLAIN: u8 = 4;

/// Bytes that a live record takes beyond its own once it is relocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Growth {
    /// In a segment with records that have no origin.
    pub plain: u32,
    /// In one where all records have one.
    pub relocated: u32,
}

/// A yes-or-no property of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    Footer = 1,
    Suspect = 2,
    Damaged = 4,
    Marker = 8,
    Doubtful = 16,
    Counted = 32,
}

impl Segment {
    /// A segment that was never written; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sequence: Sequence::NONE,
            erases: 0,
            used: Split(0),
            live: Split(0),
            records: Split(0),
            late: 0,
            sync_point: 0,
            late_high: 0,
            mark_high: 0,
        }
    }

    /// A segment with this sequence, this erase count and this state, and nothing in it.
    pub(crate) fn of(sequence: Sequence, erases: u32, state: SegmentState) -> Self {
        let mut segment = Self { sequence, erases, ..Self::new() };
        segment.set_state(state);
        segment
    }

    /// The same in another state; for one that is not in the table yet.
    pub(crate) fn with_state(mut self, state: SegmentState) -> Self {
        self.set_state(state);
        self
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> SegmentState {
        use SegmentState as S;
        match self.used.high() {
            0 => S::Free,
            1 => S::Opening,
            2 => S::Open,
            3 => S::Sealing,
            4 => S::Sealed,
            5 => S::Victim,
            6 => S::Emptied,
            7 => S::Freeing,
            8 => S::Erased,
            _ => S::Quarantined,
        }
    }

    /// Changes what it is.
    pub(super) fn set_state(&mut self, state: SegmentState) {
        if state.is_emptied() != self.state().is_emptied() {
            (self.late, self.late_high) = (0, self.late_high & RELOCATED);
        }
        self.used.set_high(state as u32);
    }

    /// The stream it was opened for.
    #[must_use]
    pub const fn stream(&self) -> u8 {
        self.live.high().to_le_bytes()[0] & !(UNREAD | PLAIN)
    }

    pub(crate) fn set_stream(&mut self, stream: u8) {
        let flags = self.live.high().to_le_bytes()[0] & (UNREAD | PLAIN);
        self.live.set_high(u32::from(stream & !(UNREAD | PLAIN) | flags));
    }

    /// Whether a record without an origin has been live in it: such a record gets longer by an origin when it is relocated.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.live.high().to_le_bytes()[0] & PLAIN != 0
    }

    pub(crate) fn set_plain(&mut self) {
        self.live.set_high(self.live.high() | u32::from(PLAIN));
    }

    /// Whether something of it could not be read or did not validate. The index may then lack some of its copies, so it is read
    /// again before anything of it is given up.
    #[must_use]
    pub const fn is_unread(&self) -> bool {
        self.live.high().to_le_bytes()[0] & UNREAD != 0
    }

    pub(crate) fn set_unread(&mut self, is_so: bool) {
        let others = self.live.high() & !u32::from(UNREAD);
        self.live.set_high(if is_so { others | u32::from(UNREAD) } else { others });
    }

    pub(crate) const fn is(&self, flag: Flag) -> bool {
        self.records.high() & flag as u32 != 0
    }

    pub(crate) fn set(&mut self, flag: Flag, is_so: bool) {
        let others = self.records.high() & !(flag as u32);
        self.records.set_high(if is_so { others | flag as u32 } else { others });
    }

    /// Whether a footer lists its records.
    #[must_use]
    pub const fn has_footer(&self) -> bool {
        self.is(Flag::Footer) && !matches!(self.state(), SegmentState::Free)
    }

    /// Whether it is free and the medium has allocated no blocks for it. A free segment has no footer, so the bit of the footer
    /// tells that.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.is(Flag::Footer) && matches!(self.state(), SegmentState::Free)
    }

    pub(crate) fn set_bare(&mut self, is_bare: bool) {
        debug_assert!(self.state() == SegmentState::Free, "the bit tells of a footer else");
        self.set(Flag::Footer, is_bare);
    }

    /// Whether a write or sync of it failed, so that no sync is evidence for its records.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.is(Flag::Suspect)
    }

    /// Whether damage was found in it. Then it is not chosen as a victim, so that its bytes stay for an examination.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        self.is(Flag::Damaged)
    }

    /// Whether it is not chosen as a victim, since something in it is damaged or could not be read.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.is_damaged() || self.is_unread()
    }

    /// Whether an erase marker is in it.
    #[must_use]
    pub const fn has_marker(&self) -> bool {
        self.is(Flag::Marker)
    }

    /// Whether a mount found it blank on a medium whose blank bytes may be half programmed. Then it is erased before it is
    /// opened.
    #[must_use]
    pub const fn is_doubtful(&self) -> bool {
        self.is(Flag::Doubtful)
    }

    /// Whether the index counts its records as copies.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.is(Flag::Counted)
    }

    /// Whether it is sealed, nothing in it is live, and it may be freed.
    pub(crate) const fn is_dead(&self) -> bool {
        matches!(self.state(), SegmentState::Sealed) && self.live_records() == 0 && !self.is_kept()
    }

    /// Bytes of records in it, live or stale.
    #[must_use]
    pub const fn used_bytes(&self) -> u32 {
        self.used.low()
    }

    pub(crate) fn set_used_bytes(&mut self, bytes: u32) {
        self.used.set_low(bytes);
    }

    /// Bytes of the records in it that must be kept: current values, needed tombstones and erase intents.
    #[must_use]
    pub const fn live_bytes(&self) -> u32 {
        self.live.low()
    }

    /// The number of these records.
    #[must_use]
    pub const fn live_records(&self) -> u32 {
        self.records.low()
    }

    /// The bytes that clients have appended since it was sealed, modulo 2⁴⁷. `appended` is the number of all bytes that they
    /// have appended.
    #[must_use]
    pub const fn age_bytes(&self, appended: u64) -> u64 {
        appended.wrapping_sub(whole(self.late, self.late_high & !RELOCATED)) & LATE_MAX
    }

    pub(crate) fn set_sealed_at(&mut self, appended: u64) {
        let (late, late_high) = parts(appended & LATE_MAX);
        (self.late, self.late_high) = (late, self.late_high & RELOCATED | late_high);
    }

    /// In an open or sealed segment, the sync point of its newest record. Once none of its records is live, the sync point by
    /// which every record that superseded them was written. In an emptied segment, the sync point that a sync must cover before
    /// the next step.
    pub(crate) const fn sync_point(&self) -> SyncPoint {
        SyncPoint::new(whole(self.sync_point, self.mark_high))
    }

    /// Values beyond 48 bits are never reached.
    pub(crate) fn set_sync_point(&mut self, sync_point: SyncPoint) {
        (self.sync_point, self.mark_high) = parts(sync_point.get());
    }

    /// Bytes of its stale records.
    #[must_use]
    pub const fn stale_bytes(&self) -> u32 {
        self.used_bytes().saturating_sub(self.live_bytes())
    }

    /// An upper bound of what relocating its live records takes.
    #[must_use]
    pub const fn relocation_bytes(&self, growth: &Growth) -> u32 {
        let each = if self.is_plain() { growth.plain } else { growth.relocated };
        self.live_bytes().saturating_add(self.live_records().saturating_mul(each))
    }

    /// Bytes of the erase intent of this segment, which counts as live in another while this one is on its way to be free.
    #[must_use]
    pub const fn intent_bytes(&self) -> u32 {
        if self.state().is_emptied() { self.late & 0xFF } else { 0 }
    }

    /// The segment that holds its erase intent, and the record's bytes.
    pub(crate) fn intent_at(&self) -> Option<(SegmentIndex, u32)> {
        let bytes = self.intent_bytes();
        (bytes > 0).then_some((SegmentIndex::new(self.late >> 8), bytes))
    }

    /// Notes the place of its erase intent, or that it has none; returns the place noted before. Only for a segment on its way
    /// from emptied to free.
    pub(crate) fn set_intent_at(&mut self, at: Option<(SegmentIndex, u32)>) -> Option<(SegmentIndex, u32)> {
        debug_assert!(
            self.state().is_emptied(),
            "where it lies is kept in place of when the segment was sealed"
        );
        let before = self.intent_at();
        // There are up to 2²⁴ segments; a header, twelve bytes and the padding to a write unit fit eight bits.
        self.late = at.map_or(0, |(holder, bytes)| holder.get() << 8 | bytes.min(0xFF));
        before
    }

    /// Whether a record of it may have been relocated. Then copies tie, and a mount would take those in this segment.
    pub(crate) const fn is_relocated(&self) -> bool {
        self.late_high & RELOCATED != 0
    }

    /// Notes whether one may have been.
    pub(crate) fn set_relocated(&mut self, is_relocated: bool) {
        self.late_high = self.late_high & !RELOCATED | if is_relocated { RELOCATED } else { 0 };
    }

    /// The gain of cleaning it, in bytes, of [`Geometry::usable_bytes`](crate::format::Geometry::usable_bytes); zero where it would cost as
    /// much as it yields.
    #[must_use]
    pub const fn yield_bytes(&self, usable_bytes: u32, growth: &Growth) -> u32 {
        usable_bytes.saturating_sub(self.relocation_bytes(growth))
    }

    /// Adds a live record.
    pub(crate) fn gain(&mut self, record_bytes: u32) {
        self.live.set_low(self.live_bytes().saturating_add(record_bytes));
        self.records.set_low(self.live_records().saturating_add(1));
    }

    /// Subtracts a live record; tells whether so many bytes were live (I-GC-4).
    #[must_use]
    pub(crate) fn lose(&mut self, record_bytes: u32) -> bool {
        let was_live = self.live_bytes() >= record_bytes && self.live_records() > 0;
        self.live.set_low(self.live_bytes().saturating_sub(record_bytes));
        self.records.set_low(self.live_records().saturating_sub(1));
        was_live
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Segment {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "Segment({}, sequence {=u32}, {=u32} erases, {=u32} of {=u32} bytes live)",
            self.state(),
            self.sequence.get(),
            self.erases,
            self.live_bytes(),
            self.used_bytes(),
        );
    }
}

/// A number of `LOW` bits, and one of what is left of 32 above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Split<const LOW: u32>(u32);

impl<const LOW: u32> Split<LOW> {
    const MASK: u32 = (1 << LOW) - 1;

    const fn low(self) -> u32 {
        self.0 & Self::MASK
    }

    const fn high(self) -> u32 {
        self.0 >> LOW
    }

    fn set_low(&mut self, low: u32) {
        self.0 = self.0 & !Self::MASK | low.min(Self::MASK);
    }

    fn set_high(&mut self, high: u32) {
        self.0 = self.low() | high << LOW;
    }
}

/// The greatest number of 48 bits.
const LONG_MAX: u64 = (1 << 48) - 1;

/// The greatest that a segment keeps in 47 bits, beside [`RELOCATED`].
const LATE_MAX: u64 = LONG_MAX >> 1;

/// The bit above the time of sealing that tells whether a record may have been relocated.
const RELOCATED: u16 = 1 << 15;

/// A number in two parts, of 32 and 16 bits, which the segment stores apart; the greatest of 48 bits where it is greater.
#[expect(clippy::cast_possible_truncation, reason = "what does not fit was cut off")]
fn parts(number: u64) -> (u32, u16) {
    let number = number.min(LONG_MAX);
    (number as u32, (number >> 32) as u16)
}

const fn whole(low: u32, high: u16) -> u64 {
    (high as u64) << 32 | low as u64
}

/// A summary of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tally {
    /// Segments that can be opened now.
    pub free: u32,
    /// Segments on their way from victim to free.
    pub leaving: u32,
    /// Segments that may be chosen as victims.
    pub sealed: u32,
    /// Segments kept as they are because of damage.
    pub quarantined: u32,
    /// Bytes of records, live or stale, in all segments that are not yet erased.
    pub used_bytes: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
}

impl Tally {
    /// Counts a table. Bounds: one pass.
    #[must_use]
    pub fn of(segments: &[Segment]) -> Self {
        let mut tally = Self::default();
        for segment in segments {
            match segment.state() {
                SegmentState::Free => tally.free += 1,
                SegmentState::Victim
                | SegmentState::Emptied
                | SegmentState::Freeing
                | SegmentState::Erased => {
                    tally.leaving += 1;
                }
                SegmentState::Sealed if segment.is_kept() => tally.quarantined += 1,
                SegmentState::Sealed => tally.sealed += 1,
                SegmentState::Quarantined => tally.quarantined += 1,
                SegmentState::Opening | SegmentState::Open | SegmentState::Sealing => {}
            }
            if !matches!(segment.state(), SegmentState::Erased | SegmentState::Quarantined) {
                tally.used_bytes += u64::from(segment.used_bytes());
                tally.live_bytes += u64::from(segment.live_bytes());
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: [Flag; 6] =
        [Flag::Footer, Flag::Suspect, Flag::Damaged, Flag::Marker, Flag::Doubtful, Flag::Counted];

    #[test]
    fn every_field_keeps_its_value_beside_the_others() {
        let mut segment = Segment::of(Sequence::new(u32::MAX), u32::MAX, SegmentState::Sealed);
        segment.set_stream(3);
        segment.set_plain();
        segment.set_unread(true);
        segment.set_unread(false);
        assert!(segment.is_plain() && !segment.is_unread() && segment.stream() == 3);
        segment.set_used_bytes(SEGMENT_BYTES_MAX - 1);
        segment.gain(SEGMENT_BYTES_MAX - 2);
        segment.set_sealed_at(u64::MAX - 5);
        segment.set_sync_point(SyncPoint::new((1 << 48) - 2));
        for flag in FLAGS {
            segment.set(flag, true);
            assert!(FLAGS.iter().all(|other| segment.is(*other) == (*other == flag)), "{flag:?} alone");
            segment.set(flag, false);
        }
        assert_eq!((segment.sequence, segment.erases), (Sequence::new(u32::MAX), u32::MAX));
        assert_eq!((segment.state(), segment.stream()), (SegmentState::Sealed, 3));
        assert_eq!((segment.used_bytes(), segment.stale_bytes()), (SEGMENT_BYTES_MAX - 1, 1));
        assert_eq!((segment.live_bytes(), segment.live_records()), (SEGMENT_BYTES_MAX - 2, 1));
        assert_eq!((segment.age_bytes(u64::MAX), segment.age_bytes(4)), (5, 10), "the clock may wrap");
        assert_eq!(segment.sync_point(), SyncPoint::new((1 << 48) - 2));
        assert!(segment.lose(SEGMENT_BYTES_MAX - 2));
        assert_eq!((segment.live_bytes(), segment.live_records()), (0, 0));
    }

    #[test]
    fn freed_record_is_known_only_on_the_way_from_emptied_to_free() {
        let mut segment = Segment::of(Sequence::new(1), 0, SegmentState::Victim);
        segment.set_sealed_at(u64::MAX);
        segment.set_state(SegmentState::Emptied);
        assert_eq!(segment.intent_at(), None, "when it was sealed is no place");
        segment.set_state(SegmentState::Freeing);
        assert_eq!(segment.set_intent_at(Some((SegmentIndex::new((1 << 24) - 1), 96))), None);
        segment.set_state(SegmentState::Erased);
        assert_eq!(segment.intent_at(), Some((SegmentIndex::new((1 << 24) - 1), 96)));
        assert_eq!(segment.set_intent_at(None), Some((SegmentIndex::new((1 << 24) - 1), 96)));
        segment.set_intent_at(Some((SegmentIndex::new(3), 20)));
        segment.set_state(SegmentState::Free);
        assert_eq!((segment.intent_at(), segment.intent_bytes()), (None, 0));
    }

    #[test]
    fn mark_that_is_never_reached_is_above_all_others() {
        let mut segment = Segment::new();
        segment.set_sync_point(SyncPoint::NEVER);
        assert!(segment.sync_point().get() > 1 << 47);
    }
}
