//! Puts: check, encode, reserve, publish, send, wait.
//!
//! ```text
//!  limits ─► encode ─► place in the queue ─► pending bytes ─► charge, index: Pending ─► send ─► [wait for durability]
//!                      └── each given back when a later one is refused ──┘
//! ```
//! A write is readable from the moment it is in the index. It waits for a lacking resource until the deadline; then it
//! returns which one it lacked. No guard of the index is held while anything waits.

use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::time::Instant;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{Checksum, Kind};
use crossbeam_channel::bounded;
use tracing::Span;

use super::get::Current;
use super::handle::ColdTierHandle;
use super::long::{LongPut, PutPieces, encode_whole};
use super::opened::{Open, Part};
use super::reserve::WaitingClient;
use super::ttl::Ttl;
use super::unchanged::Kept;
use super::write::{Condition, Effect, Refused, Write};
use crate::admission::{Beyond, Claim, Lack, Line, Relief, Shortfall, Tries, Turn, try_until};
use crate::config::{Durability, FullPolicy};
use crate::errors::{BatchError, PutError, TierError};
use crate::index::{Entry, NotWritten, Pending, Publish, is_surely_removed, publish};
use crate::observe::Timed;
use crate::pool::HotKey;
use crate::worker::{Message, Reply, Waiter, stay_awake_until};

/// The options of one put beyond the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PutOptions {
    /// How long the value lives; as configured where nothing is said.
    pub ttl: Ttl,
    /// The durability of the put when it returns; that of the configuration where it is not set.
    pub durability: Option<Durability>,
}

/// The outcome of an attempt.
enum Attempt {
    /// The write is in the index and on its way to the worker. Or there was nothing to remove, and the earlier remove is still
    /// on its way.
    Sent(Effect),
    /// There was nothing to remove.
    Nothing,
    /// Its condition does not hold.
    Unmet,
    /// A resource is lacking.
    Wait(Lack),
}

