//! A medium that keeps a journal of its operations.

use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coldpress_std::medium::{Medium, MediumError, MediumFailure, ServiceMedium, Started};

use super::journal::Event;
use crate::sim::mixed;

#[derive(Debug, Default)]
struct Journal {
    /// The bytes that reads see.
    now: Vec<u8>,
    events: Vec<Event>,
    syncs_are_slow: bool,
}

/// The double; leaked, so that the views of a tier share it without counting, and used again for the next tier.
#[derive(Debug, Default)]
pub struct Double(Mutex<Journal>);

impl Double {
    /// Makes one.
    #[must_use]
    pub fn leak() -> &'static Self {
        Box::leak(Box::default())
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew with these bytes, all of them durable, and an empty journal. Where syncs are slow, they take up to a third
    /// of a millisecond, so that several clients share one.
    pub fn load(&self, image: &[u8], syncs_are_slow: bool) {
        let mut journal = self.journal();
        journal.now.clear();
        journal.now.extend_from_slice(image);
        journal.events.clear();
        journal.syncs_are_slow = syncs_are_slow;
    }

    /// Notes an event of a client.
    pub fn note(&self, event: Event) {
        self.journal().events.push(event);
    }

    /// The number of events so far.
    #[must_use]
    pub fn events(&self) -> usize {
        self.journal().events.len()
    }

    /// Takes the journal.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        core::mem::take(&mut self.journal().events)
    }
}

fn place(journal: &Journal, offset: u64, len: usize) -> Result<usize, MediumError> {
    let at = usize::try_from(offset).map_err(|_| MediumError::Unreadable)?;
    let is_inside = at.checked_add(len).is_some_and(|end| end <= journal.now.len());
    if is_inside { Ok(at) } else { Err(MediumError::Unreadable) }
}

impl Medium for &'static Double {
    type Error = MediumFailure;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_shared(offset, buffer)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
        let mut journal = self.journal();
        let at = place(&journal, offset, bytes.len())?;
        journal.now[at..at + bytes.len()].copy_from_slice(bytes);
        journal.events.push(Event::Wrote { at, bytes: bytes.to_vec() });
        Ok(Started::Done)
    }

    fn erase(&mut self, offset: u64, bytes: u64) -> Result<Started, MediumFailure> {
        let mut journal = self.journal();
        let len = usize::try_from(bytes).map_err(|_| MediumError::Io)?;
        let at = place(&journal, offset, len)?;
        journal.now[at..at + len].fill(0);
        journal.events.push(Event::Erased { at, len });
        Ok(Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        let (from, is_slow) = {
            let journal = self.journal();
            (journal.events.len(), journal.syncs_are_slow)
        };
        if is_slow {
            std::thread::sleep(Duration::from_micros(mixed(from as u64) % 300));
        }
        self.journal().events.push(Event::Synced { from });
        Ok(Started::Done)
    }
}

impl ServiceMedium for &'static Double {
    fn read_shared(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        let journal = self.journal();
        let at = place(&journal, offset, buffer.len())?;
        buffer.copy_from_slice(&journal.now[at..at + buffer.len()]);
        Ok(())
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        Ok(Box::new(*self))
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        Ok(self.journal().now.len() as u64)
    }
}
