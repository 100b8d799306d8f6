//! The knowledge of a tier's clients: their writes, those acknowledged as synced, and so the states that a cut may leave.

use std::collections::BTreeMap;

use coldpress_core::format::{Checksum, Seed};

use super::rng::{Rng, mixed};

/// A key, by number.
pub type Key = u16;

/// The bytes of a key.
#[must_use]
pub fn key_bytes(key: Key) -> [u8; 4] {
    let [low, high] = key.to_le_bytes();
    [b'k', low, high, b'.']
}

/// The content of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Nothing.
    Absent,
    /// A value.
    Value {
        /// The number of the write, from which its content follows.
        write: u64,
        /// Its length.
        len: u32,
        /// When it expires.
        expires_s: Option<u32>,
    },
}

impl What {
    /// The bytes of the value; runs in it make it compressible.
    #[must_use]
    pub fn content(&self) -> Option<Vec<u8>> {
        let Self::Value { write, len, .. } = *self else { return None };
        let mut rng = Rng::new(mixed(write) ^ u64::from(len));
        let mut out = write.to_le_bytes()[..4].to_vec();
        while out.len() < len as usize {
            let [byte, run, ..] = rng.next_u64().to_le_bytes();
            out.extend(core::iter::repeat_n(byte, 1 + usize::from(run % 16)));
        }
        out.truncate(len as usize);
        Some(out)
    }

    /// Whether a reader finds nothing at this time.
    #[must_use]
    pub const fn is_absent_at(&self, now_s: u32) -> bool {
        match self {
            Self::Absent => true,
            Self::Value { expires_s: Some(at), .. } => *at <= now_s,
            Self::Value { expires_s: None, .. } => false,
        }
    }
}

/// A write that is not known to be durable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Later {
    write: u64,
    what: What,
    /// The write whose record has it: another one where a mount found it, or where a value was evicted.
    of: u64,
    /// Where it ends in the order of appends.
    position: Option<u64>,
    was_appended: bool,
}

/// The knowledge of one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Known {
    /// The newest write that is durable.
    floor: What,
    /// The number of that write; 0 where no record has it.
    floor_of: u64,
    /// Newer ones, oldest first.
    later: Vec<Later>,
    /// The newest write that the tier was allowed to drop: its tombstone may be on the medium without a report.
    evictable: Option<u64>,
    /// Whether its newest durable record was damaged: the key may read as damaged, or as its older content.
    ///
    /// The number of the last write of any key by then.
    spoilt: Option<u64>,
    /// Whether any older content may come back: the record that ended it was damaged.
    is_haunted: bool,
    /// Writes, oldest first, that a mount could not find and that a second look may: the newest durable one, and later ones.
    hidden: Vec<(u64, What)>,
    /// Writes with a damaged record, or one in a damaged part. If the record of a later write is damaged, too, it may leave no
    /// trace, and an older one may come back.
    harmed: Vec<(u64, What)>,
    /// The content before one of them came back: a mount may find it again until the returned one is written elsewhere.
    before: Vec<(u64, What)>,
}

impl Known {
    const fn new(floor: What) -> Self {
        Self {
            floor,
            floor_of: 0,
            later: Vec::new(),
            evictable: None,
            spoilt: None,
            is_haunted: false,
            hidden: Vec::new(),
            harmed: Vec::new(),
            before: Vec::new(),
        }
    }
}

impl Known {
    /// The newest durable write and later ones.
    fn durable_or_later(&self) -> impl Iterator<Item = (u64, What)> {
        let later = self.later.iter().filter(|later| later.was_appended).map(|later| (later.of, later.what));
        core::iter::once((self.floor_of, self.floor)).chain(later)
    }

    /// The writes that may still come back after a mount found the record of one: those that it could not find before and,
    /// where records were damaged, the newest durable write and later ones.
    fn unfound(&self, of: u64) -> Vec<(u64, What)> {
        let mut hidden = self.hidden.clone();
        if self.spoilt.is_some() || self.is_haunted || !self.before.is_empty() {
            hidden.extend(self.durable_or_later().chain(self.harmed.iter().copied()));
        }
        hidden.retain(|hidden| hidden.0 > of);
        hidden.sort_unstable_by_key(|hidden| hidden.0);
        hidden.dedup_by_key(|hidden| hidden.0);
        hidden
    }
}

/// The clients' knowledge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Oracle {
    keys: BTreeMap<Key, Known>,
    /// Every write ever accepted, by its number less one: its key and its content.
    written: Vec<(Key, What)>,
}

