//! Values that are being computed: one caller computes, the others wait for it.

use core::any::Any;
use core::hash::Hash;
use std::collections::HashMap;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

/// The outcome of a computation, for those who wait for it.
pub(super) enum Computed<V> {
    Value(V),
    /// The error of the closure, of the type that the caller who computes chose.
    Failed(Box<dyn Any + Send>),
}

/// The computations under way, each with the callers that wait for it. A caller that gives up leaves its channel behind, until the
/// computation ends.
pub(super) struct Flights<K, V> {
    waiting: Mutex<HashMap<K, Vec<Sender<Computed<V>>>>>,
}

/// The part of a caller in a computation.
pub(super) enum FlightPart<V> {
    /// It computes, and ends the flight.
    Computes,
    /// It waits. The channel is disconnected where the computation panicked.
    Waits(Receiver<Computed<V>>),
}

impl<K: Hash + Eq + Clone, V> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::new(HashMap::new()) }
    }

    /// Joins the computation of a key, or begins it.
    pub(super) fn join(&self, key: &K) -> FlightPart<V> {
        let mut waiting = self.waiting.lock();
        match waiting.get_mut(key) {
            Some(waiters) => {
                let (sender, receiver) = bounded(1);
                waiters.push(sender);
                FlightPart::Waits(receiver)
            }
            None => {
                waiting.insert(key.clone(), Vec::new());
                FlightPart::Computes
            }
        }
    }

    /// Ends the computation of a key; returns the channels to those who wait. To drop a channel without a value tells its receiver that
    /// the computation panicked.
    pub(super) fn end(&self, key: &K) -> Vec<Sender<Computed<V>>> {
        self.waiting.lock().remove(key).unwrap_or_default()
    }
}
