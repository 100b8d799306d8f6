//! Records that a mount could not find and that come back: a second look at their segment finds them.
//!
//! Such a record is right where it is newer than the content of its key meanwhile, and where nothing was written since: the
//! newest durable write, or a later one. The model distinguishes writes by the versions of their records. So a removed key that
//! comes back differs from one whose removal a cut took.

use std::collections::BTreeMap;

use coldpress_core::format::{KeyHash, Version};

use super::check::Seen;
use super::oracle::{Key, What};
use super::world::World;

/// The write that the record of each version holds, or kills.
#[derive(Debug, Clone, Default, Hash)]
pub struct Versions(BTreeMap<(KeyHash, Version), u64>);

impl Versions {
    /// Notes that a write was appended.
    pub(super) fn appended(&mut self, hash: KeyHash, version: Version, write: u64) {
        self.0.insert((hash, version), write);
    }

    /// Notes that a record was relocated and has another version there.
    pub(super) fn renewed(&mut self, hash: KeyHash, from: Version, to: Version) {
        if let Some(write) = self.0.get(&(hash, from)).copied() {
            self.0.insert((hash, to), write);
        }
    }

    /// The write of a version; 0 for none that a client made.
    pub(super) fn write(&self, hash: KeyHash, version: Version) -> u64 {
        self.0.get(&(hash, version)).copied().unwrap_or(0)
    }
}

impl World<'_> {
    /// The write that the newest record of a key in the index holds, or kills; 0 where there is none.
    pub(super) fn write_of(&self, key: Key) -> u64 {
        let hash = self.hash(key);
        let entry = self.host.entry(&hash);
        entry.map_or(0, |entry| self.lasting.versions.write(hash, entry.newest.placed.version))
    }

    /// The write, of those that may come back, that a mount found of a key.
    pub(super) fn returned(&self, key: Key, seen: &Seen) -> Option<What> {
        let hidden = self.lasting.oracle.hidden(key, self.write_of(key))?;
        match seen {
            Seen::Value(bytes) => hidden.content().is_some_and(|content| content == *bytes).then_some(hidden),
            // The value may have been dropped as expired.
            Seen::Absent => hidden.is_absent_at(self.lasting.newest_s).then_some(What::Absent),
            Seen::Damaged => None,
        }
    }

    /// Notes that the index learned late of a record.
    pub(super) fn rescued(&mut self, hash: KeyHash, version: Version) {
        let write = self.lasting.versions.write(hash, version);
        if let Some(key) = self.key_of(&hash) {
            self.lasting.oracle.rescued(key, write);
        }
    }
}

impl World<'_> {
    /// Notes the segments that a mount could not read.
    pub(super) fn begin_blind(&mut self) {
        let Some(outage) = &self.lasting.medium.faults.outage else { return };
        let segments = (0u32..).zip(self.tier.segments());
        let unread = segments.filter(|(at, segment)| outage.segments.contains(at) && segment.is_unread());
        self.blind = unread.map(|(at, _)| at).collect();
    }

    /// Segments that can't be read yet, and are given up: only a device does that by itself.
    pub(super) fn look_for_given_up(&mut self) {
        let segments = self.tier.segments();
        let given_up = self.blind.iter().copied().filter(|at| !segments[*at as usize].is_unread());
        for segment in given_up.collect::<Vec<_>>() {
            assert!(
                !self.config.trusts_blank,
                "a service gave up segment {segment}, which it could not read\n{}",
                self.sketch()
            );
            self.blind.remove(&segment);
            self.lasting.give_up(&self.config, segment);
        }
    }
}