impl ColdTierHandle {
    /// Puts a value, with the lifetime and durability of the configuration. It takes the place of an earlier one.
    ///
    /// # Errors
    /// [`PutError`]; the value and its key stay with the caller.
    ///
    /// # Bounds
    /// Encodes the value once on this thread. Waits for a queue place and capacity at most the configured `op_timeout`.
    ///
    /// A value that takes more than a sixteenth of a segment is written in pieces. This takes the memory of the value once more, and
    /// waits for a sync of the pieces at any durability. So a cut leaves the old value or the new one. Two such
    /// puts of one key follow each other.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), PutError> {
        self.put_with(key, value, PutOptions::default())
    }

    /// Puts a value that expires after `ttl`, rounded up to whole seconds. It never expires earlier, counted from when it can be
    /// read, and at most two seconds later while the clock is right.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`PutError::Lifetime`].
    pub fn put_with_ttl(&self, key: &[u8], value: &[u8], ttl: Duration) -> Result<(), PutError> {
        self.put_with(key, value, PutOptions { ttl: ttl.into(), ..PutOptions::default() })
    }

    /// Puts a value with a lifetime and durability of its own.
    ///
    /// # Errors
    /// As [`put_with_ttl`](Self::put_with_ttl).
    pub fn put_with(&self, key: &[u8], value: &[u8], options: PutOptions) -> Result<(), PutError> {
        self.put_until(key, value, options, None)
    }

    fn put_until(
        &self,
        key: &[u8],
        value: &[u8],
        options: PutOptions,
        deadline: Option<Instant>,
    ) -> Result<(), PutError> {
        self.put_published(key, value, options, deadline, || ())
    }

    /// Puts a value, and calls `published` once it can be read, before the wait for its durability. The call is made once, or not at all
    /// where an error comes first. Without a deadline the configured `op_timeout` holds.
    pub(super) fn put_published(
        &self,
        key: &[u8],
        value: &[u8],
        options: PutOptions,
        mut deadline: Option<Instant>,
        mut published: impl FnMut(),
    ) -> Result<(), PutError> {
        loop {
            let replaced = if options.ttl == Ttl::Keep { self.look(key)? } else { None };
            let write = self.prepare_put(key, value, options, replaced)?;
            let deadline = *deadline.get_or_insert(write.deadline);
            let write = write.until(deadline);
            let write = match options.ttl {
                Ttl::Keep => write.only_if(Condition::unchanged(replaced)),
                _ => write,
            };
            if self.run_put_published(write, &mut published)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(PutError::Busy);
            }
        }
    }

    /// Finds the write that a key's value is of, and its expiry.
    pub(super) fn look(&self, key: &[u8]) -> Result<Option<Current>, TierError> {
        self.enter(|open| {
            let (hash, index) = open.route(key);
            let part = open.part(index)?;
            let now_s = open.now_s(part);
            let look = |entry: &Entry| {
                let is_current = part.is_current(&open.limits, entry, now_s);
                entry
                    .identity()
                    .filter(|_| is_current)
                    .map(|identity| Current { identity, expires_s: entry.expires_s() })
            };
            Ok(part.shared.view(&hash, look).flatten())
        })?
    }

    /// Runs a put; tells whether its condition held.
    pub(super) fn run_put(&self, write: Write) -> Result<bool, PutError> {
        self.run_put_published(write, &mut || ())
    }

    /// As [`run_put`](Self::run_put), with a call once the value can be read.
    pub(super) fn run_put_published(
        &self,
        mut write: Write,
        published: &mut dyn FnMut(),
    ) -> Result<bool, PutError> {
        if write.condition == Condition::None {
            self.skip_unchanged(&mut write);
        }
        // While it is held, the pieces are not swept.
        let pieces = write.long.take().map(|long| self.put_pieces(&mut write, *long)).transpose();
        let outcome = match &pieces {
            Ok(Some(PutPieces::Unmet)) => Ok(Effect::Unmet),
            Ok(Some(PutPieces::Put(_)) | None) => self.run_published(&mut write, published),
            Err(refused) => Err(refused.clone()),
        };
        drop(pieces);
        self.count_put(&write, &outcome);
        outcome.map(|effect| effect != Effect::Unmet).map_err(PutError::from)
    }

    /// Counts a put that is over.
    pub(super) fn count_put(&self, write: &Write, outcome: &Result<Effect, Refused>) {
        // Only to count it: a tier that is closed counts nothing.
        let _ = self.enter(|open| {
            let Ok(part) = open.part(write.part) else { return };
            match outcome {
                Ok(_) => {
                    part.shared.latencies.record(&part.meter, Timed::Put, write.begun.elapsed());
                    part.count_kept(write);
                }
                Err(refused) => {
                    part.shared.counts.refused_puts.fetch_add(1, Relaxed);
                    part.explain_refused(write, refused);
                }
            }
        });
    }

    /// Puts many values and waits once for the durability of all.
    ///
    /// # Errors
    /// [`BatchError`] tells how far it came; what came before was put, though it may not be durable.
    ///
    /// # Bounds
    /// Encodes each value once on this thread. Waits at most the configured `op_timeout` in all, for capacity and for
    /// durability: after that a pair is put only if it need not wait. If a batch takes longer, call again from the index in the
    /// error.
    pub fn put_batch<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        pairs: &[(K, V)],
        options: PutOptions,
    ) -> Result<(), BatchError> {
        let at = |index| move |error: TierError| BatchError { index, error: error.into() };
        let (each, durability, deadline) = self.batch_terms(options).map_err(at(0))?;
        for (index, (key, value)) in pairs.iter().enumerate() {
            self.put_until(key.as_ref(), value.as_ref(), each, Some(deadline))
                .map_err(|error| BatchError { index, error })?;
        }
        self.flush_until(durability, deadline).map_err(at(pairs.len()))
    }

    /// The options of each put of a batch, the durability that all wait for at its end, and its deadline.
    pub(super) fn batch_terms(
        &self,
        options: PutOptions,
    ) -> Result<(PutOptions, Durability, Instant), TierError> {
        let (timeout, default) = self.enter(|open| (open.limits.op_timeout, open.limits.durability))?;
        let each = PutOptions { durability: Some(Durability::Buffered), ..options };
        Ok((each, options.durability.unwrap_or(default), Instant::now() + timeout))
    }

    /// Checks and encodes a value that is to replace `replaced`.
    pub(super) fn prepare_put(
        &self,
        key: &[u8],
        value: &[u8],
        options: PutOptions,
        replaced: Option<Current>,
    ) -> Result<Write, PutError> {
        let begun = Instant::now();
        let (mut write, codec, mut pending, (terms, seed, record_bytes_max)) = self.enter(|open| {
            open.check_writes()?;
            open.check_key(key).map_err(|(bytes, max)| PutError::KeyTooLong { bytes, max })?;
            let limits = &open.limits;
            let max = limits.value_bytes_max;
            if value.len() > max as usize {
                return Err(PutError::ValueTooLong { bytes: value.len(), max });
            }
            let (hash, index) = open.route(key);
            let part = open.part(index)?;
            let (lives_s, kept_expires_s) = match (options.ttl, replaced) {
                (Ttl::Keep, Some(replaced)) => (None, replaced.expires_s),
                (ttl, _) => (ttl.lives_s(limits.ttl, open.now_s(part))?, None),
            };
            let codec = part.codec_for(limits);
            let write = Write {
                part: index,
                hash,
                pending: None,
                long: None,
                lives_s,
                kept_expires_s,
                waiter: None,
                durability: options.durability.unwrap_or(limits.durability),
                is_put: true,
                kept: None,
                condition: Condition::None,
                is_touch: false,
                bytes_put: Some((key.len() + value.len()) as u64),
                replaces: 0,
                begun,
                deadline: begun + limits.op_timeout,
                asked_in: 0,
            };
            let pending = Pending {
                payload: Box::default(),
                checksum: Checksum::default(),
                codec: CodecId::Raw,
                key_bytes: u32::try_from(key.len()).unwrap_or(u32::MAX),
                expires_s: kept_expires_s.or(lives_s),
                kind: Kind::Value,
                inflight: None,
                before: None,
                charge: 0,
                older_charge: 0,
                serial: 0,
            };
            let shape = (open.terms, open.seed, limits.record_bytes_max);
            Ok::<_, PutError>((write, codec, pending, shape))
        })??;
        let (codec, trial) = codec;
        let Some((used, payload)) = encode_whole(codec, key, value, record_bytes_max) else {
            let long = LongPut::new(codec, key, value, record_bytes_max);
            self.note_trial(write.part, trial, long.has_shrunk())?;
            write.long = Some(Box::new(long));
            return Ok(write);
        };
        self.note_trial(write.part, trial, used != CodecId::Raw)?;
        pending.codec = used;
        pending.checksum = seed.payload(&payload);
        let value_bytes = u32::try_from(payload.len().saturating_sub(key.len())).unwrap_or(u32::MAX);
        pending.charge = terms.value_charge(pending.key_bytes, value_bytes, pending.expires_s.is_some());
        pending.payload = payload;
        write.pending = Some(pending);
        Ok(write)
    }

    /// Brings a write into the index and waits for what it promised.
    pub(super) fn run(&self, write: &mut Write) -> Result<Effect, Refused> {
        self.run_published(write, &mut || ())
    }

    /// As [`run`](Self::run), with a call once the write is in the index, or there was nothing to write.
    pub(super) fn run_published(
        &self,
        write: &mut Write,
        published: &mut dyn FnMut(),
    ) -> Result<Effect, Refused> {
        if write.kept == Some(Kept::Stored) && write.durability == Durability::Buffered {
            // There is nothing to send, and nothing to wait for.
            published();
            return Ok(Effect::None);
        }
        let receiver =
            (write.durability > Durability::Buffered).then(|| bounded(1)).map(|(reply, receiver)| {
                write.waiter = Some(Reply::from(reply));
                receiver
            });
        let effect = self.send(write)?;
        if effect == Some(Effect::Unmet) {
            return Ok(Effect::Unmet);
        }
        published();
        let Some(effect) = effect else { return Ok(Effect::None) };
        // From here on only the worker holds a sender, so the client sees its end.
        write.waiter = None;
        if let Some(receiver) = receiver {
            if write.durability == Durability::Flushed {
                // A write takes less than waking this thread does. A sync takes longer.
                stay_awake_until(|| !receiver.is_empty());
            }
            self.wait_for(write.part, &receiver, write.deadline)??;
        }
        Ok(effect)
    }

    /// Tries until the write is sent, nothing is left to do, or the deadline has passed.
    fn send(&self, write: &mut Write) -> Result<Option<Effect>, Refused> {
        let sent =
            try_until(write.deadline, |waiting, tries: &Tries<'_>| self.try_send(write, waiting, tries))?;
        // The last attempt sends it, or says what is lacking.
        sent.ok_or(Refused::Busy)
    }

    /// Tries to send a write, or stands in line for what it lacks. The result is what [`send`](Self::send) returns.
    pub(super) fn try_send(
        &self,
        write: &mut Write,
        waiting: &mut Option<WaitingClient>,
        tries: &Tries<'_>,
    ) -> Result<Option<Option<Effect>>, Refused> {
        self.enter(|open| {
            let part = open.part(write.part)?;
            open.check_takes(part)?;
            let step = part.step(open, write, waiting.as_ref(), tries)?;
            if let Step::Stand(line) = step {
                part.stand_for(open, waiting, line, tries)?;
            }
            Ok(if let Step::Over(effect) = step { Some(effect) } else { None })
        })?
    }
}

