//! Cuts at any place of a journal, and the checks of a tier after each.

use std::collections::BTreeMap;

use coldpress_std::ColdTier;

use super::journal::{Event, Key, Knowledge, State, key_bytes};
use crate::sim::{Rng, SECTOR_BYTES};

/// The fate of the operations that no sync had covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// None of them happened.
    All,
    /// All of them did.
    None,
    /// All but this one, counted from the last.
    One(usize),
    /// Only this one, counted from the last.
    AllBut(usize),
    /// Each by its own lot: whole, not at all, its first bytes, some of its sectors.
    Random(u64),
}

/// The fate of one operation.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Kept,
    Lost,
    Torn(usize),
    Sectors(u64),
}

impl Fate {
    fn covers(self, in_op: usize) -> bool {
        match self {
            Self::Kept => true,
            Self::Lost => false,
            Self::Torn(bytes) => in_op < bytes,
            Self::Sectors(seed) => Rng::new(seed ^ (in_op / SECTOR_BYTES) as u64).below(2) == 1,
        }
    }
}

impl Loss {
    /// The fate of the operation that is the `back`th from the last.
    fn fate(self, back: usize, len: usize) -> Fate {
        let kept = |is_kept| if is_kept { Fate::Kept } else { Fate::Lost };
        match self {
            Self::All => Fate::Lost,
            Self::None => Fate::Kept,
            Self::One(one) => kept(back != one),
            Self::AllBut(one) => kept(back == one),
            Self::Random(seed) => {
                let mut rng = Rng::new(seed ^ (back as u64) << 32);
                match rng.below(4) {
                    0 => Fate::Lost,
                    1 => Fate::Torn(rng.index(len.max(1))),
                    2 => Fate::Sectors(rng.next_u64()),
                    _ => Fate::Kept,
                }
            }
        }
    }
}

/// A journal that is replayed from its beginning.
#[derive(Debug)]
pub struct Replay {
    /// The bytes that no cut can take.
    base: Vec<u8>,
    knowledge: Knowledge,
    events: Vec<Event>,
    /// Events passed.
    at: usize,
    /// Those of them that changed the medium and that no sync has covered.
    unsynced: Vec<usize>,
}

impl Replay {
    pub(super) const fn new(base: Vec<u8>, knowledge: Knowledge, events: Vec<Event>) -> Self {
        Self { base, knowledge, events, at: 0, unsynced: Vec::new() }
    }

    /// The event that comes next.
    #[must_use]
    pub fn next(&self) -> Option<&Event> {
        self.events.get(self.at)
    }

    /// How many events there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Operations that a cut here may take.
    #[must_use]
    pub const fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The clients' knowledge here.
    #[must_use]
    pub const fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// Passes one event.
    pub fn step(&mut self) {
        let Some(event) = self.events.get(self.at) else { return };
        self.knowledge.learn(self.at, event);
        match *event {
            Event::Wrote { .. } | Event::Erased { .. } => self.unsynced.push(self.at),
            Event::Synced { from } => {
                let firm = self.unsynced.partition_point(|op| *op < from);
                for op in self.unsynced.drain(..firm) {
                    apply(&mut self.base, &self.events[op], |_| Fate::Kept);
                }
            }
            _ => {}
        }
        self.at += 1;
    }

    /// The medium after a cut here.
    #[must_use]
    pub fn cut(&self, loss: Loss) -> Vec<u8> {
        let mut image = self.base.clone();
        for (nth, op) in self.unsynced.iter().enumerate() {
            let back = self.unsynced.len() - 1 - nth;
            apply(&mut image, &self.events[*op], |len| loss.fate(back, len));
        }
        image
    }

    /// Checks what a tier opened after a cut here holds; returns it. Where `may_evict`, a value may be gone.
    ///
    /// # Panics
    /// Naming the key, the value that it reads as, and those that are allowed.
    #[must_use]
    pub fn check(&self, tier: &ColdTier, now_s: u32, may_evict: bool, why: &str) -> BTreeMap<Key, State> {
        let mut found = BTreeMap::new();
        for key in self.knowledge.keys() {
            let bytes = key_bytes(key);
            let value = tier.get(&bytes).unwrap_or_else(|error| panic!("{why}: key {key}: {error}"));
            let allowed = self.knowledge.allowed(key);
            let state = allowed.iter().rev().find(|state| state.value_at(now_s) == value);
            let state = match (state, &value) {
                (Some(state), Some(_)) => *state,
                (Some(_), None) => State::Absent,
                (None, None) if may_evict => State::Absent,
                _ => panic!(
                    "I-LOG-4/I-LOG-5, {why}: key {key} reads write {:?} at {now_s} s, event {}; allowed {allowed:?}",
                    value
                        .as_ref()
                        .and_then(|value| value.first_chunk())
                        .map(|write| u64::from_le_bytes(*write)),
                    self.at
                ),
            };
            assert_eq!(tier.contains(&bytes), Ok(value.is_some()), "{why}: key {key}");
            found.insert(key, state);
        }
        found
    }
}

fn apply(image: &mut [u8], event: &Event, fate: impl FnOnce(usize) -> Fate) {
    match event {
        Event::Wrote { at, bytes } => {
            let fate = fate(bytes.len());
            let place = image[*at..].iter_mut().zip(bytes).enumerate();
            place.filter(|(nth, _)| fate.covers(*nth)).for_each(|(_, (to, byte))| *to = *byte);
        }
        Event::Erased { at, len } => {
            let fate = fate(*len);
            let place = image[*at..*at + *len].iter_mut().enumerate();
            place.filter(|(nth, _)| fate.covers(*nth)).for_each(|(_, to)| *to = 0);
        }
        _ => {}
    }
}
