//! Values that are being computed: one caller computes, the others wait for it.

use core::any::Any;
use core::hash::Hash;
use std::collections::HashMap;
use std::thread::{self, ThreadId};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

/// The outcome of a computation, for those who wait for it.
pub(super) enum Computed<V> {
    Value(V),
    /// The error of the closure, of the type that the caller who computes chose.
    Failed(Box<dyn Any + Send>),
}

/// A computation: the thread that computes, and the callers that wait for it.
struct FlightUnderWay<V> {
    computes: ThreadId,
    waiting: Vec<Sender<Computed<V>>>,
}

/// The computations under way. A caller that gives up leaves its channel behind, until the
/// computation ends.
pub(super) struct Flights<K, V> {
    under_way: Mutex<HashMap<K, FlightUnderWay<V>>>,
}

/// The part of a caller in a computation.
pub(super) enum FlightPart<V> {
    /// It computes, and ends the flight.
    Computes,
    /// It waits. The channel is disconnected where the computation panicked.
    Waits(Receiver<Computed<V>>),
    /// It is called by the closure that computes the key, so it would wait for itself.
    Recursive,
}

impl<K: Hash + Eq + Clone, V> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self { under_way: Mutex::new(HashMap::new()) }
    }

    /// Joins the computation of a key, or begins it.
    pub(super) fn join(&self, key: &K) -> FlightPart<V> {
        let mut under_way = self.under_way.lock();
        let here = thread::current().id();
        match under_way.get_mut(key) {
            Some(flight) if flight.computes == here => FlightPart::Recursive,
            Some(flight) => {
                let (sender, receiver) = bounded(1);
                flight.waiting.push(sender);
                FlightPart::Waits(receiver)
            }
            None => {
                under_way.insert(key.clone(), FlightUnderWay { computes: here, waiting: Vec::new() });
                FlightPart::Computes
            }
        }
    }

    /// Ends the computation of a key; returns the channels to those who wait. To drop a channel without a value tells its receiver that
    /// the computation panicked.
    pub(super) fn end(&self, key: &K) -> Vec<Sender<Computed<V>>> {
        self.under_way.lock().remove(key).map(|flight| flight.waiting).unwrap_or_default()
    }
}