/// Why a write did not come into the index.
enum Unpublished {
    Beyond(Claim, Beyond),
    Unmet,
}

/// The next step of a write.
enum Step {
    /// It was sent, or there was nothing to do.
    Over(Option<Effect>),
    /// It stands in a line.
    Stand(Line),
    /// It stands there.
    Wait,
}

impl Part {
    /// Lets a write try if it may. One whose deadline has passed tries in any case, and returns the resource that it lacks.
    fn step(
        &self,
        open: &Open,
        write: &mut Write,
        waiting: Option<&WaitingClient>,
        tries: &Tries<'_>,
    ) -> Result<Step, Refused> {
        // The clock is the user's code: it is read before anything is reserved, which its panic would leave reserved.
        let now_s = open.now_s(self);
        // Such a write needs nothing that it would wait for.
        if self.is_unmet(open, write, now_s) {
            return Ok(Step::Over(Some(Effect::Unmet)));
        }
        let bytes = write.pending_bytes();
        let takes_capacity = write.is_put && write.kept.is_none();
        let turn = match waiting {
            None => self.shared.admission.turn(takes_capacity, bytes),
            Some(waiting) => waiting.turn(takes_capacity, bytes),
        };
        let has_permit = match turn {
            Turn::Try { has_permit } => has_permit,
            Turn::Behind(_) | Turn::Wait if tries.is_last() => false,
            // It has not asked for space: the client before it in the line does.
            Turn::Behind(Line::Capacity { .. }) => {
                let is_evicting = open.limits.full == FullPolicy::Evict;
                let needs = write.pending.as_ref().filter(|_| is_evicting).map_or(0, |p| u64::from(p.charge));
                return Ok(Step::Stand(Line::Capacity { needs }));
            }
            Turn::Behind(line) => return Ok(Step::Stand(line)),
            Turn::Wait => return Ok(Step::Wait),
        };
        match self.attempt(open, write, has_permit, now_s)? {
            Attempt::Sent(effect) => Ok(Step::Over(Some(effect))),
            Attempt::Nothing => Ok(Step::Over(None)),
            Attempt::Unmet => Ok(Step::Over(Some(Effect::Unmet))),
            Attempt::Wait(lack) if tries.is_last() => Err(lack.into()),
            Attempt::Wait(lack) => Ok(Step::Stand(lack.line(bytes))),
        }
    }

