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

const _: () = assert!(
    crate::format::SEGMENTS_MIN >= reserve_segments(Streams::Two) + 2,
    "the smallest medium holds the reserve, one segment of data and one to clean"
);
