//! Writing a batch: the members one after the other, the last one once all others are durable.
//!
//! ```text
//!  commit_batch ─► keys found ─► space and places for all ─► members ─► last member ─► published ─► time record ─► Ok
//!                      └── known: nothing is read to publish them        └── Busy: the call ends; made again, it goes on
//! ```
//! Until the last member is durable every key has its old value, for reads and for the next mount. Then all are published in one step.
//! Over a medium that reports the end of operations later, and over an async one, the call is known by a hash of its items. Any other
//! write gives up a batch that has not got its last member.

use coldpress_core::codec::CodecId;
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::durability::expiry_s;
use coldpress_core::format::{IdentityHasher, KeyHash, Kind, Sequence};
use coldpress_core::writer::{AppendError, BatchNeed, BatchState, Fresh};

use super::access::Access;
use super::batch::BatchItem;
use super::driving::{Allowance, STEPS_MAX, Step, Work};
use super::index::Match;
use super::lacks::Lack;
use super::pending::Change;
use super::table::State;
use super::tier::FlashTier;
use super::{PutError, Wait};

/// A batch that is being written, until its outcome is returned.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingBatch {
    /// The call.
    call: KeyHash,
    /// The items still to be appended, one bit each.
    items: u32,
    /// The first time at which a member expires.
    expires_s: Option<u32>,
}

/// The demands of a batch, by what its keys have now.
struct BatchPlan {
    /// The items to be written, one bit each: not those that change nothing.
    items: u32,
    need: BatchNeed,
    /// Keys without an entry.
    new_entries: u32,
    /// By how much the number of keys with a value changes.
    values: i64,
    /// Bytes of its records, and of those that they replace.
    charge: u64,
    replaced: u64,
    /// Puts whose value is stored already.
    unchanged: u32,
    /// Whether it replaces a long value, whose pieces are left over then.
    leaves_pieces: bool,
}

impl BatchPlan {
    const NOTHING: Self = Self {
        items: 0,
        need: BatchNeed { records: 0, bytes: 0, after: Sequence::NONE },
        new_entries: 0,
        values: 0,
        charge: 0,
        replaced: 0,
        unchanged: 0,
        leaves_pieces: false,
    };

    /// Adds a record of so many bytes for the item of this number.
    fn add(&mut self, nth: u32, kind: Kind, bytes: u32, found: &Match) {
        self.items |= 1 << nth;
        self.need.records += 1;
        self.need.bytes = self.need.bytes.saturating_add(bytes);
        self.charge += u64::from(bytes);
        let had_value = found.newest.is_some_and(|newest| newest.entry.state == State::Value);
        self.values += i64::from(kind == Kind::Value) - i64::from(had_value);
        let Some(newest) = &found.newest else {
            self.new_entries += 1;
            return;
        };
        self.need.after = self.need.after.max(newest.version.sequence);
        self.leaves_pieces |= newest.codec == CodecId::Chunked;
        if newest.entry.state != State::Dead {
            self.replaced += u64::from(newest.record_bytes);
        }
    }
}