    /// Whether the condition of a write does not hold. It is counted then.
    pub(super) fn is_unmet(&self, open: &Open, write: &Write, now_s: u32) -> bool {
        if write.condition == Condition::None {
            return false;
        }
        let holds = |entry: &Entry| write.condition.holds(entry, self.is_current(&open.limits, entry, now_s));
        let is_met = self.shared.view(&write.hash, holds).unwrap_or_else(|| holds(&Entry::default()));
        if !is_met {
            self.shared.counts.unmet_conditions.fetch_add(1, Relaxed);
        }
        !is_met
    }

    fn attempt(
        &self,
        open: &Open,
        write: &mut Write,
        has_permit: bool,
        now_s: u32,
    ) -> Result<Attempt, Refused> {
        let shared = &self.shared;
        let bytes = write.pending_bytes();
        if !has_permit && !shared.admission.budget.reserve_write(bytes, open.limits.pending_bytes_max) {
            shared.admission.shut();
            return Ok(Attempt::Wait(Lack::Queue));
        }
        let published = match write.kept {
            Some(Kept::Pending) => Ok((Publish::Pending, Effect::None)),
            Some(Kept::Stored) => Ok((Publish::Kept, Effect::None)),
            None => self.publish(open, write, now_s),
        };
        // The pending bytes are counted by the entry now, so the reservation is given back.
        shared.admission.budget.give_back_bytes(bytes);
        match published {
            Ok((published, effect)) => self.pass_on(write, published, effect),
            Err(Unpublished::Unmet) => {
                shared.admission.budget.give_back_place();
                shared.counts.unmet_conditions.fetch_add(1, Relaxed);
                Ok(Attempt::Unmet)
            }
            Err(Unpublished::Beyond(claim, beyond)) => {
                shared.admission.budget.give_back_place();
                self.refuse(open, write, &claim, beyond, now_s)
            }
        }
    }

