//! An adapter in memory: a small host of a machine that keeps every obligation.
//!
//! It was written from [the page about adapters](coldpress_core::machine::writing_an_adapter). One thread calls it.

use core::error::Error;
use std::collections::{BTreeSet, HashMap};

use coldpress_core::codec::CodecId;
use coldpress_core::config::TierConfig;
use coldpress_core::drive::{Input, Now};
use coldpress_core::format::{KeyHash, Kind, Location, Sequence, Store, Version, key_hash, read_record};
use coldpress_core::index::{
    Advice, Codecs, Dropped, Due, Index, KeyEntry, Liveness, Look, Placed, Published, Reconciled, Released,
    Settled,
};
use coldpress_core::machine::{Driven, Driver, Status, Tier};
use coldpress_core::writer::{AppendError, Fresh};

use crate::bytes::{Buffers, Bytes};

/// Polls after which a call gives up: within the capacity the machine frees space in far fewer.
const POLLS_MAX: u32 = 1 << 20;

/// A record that was appended, and is not published yet: its version, and its value unless it is a tombstone.
type Unpublished = (Version, Option<Vec<u8>>);

/// The index: the entry of each key, and pending records.
#[derive(Default)]
struct Keys {
    store: Option<Store>,
    entries: HashMap<KeyHash, KeyEntry>,
    unpublished: HashMap<KeyHash, Unpublished>,
    /// Keys by the second in which a record of theirs expires.
    due: BTreeSet<(u32, KeyHash)>,
    /// Keys that may have a tombstone that nothing needs.
    tombstones: Vec<KeyHash>,
    is_withheld: bool,
}

impl Keys {
    fn place(&mut self, hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Published {
        self.due.extend(placed.expires_s.map(|at| (at, *hash)));
        if placed.kind == Kind::Tombstone {
            self.tombstones.push(*hash);
        }
        let Some(entry) = self.entries.get_mut(hash) else {
            self.entries.insert(*hash, KeyEntry::new(*placed, is_sealed));
            return Published::Live(None);
        };
        entry.place(placed, is_sealed)
    }

    fn let_go(&mut self, hash: &KeyHash) -> Option<Released> {
        self.entries.get_mut(hash)?.let_go(self.is_withheld)
    }
}

impl Index for Keys {
    fn withhold(&mut self, above: Option<Sequence>) {
        self.is_withheld = above.is_some();
        self.tombstones = self.entries.keys().copied().collect();
    }

    fn identify(&mut self, store: &Store) {
        self.store = Some(*store);
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        self.store.as_ref().map_or_else(KeyHash::default, |store| key_hash(&store.hash_key, key))
    }

    fn liveness(&self, hash: &KeyHash, at: Location) -> Liveness {
        let is_live = self.entries.get(hash).is_some_and(|entry| entry.is_live_at(at));
        if is_live { Liveness::Live } else { Liveness::Stale }
    }

    fn publish(&mut self, hash: &KeyHash, placed: &Placed) -> Published {
        if let Some(from) = placed.relocated_from {
            return self.entries.get_mut(hash).map_or(Published::Stale, |entry| entry.relocate(placed, from));
        }
        if self.unpublished.get(hash).is_some_and(|(version, _)| *version == placed.version) {
            self.unpublished.remove(hash);
        }
        let published = self.place(hash, placed, false);
        if self.let_go(hash).is_some() { Published::Stale } else { published }
    }

    // Memory takes every write; on a medium that fails one its record is appended again, too.
    fn unwritten(&mut self, hash: &KeyHash, placed: &Placed) {
        let stray = KeyEntry::stray(*placed);
        self.entries.entry(*hash).and_modify(KeyEntry::note_stray).or_insert(stray);
    }

    fn drop_current(&mut self, hash: &KeyHash, at: Location) -> Dropped {
        let is_withheld = self.is_withheld;
        self.entries.get_mut(hash).map_or(Dropped::NotCurrent, |entry| entry.drop_at(at, is_withheld))
    }

    fn copy_erased(&mut self, hash: &KeyHash) -> Option<Released> {
        let entry = self.entries.get_mut(hash)?;
        let released = entry.note_erased(self.is_withheld);
        if entry.copies() == 0 {
            self.entries.remove(hash);
        }
        released
    }

