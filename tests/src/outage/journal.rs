//! The events of a history in one order, and their effect on each key.

use std::collections::BTreeMap;

use crate::sim::mixed;

/// A key, by number.
pub type Key = u32;

/// The state in which a write leaves its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing: never written, removed or dropped.
    Absent,
    /// The value of a put.
    Value(Put),
}

/// A put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// Its number, from which its value follows.
    pub write: u64,
    /// When it expires, in seconds of the wall clock.
    pub until_s: Option<u32>,
}

/// One event.
#[derive(Debug, Clone)]
pub enum Event {
    /// Bytes were written.
    Wrote {
        /// Where.
        at: usize,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A range was erased.
    Erased {
        /// Where it begins.
        at: usize,
        /// Its length.
        len: usize,
    },
    /// A sync ended: everything before `from` is durable.
    Synced {
        /// The number of events when it began.
        from: usize,
    },
    /// A client began to write.
    Began {
        /// Which key.
        key: Key,
        /// The number of the write.
        write: u64,
        /// The state of the key once the write is done.
        state: State,
    },
    /// A write was acknowledged, as durable or not.
    Acknowledged {
        /// Which key.
        key: Key,
        /// The number of the write.
        write: u64,
        /// Whether it was acknowledged as being on the medium.
        is_synced: bool,
    },
    /// A flush ended: all writes acknowledged before `from` are durable.
    Flushed {
        /// The number of events when it began.
        from: usize,
    },
    /// The clock was set.
    Clock(u32),
}

/// A write that may be lost.
#[derive(Debug, Clone, Copy)]
struct Later {
    write: u64,
    state: State,
    /// The event by which it was acknowledged.
    acknowledged: Option<usize>,
}

#[derive(Debug, Clone)]
struct Known {
    floor: State,
    later: Vec<Later>,
}

/// The clients' knowledge at one moment.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    keys: BTreeMap<Key, Known>,
    /// The wall clock, in seconds.
    pub now_s: u32,
}

impl Knowledge {
    /// The content that a mount found, which is durable.
    #[must_use]
    pub fn of(found: &BTreeMap<Key, State>, now_s: u32) -> Self {
        let known = |state: &State| Known { floor: *state, later: Vec::new() };
        Self { keys: found.iter().map(|(key, state)| (*key, known(state))).collect(), now_s }
    }

    /// Learns from an event, whose number is `at`.
    pub fn learn(&mut self, at: usize, event: &Event) {
        match *event {
            Event::Began { key, write, state } => {
                let known = self.keys.entry(key).or_insert(Known { floor: State::Absent, later: Vec::new() });
                known.later.push(Later { write, state, acknowledged: None });
            }
            Event::Acknowledged { key, write, is_synced } => {
                let Some(known) = self.keys.get_mut(&key) else { return };
                let place = known.later.iter().position(|later| later.write == write);
                let Some(place) = place else { return };
                known.later[place].acknowledged = Some(at);
                if is_synced {
                    known.settle(place);
                }
            }
            Event::Flushed { from } => self.keys.values_mut().for_each(|known| {
                let is_covered = |later: &Later| later.acknowledged.is_some_and(|at| at < from);
                if let Some(place) = known.later.iter().rposition(is_covered) {
                    known.settle(place);
                }
            }),
            Event::Clock(now_s) => self.now_s = now_s,
            Event::Wrote { .. } | Event::Erased { .. } | Event::Synced { .. } => {}
        }
    }

    /// The keys ever written.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.keys.keys().copied()
    }

    /// Everything that a cut may leave of a key: the newest write that was acknowledged as durable, and each one begun since.
    #[must_use]
    pub fn allowed(&self, key: Key) -> Vec<State> {
        let Some(known) = self.keys.get(&key) else { return vec![State::Absent] };
        core::iter::once(known.floor).chain(known.later.iter().map(|later| later.state)).collect()
    }
}

impl Known {
    fn settle(&mut self, place: usize) {
        self.floor = self.later[place].state;
        self.later.drain(..=place);
    }
}

impl State {
    /// The value that a reader finds of it at a time.
    #[must_use]
    pub fn value_at(&self, now_s: u32) -> Option<Vec<u8>> {
        match self {
            Self::Value(put) if put.until_s.is_none_or(|until_s| now_s < until_s) => {
                Some(value_bytes(put.write))
            }
            _ => None,
        }
    }
}

/// The bytes of a key.
#[must_use]
pub fn key_bytes(key: Key) -> Vec<u8> {
    format!("key {key}").into_bytes()
}

/// The bit of a write's number that makes long values frequent.
pub const OFTEN_LONG: u64 = 1 << 63;

/// The value of a write: its number, then bytes that follow from it. One in twelve takes several records, whatever the codec; one in
/// three where the number has [`OFTEN_LONG`].
#[must_use]
pub fn value_bytes(write: u64) -> Vec<u8> {
    let one_in = if write & OFTEN_LONG == 0 { 12 } else { 3 };
    if mixed(write ^ 0x10E6).is_multiple_of(one_in) {
        let words = (0..600 + mixed(write) % 400).flat_map(|at| mixed(write ^ at << 32).to_le_bytes());
        return write.to_le_bytes().into_iter().chain(words).collect();
    }
    let len = mixed(write) % 1_500;
    let words = (0..len / 8).flat_map(|at| mixed(write ^ (at / 4)).to_le_bytes());
    write.to_le_bytes().into_iter().chain(words).collect()
}