    /// Brings a write into the index; a value only if there is capacity for it. A remove of an expired value changes nothing
    /// that a reader sees.
    fn publish(&self, open: &Open, write: &mut Write, now_s: u32) -> Result<(Publish, Effect), Unpublished> {
        let counts = &self.shared.counts;
        let touched_s = now_s.saturating_sub(self.shared.opened_s.load(Relaxed));
        let is_put = write.is_put;
        let expires_s = write.expires_s(now_s);
        if let Some(pending) = &mut write.pending {
            pending.expires_s = expires_s.or(pending.expires_s);
            pending.serial = self.shared.issue_serial();
        }
        let condition = write.condition;
        let may = |entry: &Entry| condition.holds(entry, self.is_current(&open.limits, entry, now_s));
        let withheld_above = self.shared.withheld_above.load(Relaxed);
        // A tombstone of a key that has no value takes space that nobody was charged for. None is written where one is there.
        let takes_none = |entry: &Entry| entry.is_value() || is_surely_removed(entry, withheld_above);
        let is_charged =
            is_put || withheld_above > 0 && self.shared.view(&write.hash, takes_none) != Some(true);
        let claim = write.pending.as_ref().filter(|_| is_charged).map(|pending| self.claim(open, pending));
        // `replaces` raises only the ceiling of the settled bytes: the log can't hold more until the write is published.
        let claim = claim.map(|claim| claim.beyond(write.replaces));
        let mut change = |entry: &mut Entry| {
            let is_seen = is_put || self.is_current(&open.limits, entry, now_s);
            let effect = if is_seen { Effect::Changed } else { Effect::None };
            entry.written(touched_s);
            let had_stored = entry.stored().is_some();
            ((publish(entry, &mut write.pending, withheld_above), effect), had_stored)
        };
        let (terms, hash) = (&open.terms, &write.hash);
        let published = match claim {
            None => {
                let change = |entry: &mut Entry| may(entry).then(|| change(entry)).ok_or(Unpublished::Unmet);
                self.shared.mutate(terms, hash, change).transpose()?
            }
            Some(claim) => {
                let within = (claim.write, &claim.ceiling);
                let published = self.shared.mutate_within(terms, hash, within, may, change).transpose();
                published.map_err(|refused| match refused {
                    NotWritten::Beyond(beyond) => Unpublished::Beyond(claim, beyond),
                    NotWritten::Unmet => Unpublished::Unmet,
                })?
            }
        };
        let (published, had_stored) = published.unwrap_or(((Publish::Nothing, Effect::None), false));
        // The old value in the pools is stale. A read that is under way may put it back. Its version shows that it is not the
        // new one, and the next read of the key drops it.
        if had_stored && let Some((hot, tier)) = open.hot {
            hot.remove(HotKey { tier, hash: write.hash.0 });
        }
        if let Some(bytes_put) = write.bytes_put {
            self.shared.families.touch(&write.hash);
            let count = match (write.is_touch, write.is_put) {
                (true, _) => &counts.touches,
                (false, true) => &counts.puts,
                (false, false) => &counts.removes,
            };
            count.fetch_add(1, Relaxed);
            counts.bytes_put.fetch_add(bytes_put, Relaxed);
        }
        Ok(published)
    }

