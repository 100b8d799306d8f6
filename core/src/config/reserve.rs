//! The segments that are kept for the machine's own work, and the reason for their number.

use super::stream::Streams;

/// Segments between the fill at which streams are merged and the fill at which they must be. The fill is measured when a
/// segment is opened, and records are published from then until the end of the victim in hand.
pub(super) const APART_MARGIN_SEGMENTS: u32 = 1;

/// Segments that live records may never fill, with streams apart or merged.
///
/// Several streams are merged before that fill ([`Streams`]), and then the rules for one stream hold. The reserve is one
/// segment more than for one stream, since [`FREE_RESERVE`] are kept free as before.
#[must_use]
pub const fn capacity_reserve_segments(streams: Streams) -> u32 {
    match streams {
        Streams::One => reserve_segments(Streams::One),
        Streams::Two | Streams::Four => {
            reserve_segments(Streams::One) + FREE_RESERVE - free_reserve(Streams::One)
        }
    }
}

/// Segments that live records may not fill while streams are apart.
///
/// Each stream keeps one open (`streams`); one more may be sealing and one opening. [`FREE_RESERVE`] stay free for
/// compaction and for removes, and one is on its way from victim to free.
///
/// **Why it is enough (I-GC-2).** Let U be the usable bytes of a segment, r the longest record and R the reserve, of N
/// segments. In a shortage at least N − R + 1 segments are sealed, and all live records take at most (N − R)(U − r). So the
/// least live of them holds less than U − r: relocated, it fits into one segment, even if a record did not fit at its end.
/// There is such a segment, for fresh records leave [`FREE_RESERVE`] free. Where there are no footers, the erase intent that
/// each cleaning writes and a time record are subtracted from U, too. So a victim always yields more than it costs.
///
/// With [`Streams::One`] fresh records fill up the segment that relocation opened, but only while as many segments are free
/// beside it as ever: once the cleaning has given back the one it took. Relocation to the last free segment keeps the versions
/// of records. So an output that a cut ends early there is dead, and gives its segment back. After any number of cuts during
/// compaction one segment is left to go on with, and two free ones do.
#[must_use]
pub const fn reserve_segments(streams: Streams) -> u32 {
    streams.count() + 2 + free_reserve(streams) + 1
}

/// Free segments that fresh records may not take.
///
/// Cleaning a victim needs at most one new output segment, and gives one back: its live records take less than a segment, since a
/// victim yields more than it costs. The second is for an output that was sealed early, by a failed write or by a cut;
/// the third lets a tombstone be appended while the first two are in use.
pub const FREE_RESERVE: u32 = 3;

/// [`FREE_RESERVE`] of a machine with these streams: with one alone, none is kept for tombstones beside relocation.
#[must_use]
pub const fn free_reserve(streams: Streams) -> u32 {
    match streams {
        Streams::One => FREE_RESERVE - 1,
        _ => FREE_RESERVE,
    }
}

/// The most segments of a device that keeps [one](Reserve::One) of them free.
///
/// Up to this number one free segment holds more than the [six](capacity_reserve_segments) that [`Reserve::Several`] takes, although
/// each record carries an origin. With 4 KiB segments and records of 76 bytes that is so up to 54. The bound is lower, so that devices
/// of more segments go on as before.
pub const ONE_FREE_SEGMENTS_MAX: u32 = 32;

/// The reserve of a machine with one stream and no footers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reserve {
    /// [`capacity_reserve_segments`], of which [`free_reserve`] stay free.
    #[default]
    Several,
    /// One free segment: all others may be full. From two segments up.
    ///
    /// **Why it is enough (I-GC-2).** Only relocation opens the last free segment. Every record carries its version as an
    /// origin, also a fresh one. So a record never gets longer, and a copy ties with its source. Of copies that tie a mount takes
    /// the one in the lower segment. Where a cut ends an output before its victim has an erase intent, nothing in the output is
    /// live: it is erased, and the relocation begins anew. So a mount finds a free segment, or one that holds only copies that lose.
    ///
    /// Let U be the usable bytes of a segment, i an erase intent and r the longest record, of N segments. All live records take
    /// at most (N − 1)(U − i − r). In a shortage N − 1 segments are sealed, so the least live of them holds at most U − i − r.
    /// Relocated, it leaves space in the output for its erase intent and one record.
    ///
    /// Fresh records fill up an output only once a segment is free beside it. They leave space for an erase intent in any segment
    /// that has no stale bytes for it. So each segment can be relocated whole: for its wear, or for places of the index.
    ///
    /// A batch of B bytes is sure to find space while live records take at most (N − 1)(U − i − r) − B.
    ///
    /// The header of an output states the time, and counts as a time record. Else the newest time, which must not be lost,
    /// would be written again into each output.
    One,
}

impl Reserve {
    /// The reserve of a device with so many segments.
    #[must_use]
    pub const fn of_device(segments: u32) -> Self {
        if segments <= ONE_FREE_SEGMENTS_MAX { Self::One } else { Self::Several }
    }
}

/// The fewest segments of a machine that keeps [several](Reserve::Several) in reserve, beside those of its low watermark.
#[must_use]
pub const fn several_segments_min(streams: Streams, low_watermark_segments: u32) -> u32 {
    // One segment to fill and clean, and those of the low watermark.
    let above = if low_watermark_segments == 0 { 1 } else { low_watermark_segments };
    reserve_segments(streams) + above + 1
}
