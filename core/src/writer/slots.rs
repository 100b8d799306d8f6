//! The row of slots.

use super::memory::Pending;
use super::notes::SlotNotes;
use super::slot::{Slot, SlotMut};
use crate::cleanup::Ticket;
use crate::format::{Hidden, KeyHash, Location};
use crate::index::Placed;
use crate::invariant::{Invariant, Watch};

/// Names a slot. It is also the index of the slot's tickets: see [`lane`](super::lane).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotIndex(u16);

impl SlotIndex {
    /// The ticket index of the slot's writes.
    pub(crate) const fn lane(self) -> u16 {
        self.0
    }
}

/// The memory of all slots: one note for each, and equal shares of the buffers.
#[derive(Debug, Default)]
pub(crate) struct SlotMemory<'m> {
    pub(super) notes: &'m mut [SlotNotes],
    pub(super) records: Hidden<&'m mut [u8]>,
    pub(super) footers: Hidden<&'m mut [u8]>,
    pub(super) placed: &'m mut [Pending],
}

/// All slots. Their number and order never change in the life of a machine.
#[derive(Debug)]
pub(crate) struct Slots<'m> {
    memory: SlotMemory<'m>,
    watch: Watch,
}

/// The share of one of `slots` slots in a row.
fn share<T>(row: &[T], slots: usize, index: usize) -> Option<&[T]> {
    let len = row.len().checked_div(slots)?;
    row.get(index * len..(index + 1) * len)
}

/// The same, to be changed.
fn share_mut<T>(row: &mut [T], slots: usize, index: usize) -> Option<&mut [T]> {
    let len = row.len().checked_div(slots)?;
    row.get_mut(index * len..(index + 1) * len)
}

impl<'m> Slots<'m> {
    pub(crate) fn new(memory: SlotMemory<'m>) -> Self {
        for notes in memory.notes.iter_mut() {
            *notes = SlotNotes::new();
        }
        Self { memory, watch: Watch::new() }
    }

    /// The same slots without the bytes of their records, for a test.
    #[cfg(test)]
    pub(super) fn lossy(memory: SlotMemory<'m>) -> Self {
        Self { memory: SlotMemory { records: Hidden(&mut []), ..memory }, watch: Watch::new() }
    }

    /// Takes the memory back, to make other slots of it.
    pub(crate) fn take_memory(&mut self) -> SlotMemory<'m> {
        core::mem::take(&mut self.memory)
    }

    /// A slot. `None` breaks I-SLOT-1, which is noted. The caller then returns without a change, and the machine stops.
    pub(crate) fn get(&self, index: SlotIndex) -> Option<Slot<'_>> {
        let slot = self.at(usize::from(index.0));
        self.watch.hold(Invariant::SlotInRow, slot.is_some());
        slot
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, index: SlotIndex) -> Option<SlotMut<'_>> {
        let (at, slots) = (usize::from(index.0), self.memory.notes.len());
        self.watch.hold(Invariant::SlotInRow, at < slots);
        Some(SlotMut {
            notes: self.memory.notes.get_mut(at)?,
            record_buffer: share_mut(self.memory.records.0, slots, at)?,
            footer_buffer: share_mut(self.memory.footers.0, slots, at)?,
            pending: share_mut(self.memory.placed, slots, at)?,
        })
    }

    /// The slot with this number, if there is one.
    fn at(&self, at: usize) -> Option<Slot<'_>> {
        let slots = self.memory.notes.len();
        Some(Slot {
            notes: self.memory.notes.get(at)?,
            record_buffer: share(self.memory.records.0, slots, at)?,
            footer_buffer: share(self.memory.footers.0, slots, at)?,
            pending: share(self.memory.placed, slots, at)?,
        })
    }

    /// A record that waits in a slot for publication. `None` breaks I-SLOT-2, which is noted.
    pub(super) fn pending(&self, index: SlotIndex, at: usize) -> Option<(KeyHash, Placed)> {
        let slot = self.at(usize::from(index.0));
        let record = slot.and_then(|slot| slot.pending.get(at)?.record(slot.segment, slot.sequence));
        self.watch.hold(Invariant::PlacedRecords, record.is_some());
        record
    }

    /// Tells whether a relocated record waits for publication that lay where `is_it` says. A slot without a note of each of its records
    /// breaks I-SLOT-2, which is noted.
    pub(super) fn has_relocated(&self, is_it: impl Fn(Location) -> bool) -> bool {
        self.iter().any(|slot| {
            let relocated = slot.relocated_from();
            self.watch.hold(Invariant::PlacedRecords, relocated.is_some());
            relocated.is_some_and(|mut from| from.any(&is_it))
        })
    }

    pub(crate) const fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot<'_>> {
        (0..self.memory.notes.len()).filter_map(|at| self.at(at))
    }

    /// The indices of all slots.
    pub(super) fn indices(&self) -> impl Iterator<Item = SlotIndex> + use<> {
        (0u16..).take(self.memory.notes.len()).map(SlotIndex)
    }

    /// The first slot for which `is_it` holds.
    pub(crate) fn find(&self, mut is_it: impl FnMut(&Slot<'_>) -> bool) -> Option<(SlotIndex, Slot<'_>)> {
        let (index, slot) = (0u16..).zip(self.iter()).find(|(_, slot)| is_it(slot))?;
        Some((SlotIndex(index), slot))
    }

    /// The slot that waits for the completion of this ticket.
    pub(super) fn waiting_for(&self, ticket: Ticket) -> Option<(SlotIndex, Slot<'_>)> {
        let slot = self.at(usize::from(ticket.index))?;
        slot.is_waiting(ticket).then_some((SlotIndex(ticket.index), slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::testing::breaks;

    #[test]
    fn slot_that_is_not_there_is_noted() {
        let slots = Slots::new(SlotMemory::default());
        assert!(slots.waiting_for(Ticket { index: 0, generation: 1 }).is_none());
        assert_eq!(slots.watch().broken(), None, "tickets come from outside");
        if breaks(Invariant::SlotInRow, || assert!(slots.get(SlotIndex(0)).is_none())) {
            assert_eq!(slots.watch().broken(), Some(Invariant::SlotInRow));
        }
    }

    #[test]
    fn slots_have_equal_shares_that_do_not_overlap() {
        let (mut notes, mut placed) = ([const { SlotNotes::new() }; 3], [const { Pending::new() }; 6]);
        let mut records = [0; 31];
        let mut slots = Slots::new(SlotMemory {
            notes: &mut notes,
            records: Hidden(&mut records),
            footers: Hidden(&mut []),
            placed: &mut placed,
        });
        for (index, byte) in slots.indices().zip(1..) {
            slots.get_mut(index).unwrap().record_buffer.fill(byte);
        }
        for (slot, byte) in slots.iter().zip(1..) {
            assert_eq!(slot.record_buffer, [byte; 10]);
            assert_eq!((slot.footer_buffer.len(), slot.pending.len()), (0, 2));
        }
    }
}