impl Oracle {
    /// The keys that were ever written.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.keys.keys().copied()
    }

    /// The number of the next write.
    #[must_use]
    pub const fn next_write(&self) -> u64 {
        self.written.len() as u64 + 1
    }

    /// The content that a reader of the running tier must find.
    #[must_use]
    pub fn current(&self, key: Key) -> What {
        self.keys
            .get(&key)
            .map_or(What::Absent, |known| known.later.last().map_or(known.floor, |later| later.what))
    }

    /// Everything that a cut may leave of a key: the newest durable write and every newer one that was appended.
    #[must_use]
    pub fn allowed(&self, key: Key) -> Vec<What> {
        let Some(known) = self.keys.get(&key) else { return vec![What::Absent] };
        let later = known.later.iter().filter(|later| later.was_appended).map(|later| later.what);
        let evicted = known.evictable.map(|_| What::Absent);
        evicted.into_iter().chain([known.floor]).chain(later).collect()
    }

    /// Whether the newest write of a key is durable.
    #[must_use]
    pub fn is_durable(&self, key: Key) -> bool {
        self.keys.get(&key).is_none_or(|known| known.later.is_empty())
    }

    /// Notes a client's write; returns its number.
    pub fn accept(&mut self, key: Key, what: What) -> u64 {
        self.written.push((key, what));
        let write = self.written.len() as u64;
        let known = self.keys.entry(key).or_insert(Known::new(What::Absent));
        known.later.push(Later { write, what, of: write, position: None, was_appended: false });
        write
    }

    /// Notes that a write was given back: it never happened.
    pub fn reject(&mut self, key: Key, write: u64) {
        if let Some(known) = self.keys.get_mut(&key) {
            known.later.retain(|later| later.write != write);
        }
    }

    /// Whether a write is the newest of its key, but for one that may still be refused.
    #[must_use]
    pub fn is_newest(&self, key: Key, write: u64, offered: Option<u64>) -> bool {
        let taken = |known: &'_ Known| {
            known.later.iter().rev().find(|later| Some(later.write) != offered).map(|later| later.write)
        };
        self.keys.get(&key).and_then(taken) == Some(write)
    }

    /// The content of a write.
    #[must_use]
    pub fn what(&self, key: Key, write: u64) -> What {
        let later =
            self.keys.get(&key).and_then(|known| known.later.iter().find(|later| later.write == write));
        later.map_or(What::Absent, |later| later.what)
    }

    fn later(&mut self, key: Key, write: u64) -> Option<&mut Later> {
        self.keys.get_mut(&key)?.later.iter_mut().find(|later| later.write == write)
    }

    /// Notes that a write was appended.
    pub fn appended(&mut self, key: Key, write: u64, position: u64) {
        if let Some(later) = self.later(key, write) {
            later.position = Some(position);
            later.was_appended = true;
        }
    }

    /// Notes that a write was handed back as not written. It may be on the medium all the same.
    pub fn unwritten(&mut self, key: Key, write: u64) {
        if let Some(later) = self.later(key, write) {
            later.position = None;
        }
    }

    /// Forgets positions, since the machine that counted them is gone.
    pub fn void_positions(&mut self) {
        for later in self.keys.values_mut().flat_map(|known| &mut known.later) {
            later.position = None;
        }
    }

    /// Notes that every append up to a position is durable. Returns whether that is news.
    pub fn durable(&mut self, position: u64) -> bool {
        let mut is_news = false;
        for known in self.keys.values_mut() {
            let done = known.later.iter().rposition(|later| later.position.is_some_and(|at| at <= position));
            if let Some(done) = done {
                let Later { write, what, of, .. } = known.later[done];
                (known.floor, known.floor_of) = (what, of);
                known.hidden.retain(|hidden| hidden.0 > of);
                known.before.clear();
                known.evictable = known.evictable.filter(|evictable| *evictable >= write);
                known.later.drain(..=done);
                known.spoilt = known.spoilt.filter(|spoilt| *spoilt >= write);
                is_news = true;
            }
        }
        is_news
    }

    /// Notes that the tier may drop a value.
    pub fn may_evict(&mut self, key: Key) {
        if let Some(known) = self.keys.get_mut(&key) {
            known.evictable = Some(self.written.len() as u64);
        }
    }

    /// Notes that a value was evicted: it reads as absent from now on, and a cut may leave either. A write that is being
    /// `offered` comes after it.
    pub fn evicted(&mut self, key: Key, offered: Option<u64>) {
        // The tombstone ranks as the write that it kills.
        let of = self.keys.get(&key).map_or(0, |known| {
            let before = known.later.iter().rfind(|later| Some(later.write) != offered);
            before.map_or(known.floor_of, |later| later.of)
        });
        self.found(key, What::Absent, of);
        if let Some(known) = self.keys.get_mut(&key)
            && let Some(at) = known.later.iter().position(|later| Some(later.write) == offered)
        {
            let end = known.later.len() - 1;
            known.later.swap(at, end);
        }
    }

    /// Notes the content that a mount found on a medium of which a sync had failed: the key has it now, and durable writes stay
    /// durable. `of` is the write whose record says so.
    pub fn found(&mut self, key: Key, what: What, of: u64) {
        let write = self.accept(key, what);
        self.appended(key, write, u64::MAX);
        if let Some(later) = self.later(key, write) {
            later.of = of;
        }
    }

    /// Notes the content that a mount found: the key has it from now on, and it is durable. `of` is the write whose record says
    /// so.
    pub fn settled(&mut self, key: Key, what: What, of: u64) {
        let known = self.keys.entry(key).or_insert(Known::new(what));
        let hidden = known.unfound(of);
        let harmed = core::mem::take(&mut known.harmed);
        *known = Known { is_haunted: known.is_haunted, floor_of: of, hidden, harmed, ..Known::new(what) };
    }

    /// The content that comes back if a second look finds this write of a key.
    #[must_use]
    pub fn hidden(&self, key: Key, write: u64) -> Option<What> {
        let known = self.keys.get(&key)?;
        known.hidden.iter().find(|hidden| hidden.0 == write && known.floor_of < write).map(|hidden| hidden.1)
    }

    /// Notes that a second look found the record of a write.
    pub fn rescued(&mut self, key: Key, write: u64) {
        let Some(known) = self.keys.get_mut(&key).filter(|known| known.floor_of < write) else { return };
        let Some(hidden) = known.hidden.iter().find(|hidden| hidden.0 == write) else { return };
        known.before.push((known.floor_of, known.floor));
        (known.floor_of, known.floor) = *hidden;
        known.later.retain(|later| later.of > write);
    }

    /// The content of a key before a write came back.
    #[must_use]
    pub fn before(&self, key: Key, of: u64) -> Option<What> {
        let is_it = |before: &&(u64, What)| before.0 == of || of == 0 && before.1 == What::Absent;
        self.keys.get(&key)?.before.iter().find(is_it).map(|before| before.1)
    }

    /// Notes that a mount found the newest durable record of a key damaged: nothing later is there.
    pub fn found_damaged(&mut self, key: Key) {
        let Some(known) = self.keys.get_mut(&key) else { return };
        let (floor, of) = (known.floor, known.floor_of);
        known.hidden = known.unfound(of);
        self.found(key, floor, of);
    }

    /// Notes that the newest durable record of a key was damaged.
    pub fn spoil(&mut self, key: Key) {
        if let Some(known) = self.keys.get_mut(&key) {
            known.spoilt = Some(self.written.len() as u64);
        }
    }

    /// Notes that a record of a write was damaged, or lay in a damaged part: of a value, or of its removal.
    pub fn harm(&mut self, key: Key, write: u64, is_value: bool) {
        let Some((known, written)) = self.keys.get_mut(&key).zip(write.checked_sub(1)) else { return };
        let at = usize::try_from(written).unwrap_or(usize::MAX);
        let what = self.written.get(at).map_or(What::Absent, |(_, what)| *what);
        known.harmed.push((write, if is_value { what } else { What::Absent }));
    }

    /// Whether the newest durable record of a key was damaged, and none that is newer is durable.
    #[must_use]
    pub fn is_spoilt(&self, key: Key) -> bool {
        self.keys.get(&key).is_some_and(|known| known.spoilt.is_some() || known.is_haunted)
    }

    /// Notes that the erase intent of a segment was damaged in which a key may have lain.
    pub fn haunt(&mut self, key: Key) {
        if let Some(known) = self.keys.get_mut(&key) {
            known.is_haunted = true;
        }
    }

    /// The number of the write of a key with this content.
    #[must_use]
    pub fn own(&self, key: Key, content: &[u8]) -> Option<What> {
        let own = self.written.iter().rev().filter(|(of, _)| *of == key).map(|(_, what)| *what);
        own.into_iter().find(|what| what.content().is_some_and(|own| own == content))
    }
}

