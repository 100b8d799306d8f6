//! The state of writing: open segments, the one that is being opened, sequences and positions.

use super::batch::Batches;
use super::opening::Opening;
use super::slots::{SlotMemory, Slots};
use crate::config::{Streams, TierConfig};
use crate::format::Sequence;
use crate::segments::Ages;

/// Whether a client's record waits for the write of a time record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StampWait {
    None,
    UnderWay,
    /// It was written, or failed; a record that is offered soon after that needs no other one.
    Over,
}

/// Whether clients' records wait for a segment that relocated ones leave to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    None,
    /// They do, while so many victims are cleaned.
    Victims(u8),
    /// The one that is offered now has waited enough.
    Over,
}

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
    /// The time record for which a client's record waits: with one free segment it gets a write of its own.
    pub(super) stamp: StampWait,
    pub(super) parting: Parting,
    /// Appends so far.
    pub(super) appended: u64,
    /// Bytes that clients appended so far: the clock of segment ages.
    pub(super) appended_bytes: u64,
    /// When a client's record was appended last, or its time record written.
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
            stamp: StampWait::None,
            parting: Parting::None,
            appended: 0,
            appended_bytes: 0,
            fresh_ms: 0,
            longest_stored_bytes: 0,
            is_starved: false,
        }
    }
}