    fn recovered(&mut self, hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Published {
        self.place(hash, placed, is_sealed)
    }

    fn settle(&mut self) -> Settled {
        let Some(hash) = self.tombstones.pop() else { return Settled::End };
        self.let_go(&hash).map_or(Settled::More, Settled::Released)
    }

    fn due(&mut self, now_s: u32) -> Look {
        let Some((at, hash)) = self.due.pop_first() else { return Look::End };
        if at > now_s {
            self.due.insert((at, hash));
            return Look::End;
        }
        let live = self.entries.get(&hash).and_then(KeyEntry::live).filter(|live| live.expires_s == Some(at));
        let Some(&Placed { location, record_bytes, version, .. }) = live else { return Look::More };
        Look::Due(Due { hash, location, record_bytes, version: Some(version), is_idle: false })
    }

    fn reconcile(&mut self, hash: &KeyHash, placed: &Placed) -> Reconciled {
        let is_known = self.entries.get(hash).is_some_and(|entry| entry.is_as_new(placed));
        if is_known { Reconciled::Known } else { Reconciled::Placed(self.place(hash, placed, true)) }
    }

    // A get reads the record itself, and finds the damage.
    fn damaged(&mut self, _: &KeyHash, _: Location) {}
}

impl Codecs for Keys {}

impl Advice for Keys {}

/// A tier in memory.
pub struct InMemoryTier<'m> {
    /// The machine, for calls that need no adapter: tasks, reports, counters.
    pub machine: Tier<'m>,
    /// The time that the next call goes by.
    pub now: Now,
    /// The state that a cut would leave.
    pub medium: Bytes,
    driver: Driver,
    keys: Keys,
    config: TierConfig,
}

impl<'m> InMemoryTier<'m> {
    /// Mounts a medium: blank bytes, or those that a tier left.
    ///
    /// # Errors
    /// The error of the configuration, or of the mount.
    pub fn open(
        config: TierConfig,
        buffers: &'m mut Buffers,
        medium: Bytes,
        now: Now,
    ) -> Result<Self, Box<dyn Error>> {
        let (memory, tasks) = buffers.lend();
        let (machine, keys) = (Tier::new(config, memory, tasks)?, Keys::default());
        let mut tier = Self { machine, now, keys, medium, driver: Driver::new(), config };
        tier.drive(POLLS_MAX);
        if let Status::Failed(error) = tier.machine.status() { Err(error.into()) } else { Ok(tier) }
    }

    /// Drives the machine until it is idle, or so many polls are made.
    pub fn drive(&mut self, mut polls: u32) {
        while let Driven::Cleanup(request) =
            self.driver.drive(&mut self.machine, self.now, &mut self.keys, &mut self.medium, polls)
        {
            // There are no pools here.
            let _ = self.machine.handle(self.now, Input::CleanupUnavailable(request.ticket), &mut self.keys);
            polls /= 2;
        }
    }

    /// Puts a value, or removes the key where there is none; durable once [`sync`](Self::sync) returned.
    ///
    /// # Errors
    /// An [`AppendError`]: nothing changed.
    pub fn set(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        expires_s: Option<u32>,
    ) -> Result<(), Box<dyn Error>> {
        let hash = self.keys.hash(key);
        let Keys { entries, unpublished, .. } = &self.keys;
        if value.is_none() && !entries.contains_key(&hash) && !unpublished.contains_key(&hash) {
            return Ok(());
        }
        // A tombstone names its key by the hash, and has no value.
        let payload = value.map_or_else(|| hash.0.to_vec(), |value| [key, value].concat());
        let key_bytes = u32::try_from(if value.is_some() { key.len() } else { hash.0.len() })?;
        let (kind, replaces) = (if value.is_some() { Kind::Value } else { Kind::Tombstone }, None);
        let (checksum, codec, payload) = (self.machine.seed().payload(&payload), CodecId::Raw, &payload);
        for _ in 0..POLLS_MAX {
            let written = self.keys.entries.get(&hash).map(|entry| entry.newest().version);
            let after = written.max(self.keys.unpublished.get(&hash).map(|(version, _)| *version));
            let fresh = Fresh { hash, kind, codec, key_bytes, payload, checksum, expires_s, after, replaces };
            match self.machine.append(self.now, &fresh) {
                Ok(at) => {
                    self.keys.unpublished.insert(hash, (at.version(), value.map(<[u8]>::to_vec)));
                    self.drive(1);
                    return Ok(());
                }
                Err(AppendError::Busy) => self.drive(1),
                Err(error) => return Err(error.into()),
            }
        }
        Err(AppendError::Busy.into())
    }

    /// Gets the value of a key that has one, and has not expired.
    ///
    /// # Errors
    /// The error of the medium, or of a damaged record.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
        let (hash, now_s) = (self.keys.hash(key), self.machine.observe(self.now));
        if let Some((_, value)) = self.keys.unpublished.get(&hash) {
            return Ok(value.clone());
        }
        let Some(placed) = self.keys.entries.get(&hash).and_then(KeyEntry::live) else { return Ok(None) };
        if placed.kind == Kind::Tombstone || placed.expires_s.is_some_and(|at| at <= now_s) {
            return Ok(None);
        }
        let geometry = &self.config.geometry;
        let place = placed.location;
        let at =
            u64::from(place.segment.get()) * u64::from(geometry.segment_bytes()) + u64::from(place.offset);
        let bytes = self.medium.range(at, placed.record_bytes as usize)?;
        let record = read_record(geometry, self.machine.seed(), place, bytes)?;
        Ok((record.key == key).then(|| record.value.to_vec()))
    }

    /// Makes everything durable that was put and removed.
    pub fn sync(&mut self) {
        self.machine.sync();
        self.drive(POLLS_MAX);
    }
}

#[cfg(test)]
mod tests;
