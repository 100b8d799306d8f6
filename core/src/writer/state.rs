//! The state of writing: open segments, the one that is being opened, sequences and positions.

use super::batch::Batches;
use super::opening::Opening;
use super::slots::{SlotMemory, Slots};
use crate::config::{Streams, TierConfig};
use crate::format::Sequence;
use crate::segments::Ages;

/// The write of a time record is under way, for which a client's record waits.
pub(super) const STAMPING: u64 = u64::MAX;

/// The state of writing.
#[derive(Debug)]
pub(super) struct Writer<'m> {
    pub(super) slots: Slots<'m>,
    pub(super) opening: Opening,
    pub(super) streams: StreamState,
    pub(super) batches: Batches,
    /// The sequence to issue next.
    pub(super) sequence_next: Sequence,
    /// Fresh records go only to segments above this sequence: up to it a write failed, and a stray copy may lie there.
    pub(super) version_floor: Sequence,
    /// Bytes of the fresh record that was refused last for want of space; 0 once one was taken.
    pub(super) wanted_bytes: u32,
    /// Until when the last time record is enough for the client's record that waits for its write, in milliseconds: [`STAMPING`] while that is
    /// under way, 0 where none waits. With one free segment a time record gets a write of its own.
    pub(super) stamped_until_ms: u64,
    /// Appends so far.
    pub(super) appended: u64,
    /// Bytes that clients appended so far: the clock of segment ages.
    pub(super) appended_bytes: u64,
    /// When a client's record was appended last.
    pub(super) fresh_ms: u64,
    /// The longest record that was ever found or appended.
    pub(super) longest_stored_bytes: u32,
    /// Whether relocation found no place, and no segment could be opened for it, since it last placed a record.
    pub(super) is_starved: bool,
}

/// The state of the streams: whether they are merged, and the measures that decide where a record goes.
#[derive(Debug)]
pub(super) struct StreamState {
    /// Whether the streams are merged: see [`Streams`].
    pub(super) is_merged: bool,
    /// Whether they should be, by the last measure of the fill.
    pub(super) is_to_merge: bool,
    /// Whether fresh and relocated records of like age go to one stream: while victims are chosen by cost–benefit.
    pub(super) is_shared: bool,
    /// How old records are when a client supersedes them.
    pub(super) ages: Ages,
    /// The mean lifetime of short-lived records, in sequences.
    pub(super) lifetime: u32,
}

impl<'m> Writer<'m> {
    pub(super) fn new(config: &TierConfig, slots: SlotMemory<'m>) -> Self {
        let is_merged = config.streams == Streams::One;
        Self {
            slots: Slots::new(slots),
            opening: Opening::default(),
            streams: StreamState {
                is_merged,
                is_to_merge: is_merged,
                is_shared: false,
                ages: Ages::default(),
                lifetime: config.geometry.segment_count() / 4,
            },
            batches: Batches::default(),
            sequence_next: Sequence::FIRST,
            version_floor: Sequence::NONE,
            wanted_bytes: 0,
            stamped_until_ms: 0,
            appended: 0,
            appended_bytes: 0,
            fresh_ms: 0,
            longest_stored_bytes: 0,
            is_starved: false,
        }
    }
}
