//! The clients of a world: they put, remove, wait for durability and run tasks.

use coldpress_core::compaction::{CompactionTask, Report, TaskId};
use coldpress_core::format::{Identity, Kind, RecordHeader, Sequence, Version};
use coldpress_core::writer::{AppendError, Fresh};

use super::host::version_of;
use super::oracle::{Key, What, payload};
use super::runs;
use super::world::{POLLS_MAX, Queued, World};

impl World<'_> {
    /// Offers the records that were handed back; returns whether any was taken.
    pub(super) fn pump(&mut self) -> bool {
        let Some(&queued) = self.queue.front() else { return false };
        if !self.lasting.oracle.is_newest(queued.key, queued.write, self.offering) {
            self.queue.pop_front();
            return true;
        }
        match self.offer(queued) {
            Ok(()) => {
                self.queue.pop_front();
                // The record has a new position, for which its clients wait from here on.
                if self.wants_sync {
                    self.tier.sync();
                }
                true
            }
            Err(AppendError::Busy) => false,
            Err(error) => panic!("I-GC-2: a record that was taken once is refused: {error}"),
        }
    }

    fn offer(&mut self, queued: Queued) -> Result<(), AppendError> {
        let Queued { key, write } = queued;
        let what = self.lasting.oracle.what(key, write);
        let hash = self.hash(key);
        let pending = self.in_flight.keys().filter(|at| at.0 == hash);
        let after = pending
            .map(|at| Version { sequence: Sequence::new(at.1), offset: at.2 })
            .chain(version_of(&self.host, &hash))
            .max();
        let value = what.content();
        let mut out = vec![0; value.as_ref().map_or(0, Vec::len)];
        let (kind, codec, stored) = match &value {
            None => (Kind::Tombstone, runs::RAW, &[][..]),
            Some(value) if self.host.codec() == runs::RUNS => match runs::encode(value, &mut out) {
                Some(len) => (Kind::Value, runs::RUNS, &out[..len]),
                None => (Kind::Value, runs::RAW, &value[..]),
            },
            Some(value) => (Kind::Value, runs::RAW, &value[..]),
        };
        let is_hashed = self.config.geometry.identity() == Identity::KeyedHash;
        let seed = self.config.store.seed(&self.config.geometry);
        let (bytes, checksum) = match kind {
            Kind::Tombstone if is_hashed => (hash.0.to_vec(), seed.payload(&hash.0)),
            _ => payload(seed, key, stored),
        };
        let key_len = bytes.len() - stored.len();
        let expires_s = match what {
            What::Value { expires_s, .. } => expires_s,
            What::Absent => None,
        };
        let fresh = Fresh {
            hash,
            kind,
            codec,
            key_bytes: u32::try_from(key_len).unwrap_or(u32::MAX),
            payload: &bytes,
            checksum,
            expires_s,
            after,
            replaces: self.host.entry(&hash).map(|entry| entry.newest.placed.location.segment),
        };
        let at = self.tier.append(self.lasting.now, &fresh)?;
        if let Some(after) = after {
            assert!(at.version() > after, "rule 7: the version {:?} is not above {after:?}", at.version());
        }
        self.lasting.oracle.appended(key, write, self.tier.appended());
        self.lasting.versions.appended(hash, at.version(), write);
        self.stamps.push_back((self.tier.appended(), self.tier.clock_s(), self.tier.counters().failures));
        let header = RecordHeader {
            kind,
            codec,
            key_bytes: fresh.key_bytes,
            value_bytes: u32::try_from(stored.len()).unwrap_or(u32::MAX),
            expires_s,
            origin: None,
        };
        self.audit.took(header.record_bytes(&self.config.geometry));
        self.in_flight.insert((hash, at.sequence.get(), at.offset), queued);
        Ok(())
    }

    /// Writes, stepping until the machine takes it.
    ///
    /// # Errors
    /// The final error of the machine; then the write never happened.
    pub fn write(&mut self, key: Key, what: What) -> Result<u64, AppendError> {
        let write = self.lasting.oracle.accept(key, what);
        self.offering = Some(write);
        let taken = self.offer_until_taken(Queued { key, write });
        self.offering = None;
        if taken.is_err() {
            self.lasting.oracle.reject(key, write);
        }
        taken.map(|()| write)
    }

    fn offer_until_taken(&mut self, queued: Queued) -> Result<(), AppendError> {
        let polls = self.polls;
        let mut was_idle = false;
        loop {
            while self.pump() {}
            match self.offer(queued) {
                Err(AppendError::Busy) => {}
                taken => return taken,
            }
            assert!(self.polls - polls < POLLS_MAX, "I-GC-2: an append that stays busy\n{}", self.sketch());
            // The machine may have become ready by its last step, and the offer may have given it the request.
            if self.step() {
                was_idle = false;
            } else if was_idle && self.tier.needs_remount() {
                return Err(AppendError::Busy);
            } else if was_idle {
                self.pass_time("an append that stays busy");
                was_idle = false;
            } else {
                was_idle = true;
            }
        }
    }

    /// Puts a value of a length.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn put(&mut self, key: Key, len: u32, ttl_s: Option<u32>) -> Result<u64, AppendError> {
        let write = self.lasting.oracle.next_write();
        let clock_s = self.observe();
        let expires_s = ttl_s.map(|ttl| clock_s + ttl);
        self.write(key, What::Value { write, len, expires_s })
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn remove(&mut self, key: Key) -> Result<u64, AppendError> {
        self.write(key, What::Absent)
    }

    /// Makes everything written so far durable.
    pub fn sync(&mut self) {
        self.wants_sync = true;
        self.tier.sync();
        self.until("sync", |world| {
            let is_written = world.queue.is_empty() && world.in_flight.is_empty();
            is_written && world.tier.durable() >= world.tier.appended() || world.tier.needs_remount()
        });
        self.wants_sync = false;
    }

    /// Queues a task; returns whether the queue took it.
    pub fn schedule(&mut self, task: CompactionTask) -> bool {
        self.schedule_task(task).is_some()
    }

    /// Queues a task; returns its id, or `None` where the queue was full.
    pub fn schedule_task(&mut self, task: CompactionTask) -> Option<TaskId> {
        let id = self.tier.schedule(task).ok()?;
        self.audit.scheduled(id, task);
        Some(id)
    }

    /// Ends the running task.
    pub fn cancel(&mut self) {
        self.audit.cancelled(&self.tier);
        self.tier.cancel();
    }

    /// Runs a task to its end; returns its report.
    pub fn run(&mut self, task: CompactionTask) -> Report {
        while !self.schedule(task) {
            let before = self.reports.len();
            self.until("a place for a task", |world| world.reports.len() > before);
        }
        let before = self.reports.len();
        self.until("task", |world| world.reports.len() > before && !world.tier.is_compacting());
        self.reports[self.reports.len() - 1]
    }
}