    /// Refuses a value whose claim is beyond the capacity, unless it may wait.
    fn refuse(
        &self,
        open: &Open,
        write: &mut Write,
        claim: &Claim,
        beyond: Beyond,
        now_s: u32,
    ) -> Result<Attempt, Refused> {
        let Beyond::Settled { available } = beyond else { return Ok(Attempt::Wait(Lack::Replacement)) };
        let needed = claim.write.charge;
        let shortfall = Shortfall { needed, available, ends: 0 };
        let capacity = |unasked| Lack::Capacity { needed, available, unasked };
        Ok(Attempt::Wait(match self.relieve(open, claim, shortfall, &mut write.asked_in, now_s)? {
            Relief::Sweep => Lack::Replacement,
            Relief::Blocks => Lack::Blocks,
            Relief::Expiry => capacity(0),
            Relief::Eviction { unasked } => capacity(unasked),
        }))
    }

    /// Tells the worker of a write that is in the index.
    fn pass_on(&self, write: &mut Write, published: Publish, effect: Effect) -> Result<Attempt, Refused> {
        let durability = write.durability;
        let deadline = write.deadline;
        let waiter =
            write.waiter.take().map(|reply| Waiter { durability, reply, deadline, span: Span::none() });
        let effect = match published {
            Publish::Pending => effect,
            // Waits like the write that is there already: the worker answers once its last append of the key is durable enough.
            Publish::Kept if waiter.is_some() => Effect::None,
            Publish::Nothing | Publish::Kept => {
                self.shared.admission.budget.give_back_place();
                return Ok(Attempt::Nothing);
            }
            // The removed write never reached the worker, so there is nothing to wait for.
            Publish::Forgotten => {
                if let Some(waiter) = waiter {
                    waiter.reply.send(Ok(()));
                }
                self.shared.admission.budget.give_back_place();
                return Ok(Attempt::Sent(effect));
            }
        };
        // The queue has a place reserved for each such message. So a failed send means that the worker is gone.
        if self.sender.send(Message::write(write.hash, waiter, write.bytes_put.unwrap_or(0))).is_err() {
            self.shared.admission.budget.give_back_place();
            return Err(self.gone().into());
        }
        Ok(Attempt::Sent(effect))
    }
}

#[cfg(test)]
mod tests;