impl<M: Access> FlashTier<'_, M> {
    /// Carries out the items of a batch together.
    pub(super) async fn commit_items(&mut self, now: Now, items: &[BatchItem<'_>]) -> Result<(), PutError> {
        if !self.is_running() {
            return Err(self.refusal());
        }
        self.settle(now);
        if self.is_waiting() {
            return Err(PutError::Busy(Wait::Operation));
        }
        let call = self.batch_call(items);
        let read_before = self.flash.bytes_read;
        let mut work = Work::default();
        let result = if self.goes_on_with(now, call) || self.begin_batch(now, items, call, &mut work).await? {
            self.write_members(now, items, &mut work)
        } else {
            Ok(())
        };
        work.bytes_read = u32::try_from(self.flash.bytes_read - read_before).unwrap_or(u32::MAX);
        self.note(&work);
        result
    }

    /// Whether a call is the one whose batch is under way, or ended and not answered. One with a member whose time is over is written
    /// again, and so is one that a poll gave up.
    fn goes_on_with(&mut self, now: Now, call: KeyHash) -> bool {
        let now_s = self.clock_s(now);
        let state = self.tier.batch();
        self.batch.is_some_and(|batch| {
            let is_over = state == BatchState::Done && batch.expires_s.is_some_and(|at| at <= now_s);
            let is_given_up = state == BatchState::Failed && self.failure.is_none();
            batch.call == call && !is_over && !is_given_up
        })
    }

    /// Ends a batch of another call: it is given up, or brought to its end where it has its last member.
    pub(super) fn end_batch(&mut self, now: Now) -> Result<(), PutError> {
        self.tier.give_up_batch();
        let mut allowance = self.whole_allowance();
        while self.tier.batch() == BatchState::Ending {
            match self.step_batch(now, &mut allowance) {
                Step::Done => {}
                Step::Waiting => return Err(PutError::Busy(Wait::Operation)),
                Step::Idle => return Err(PutError::Busy(Wait::Retry)),
                Step::Spent => return Err(PutError::NeedsCompaction),
            }
        }
        if self.batch.take().is_some() {
            self.index.known.clear();
        }
        Ok(())
    }

    /// Takes a step towards the end of a batch. An operation that was put off waits for that.
    pub(super) fn step_batch(&mut self, now: Now, allowance: &mut Allowance) -> Step {
        let held = self.held.take();
        let step = self.step(now, allowance, &mut Work::default());
        self.held = self.held.or(held);
        step
    }

    /// Forgets a batch of which nothing was appended.
    fn cancel_batch(&mut self) {
        self.tier.give_up_batch();
        self.index.known.clear();
    }

    /// Finds space and places for all members. Returns whether there is anything to write.
    async fn begin_batch(
        &mut self,
        now: Now,
        items: &[BatchItem<'_>],
        call: KeyHash,
        work: &mut Work,
    ) -> Result<bool, PutError> {
        self.end_batch(now)?;
        self.pending = None;
        self.check_items(items)?;
        let mut allowance = self.whole_allowance();
        let mut is_open = false;
        let plan = loop {
            let plan = self.plan(now, items).await.inspect_err(|_| self.cancel_batch())?;
            if plan.items == 0 {
                self.cancel_batch();
                self.note_unchanged(plan.unchanged);
                return Ok(false);
            }
            if let Some(lack) = self.lack_together(&plan) {
                self.cancel_batch();
                is_open = false;
                // No key is wanted by itself.
                self.provide(now, &call, lack).await?;
                continue;
            }
            if is_open {
                break plan;
            }
            let opened = self.open_batch(now, &plan.need, &mut allowance, work);
            match opened.inspect_err(|_| self.cancel_batch())? {
                // Entries may have moved by the work before it: the keys are found anew.
                true => is_open = true,
                false => break plan,
            }
        };
        self.note_unchanged(plan.unchanged);
        self.has_orphans |= plan.leaves_pieces;
        self.failure = None;
        self.batch = Some(PendingBatch { call, items: plan.items, expires_s: None });
        Ok(true)
    }

    fn note_unchanged(&mut self, puts: u32) {
        for _ in 0..puts {
            self.tier.note_unchanged();
        }
    }

    /// Refuses a batch that can't be written at any time.
    fn check_items(&self, items: &[BatchItem<'_>]) -> Result<(), PutError> {
        let most = self.index.known.capacity();
        if items.len() > most {
            return Err(PutError::BatchKeys(u32::try_from(most).unwrap_or(u32::MAX)));
        }
        for (nth, item) in items.iter().enumerate() {
            self.check_name(item.key)?;
            self.item_bytes(item)?;
            // Two long keys may have the same identity.
            let hash = self.flash.secret.identity(item.key);
            let is_same = |other: &BatchItem<'_>| self.flash.secret.identity(other.key) == hash;
            if items.iter().skip(nth + 1).any(is_same) {
                return Err(PutError::Collision);
            }
        }
        Ok(())
    }

    /// The bytes of the record of an item.
    fn item_bytes(&self, item: &BatchItem<'_>) -> Result<u32, PutError> {
        self.charge(item.key, item.value.unwrap_or_default(), item.ttl_s)
    }

    /// The write that an item asks for.
    fn change_of<'i>(&mut self, now: Now, item: &BatchItem<'i>) -> Change<'i> {
        let expires_s = item.ttl_s.map(|ttl_s| expiry_s(self.clock_s(now), ttl_s));
        let change = match item.value {
            Some(value) => Change::new(Kind::Value, item.key, value),
            None => Change::new(Kind::Tombstone, item.key, &[]),
        };
        Change { expires_s, lifetime_s: item.ttl_s, ..change }
    }

    /// Finds all keys, and leaves the findings for the publication.
    async fn plan(&mut self, now: Now, items: &[BatchItem<'_>]) -> Result<BatchPlan, PutError> {
        let mut plan = BatchPlan::NOTHING;
        self.index.known.clear();
        for (nth, item) in (0u32..).zip(items) {
            let change = self.change_of(now, item);
            let hash = self.flash.secret.identity(item.key);
            let found = self.find_readable(&hash).await?;
            if let Some(newest) = &found.newest {
                self.check_same(newest, item.key).await?;
                if change.kind == Kind::Value && self.is_unchanged(&found, newest, &change).await {
                    plan.unchanged += 1;
                    continue;
                }
            }
            if change.kind == Kind::Tombstone && !self.needs_tombstone(&found) {
                continue;
            }
            plan.add(nth, change.kind, self.item_bytes(item)?, &found);
            self.index.known.add(hash, found);
        }
        let max = self.tier.batch_bytes_max();
        if plan.need.bytes > max {
            return Err(PutError::BatchTooLong { bytes: plan.need.bytes, max });
        }
        Ok(plan)
    }

    /// Finds the resource that a batch lacks. Bounds: one pass over the segment table.
    fn lack_together(&mut self, plan: &BatchPlan) -> Option<Lack> {
        if plan.values > 0 && i64::from(self.index.table.values()) + plan.values > i64::from(self.keys_max) {
            return Some(Lack::Keys);
        }
        if plan.new_entries > 0 {
            if !self.index.has_places(plan.new_entries) {
                return Some(Lack::Places(plan.new_entries));
            }
            // Hardly ever does no arrangement of the entries give a place to all of them.
            if !self.index.has_places_for_known() {
                return Some(Lack::Keys);
            }
        }
        let charged = self.charged_bytes().saturating_sub(plan.replaced) + plan.charge;
        (plan.charge > plan.replaced && charged > self.tier.charge_bytes_max()).then_some(Lack::Space)
    }

    /// Opens the batch, after the compaction that it needs. Returns whether any work was done before.
    fn open_batch(
        &mut self,
        now: Now,
        need: &BatchNeed,
        allowance: &mut Allowance,
        work: &mut Work,
    ) -> Result<bool, PutError> {
        *allowance = allowance.less(need.bytes);
        let mut has_worked = false;
        loop {
            if self.under_way.is_none() && self.tier.is_written() {
                match self.tier.begin_batch(now, need) {
                    Ok(()) => return Ok(has_worked),
                    Err(AppendError::Busy) => {}
                    Err(AppendError::Full) => return Err(PutError::Full),
                    Err(AppendError::TooLong(max)) => {
                        return Err(PutError::BatchTooLong { bytes: need.bytes, max });
                    }
                    Err(AppendError::TooMany(max)) => return Err(PutError::BatchKeys(max)),
                    Err(AppendError::Exhausted) => return Err(PutError::Exhausted),
                    Err(AppendError::Broken) => return Err(PutError::Broken),
                    Err(_) => return Err(PutError::NotMounted),
                }
            } else {
                self.tier.flush();
            }
            match self.step(now, allowance, work) {
                Step::Done => has_worked = true,
                Step::Waiting => return Err(PutError::Busy(Wait::Operation)),
                Step::Idle => return Err(PutError::Busy(Wait::Retry)),
                Step::Spent => return Err(PutError::NeedsCompaction),
            }
        }
    }

    /// Appends and programs the members, and the record behind them. As with a single record, nothing else goes on meanwhile.
    fn write_members(&mut self, now: Now, items: &[BatchItem<'_>], work: &mut Work) -> Result<(), PutError> {
        let (held, mut allowance) = (self.held.take(), self.allowance(STEPS_MAX));
        let result = loop {
            match self.tier.batch() {
                BatchState::Open => match self.append_next(now, items) {
                    Ok(()) => continue,
                    Err(AppendError::Busy) => {
                        self.tier.flush();
                    }
                    Err(AppendError::Broken) => break Err(PutError::Broken),
                    Err(_) => break Err(PutError::NotMounted),
                },
                BatchState::Ending => {
                    self.tier.flush();
                }
                // The record behind it only guards against damage.
                BatchState::Done if self.tier.is_written() => break Ok(()),
                BatchState::Done => {}
                BatchState::None | BatchState::Failed => {
                    break Err(PutError::Medium(self.failure.unwrap_or(MediumError::Io)));
                }
            }
            match self.step(now, &mut allowance, work) {
                Step::Done => {}
                Step::Waiting => break Err(PutError::Busy(Wait::Operation)),
                Step::Idle | Step::Spent if self.tier.batch() == BatchState::Done => break Ok(()),
                Step::Idle | Step::Spent => {
                    break Err(PutError::Medium(self.failure.unwrap_or(MediumError::Io)));
                }
            }
        };
        self.held = self.held.or(held);
        if result != Err(PutError::Busy(Wait::Operation)) {
            self.tier.give_up_batch();
            self.batch = None;
            self.index.known.clear();
        }
        result
    }

    /// Appends the next member.
    fn append_next(&mut self, now: Now, items: &[BatchItem<'_>]) -> Result<(), AppendError> {
        let batch = self.batch.ok_or(AppendError::NoBatch)?;
        let nth = batch.items.trailing_zeros();
        let rest = batch.items & batch.items.wrapping_sub(1);
        let item = items.get(nth as usize).ok_or(AppendError::NoBatch)?;
        let Change { kind, codec, key, value, expires_s, .. } = self.change_of(now, item);
        let hash = self.flash.secret.identity(key);
        let known = self.index.known.get(&hash).and_then(|found| found.newest);
        let fresh = Fresh {
            hash,
            kind,
            codec,
            key_bytes: u32::try_from(key.len()).unwrap_or(u32::MAX),
            payload: key,
            checksum: self.flash.seed.payload(key).then(value),
            expires_s,
            after: known.map(|found| found.version),
            replaces: None,
        };
        self.tier.append_member(now, &fresh, value, rest == 0)?;
        let first = [batch.expires_s, expires_s].into_iter().flatten().min();
        self.batch = Some(PendingBatch { items: rest, expires_s: first, ..batch });
        Ok(())
    }

    /// The identity of a call: a hash of its items.
    fn batch_call(&self, items: &[BatchItem<'_>]) -> KeyHash {
        let mut hashing = IdentityHasher::new(&self.flash.secret, usize::MAX);
        for item in items {
            let lengths = [item.key.len(), item.value.map_or(0, <[u8]>::len)];
            hashing.take(&[u8::from(item.value.is_some()), u8::from(item.ttl_s.is_some())]);
            hashing.take(&item.ttl_s.unwrap_or(0).to_le_bytes());
            for len in lengths {
                hashing.take(&u64::try_from(len).unwrap_or(u64::MAX).to_le_bytes());
            }
            hashing.take(item.key);
            hashing.take(item.value.unwrap_or_default());
        }
        hashing.finish()
    }
}