/// Key and value as a record carries them, and their checksum.
#[must_use]
pub(super) fn payload(seed: Seed, key: Key, value: &[u8]) -> (Vec<u8>, Checksum) {
    let bytes = [&key_bytes(key)[..], value].concat();
    let sum = seed.payload(&bytes);
    (bytes, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(write: u64) -> What {
        What::Value { write, len: 30, expires_s: None }
    }

    #[test]
    fn unsynced_write_is_old_or_new_and_synced_one_is_the_floor() {
        let mut oracle = Oracle::default();
        let first = oracle.accept(1, value(1));
        oracle.appended(1, first, 10);
        let second = oracle.accept(1, value(2));
        assert_eq!(oracle.allowed(1), [What::Absent, value(1)], "the second was not appended yet");
        oracle.appended(1, second, 11);
        assert_eq!(oracle.allowed(1), [What::Absent, value(1), value(2)]);
        assert!(oracle.durable(10));
        assert_eq!(oracle.allowed(1), [value(1), value(2)]);
        oracle.unwritten(1, second);
        assert!(!oracle.durable(11), "it was handed back: the position is void");
        assert_eq!(oracle.current(1), value(2));
    }

    #[test]
    fn content_follows_from_the_write() {
        assert_eq!(value(7).content(), value(7).content());
        assert_ne!(value(7).content(), value(8).content());
        assert_eq!(value(7).content().map(|bytes| bytes.len()), Some(30));
    }
}
