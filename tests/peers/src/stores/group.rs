//! Group commit for stores that have none: one client commits for all that wait.
//!
//! It is a few lines that a service would write around such a store, so a store is not slow here for the lack of them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Fault;

/// Collects the writes of clients; the first that finds no commit under way commits them all.
pub(super) struct GroupCommit<T> {
    state: Mutex<Waiting<T>>,
    ended: Condvar,
}

struct Waiting<T> {
    writes: Vec<T>,
    /// Writes handed in so far.
    handed_in: u64,
    /// Writes committed so far.
    committed: u64,
    is_committing: bool,
    has_failed: bool,
}

impl<T> GroupCommit<T> {
    pub(super) const fn new() -> Self {
        let waiting = Waiting {
            writes: Vec::new(),
            handed_in: 0,
            committed: 0,
            is_committing: false,
            has_failed: false,
        };
        Self { state: Mutex::new(waiting), ended: Condvar::new() }
    }

    /// Hands a write in and returns once a commit that began after that has ended.
    ///
    /// # Errors
    /// The failure of a commit, for the client that made it and for all after it.
    pub(super) fn commit(&self, write: T, commit: impl Fn(Vec<T>) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.writes.push(write);
        state.handed_in += 1;
        let ticket = state.handed_in;
        loop {
            if state.has_failed {
                return Err("a commit of the group has failed".into());
            }
            if state.committed >= ticket {
                return Ok(());
            }
            state = if state.is_committing {
                self.ended.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.lead(state, &commit)?
            };
        }
    }

    fn lead<'a>(
        &'a self,
        mut state: MutexGuard<'a, Waiting<T>>,
        commit: impl Fn(Vec<T>) -> Result<(), Fault>,
    ) -> Result<MutexGuard<'a, Waiting<T>>, Fault> {
        let (writes, covered) = (core::mem::take(&mut state.writes), state.handed_in);
        state.is_committing = true;
        drop(state);
        let result = commit(writes);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_committing = false;
        state.committed = covered;
        state.has_failed |= result.is_err();
        self.ended.notify_all();
        result.map(|()| state)
    }
}
