//! The row of slots.

use heapless::Vec;

use super::memory::SlotMemory;
use super::slot::Slot;
use crate::cleanup::Ticket;
use crate::config::SLOTS_MAX;
use crate::format::{KeyHash, Location};
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

/// All slots. Their number and order never change in the life of a machine.
#[derive(Debug)]
pub(crate) struct Slots<'m> {
    row: Vec<Slot<'m>, SLOTS_MAX>,
    watch: Watch,
}

impl<'m> Slots<'m> {
    pub(crate) fn new(memory: Vec<SlotMemory<'m>, SLOTS_MAX>) -> Self {
        Self { row: memory.into_iter().map(Slot::new).collect(), watch: Watch::new() }
    }

    /// Takes the memory back, to make other slots of it.
    pub(crate) fn take_memory(&mut self) -> Vec<SlotMemory<'m>, SLOTS_MAX> {
        core::mem::take(&mut self.row).into_iter().map(|slot| slot.memory).collect()
    }

    /// A slot. `None` breaks I-SLOT-1, which is noted. The caller then returns without a change, and the machine stops.
    pub(crate) fn get(&self, index: SlotIndex) -> Option<&Slot<'m>> {
        let slot = self.row.get(usize::from(index.0));
        self.watch.hold(Invariant::SlotInRow, slot.is_some());
        slot
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, index: SlotIndex) -> Option<&mut Slot<'m>> {
        let slot = self.row.get_mut(usize::from(index.0));
        self.watch.hold(Invariant::SlotInRow, slot.is_some());
        slot
    }

    /// A record that waits in a slot for publication. `None` breaks I-SLOT-2, which is noted.
    pub(super) fn pending(&self, index: SlotIndex, at: usize) -> Option<(KeyHash, Placed)> {
        let slot = self.row.get(usize::from(index.0));
        let record = slot.and_then(|slot| slot.memory.placed.get(at)?.record());
        self.watch.hold(Invariant::PlacedRecords, record.is_some());
        record
    }

    /// Tells whether a relocated record waits for publication that lay where `is_it` says. A slot without a note of each of its records
    /// breaks I-SLOT-2, which is noted.
    pub(super) fn has_relocated(&self, is_it: impl Fn(Location) -> bool) -> bool {
        self.row.iter().any(|slot| {
            let relocated = slot.relocated_from();
            self.watch.hold(Invariant::PlacedRecords, relocated.is_some());
            relocated.is_some_and(|mut from| from.any(&is_it))
        })
    }

    pub(crate) const fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn iter(&self) -> core::slice::Iter<'_, Slot<'m>> {
        self.row.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> core::slice::IterMut<'_, Slot<'m>> {
        self.row.iter_mut()
    }

    /// The indices of all slots.
    pub(super) fn indices(&self) -> impl Iterator<Item = SlotIndex> + use<> {
        (0u16..).take(self.row.len()).map(SlotIndex)
    }

    /// The first slot for which `is_it` holds.
    pub(crate) fn find(&self, mut is_it: impl FnMut(&Slot<'m>) -> bool) -> Option<(SlotIndex, &Slot<'m>)> {
        let (index, slot) = (0u16..).zip(&self.row).find(|(_, slot)| is_it(slot))?;
        Some((SlotIndex(index), slot))
    }

    /// The slot that waits for the completion of this ticket.
    pub(super) fn waiting_for(&self, ticket: Ticket) -> Option<(SlotIndex, &Slot<'m>)> {
        let slot = self.row.get(usize::from(ticket.index))?;
        slot.is_waiting(ticket).then_some((SlotIndex(ticket.index), slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::testing::breaks;

    #[test]
    fn slot_that_is_not_there_is_noted() {
        let slots = Slots::new(Vec::new());
        assert!(slots.waiting_for(Ticket { index: 0, generation: 1 }).is_none());
        assert_eq!(slots.watch().broken(), None, "tickets come from outside");
        if breaks(Invariant::SlotInRow, || assert!(slots.get(SlotIndex(0)).is_none())) {
            assert_eq!(slots.watch().broken(), Some(Invariant::SlotInRow));
        }
    }
}
