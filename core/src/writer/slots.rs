//! The row of slots.

use heapless::Vec;

use super::memory::SlotMemory;
use super::slot::Slot;
use crate::cleanup::Ticket;
use crate::config::SLOTS_MAX;

/// Which slot. It is the index of the slot's tickets, too: see the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotIndex(u16);

impl SlotIndex {
    /// The ticket index of the slot's writes.
    pub(crate) const fn lane(self) -> u16 {
        self.0
    }
}

/// All slots. They stay where they are as long as there is a machine.
#[derive(Debug)]
pub(crate) struct Slots<'m>(Vec<Slot<'m>, SLOTS_MAX>);

impl<'m> Slots<'m> {
    pub(crate) fn new(memory: Vec<SlotMemory<'m>, SLOTS_MAX>) -> Self {
        Self(memory.into_iter().map(Slot::new).collect())
    }

    /// Takes the memory out, for other slots over it.
    pub(crate) fn take_memory(&mut self) -> Vec<SlotMemory<'m>, SLOTS_MAX> {
        core::mem::take(&mut self.0).into_iter().map(|slot| slot.memory).collect()
    }

    pub(crate) fn get(&self, index: SlotIndex) -> Option<&Slot<'m>> {
        self.0.get(usize::from(index.0))
    }

    pub(crate) fn get_mut(&mut self, index: SlotIndex) -> Option<&mut Slot<'m>> {
        self.0.get_mut(usize::from(index.0))
    }

    pub(crate) fn iter(&self) -> core::slice::Iter<'_, Slot<'m>> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> core::slice::IterMut<'_, Slot<'m>> {
        self.0.iter_mut()
    }

    /// The indices of all slots.
    pub(crate) fn indices(&self) -> impl Iterator<Item = SlotIndex> + use<> {
        (0u16..).take(self.0.len()).map(SlotIndex)
    }

    /// The first slot of which this holds.
    pub(crate) fn find(&self, mut is_it: impl FnMut(&Slot<'m>) -> bool) -> Option<SlotIndex> {
        (0u16..).zip(&self.0).find(|(_, slot)| is_it(slot)).map(|(index, _)| SlotIndex(index))
    }

    /// The slot that waits for the completion of this ticket.
    pub(crate) fn waiting_for(&self, ticket: Ticket) -> Option<SlotIndex> {
        let index = SlotIndex(ticket.index);
        self.get(index).filter(|slot| slot.is_waiting(ticket)).map(|_| index)
    }
}
