//! The lifetime of a value that is there: how much of it is left, and another one without another value.
//!
//! The expiry of a value is in the header of its record. So a touch appends the record once more, as it is encoded, with another header.
//! Of a long value only the head is appended: its pieces have no lifetime of their own.

use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{KeyHash, Kind, Sequence, read_record};

use super::get::{Chase, Current, Miss};
use super::handle::ColdTierHandle;
use super::long::pending;
use super::opened::{LogReads, Open, Part};
use super::put::PutOptions;
use super::scratch;
use super::ttl::Ttl;
use super::unchanged::Kept;
use super::write::{Condition, Write};
use crate::errors::{GetError, PutError, TierError, UpdateError};
use crate::index::{Entry, Pending, Stored, WriteId};
use crate::storage::MediumError;

/// How long a value still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeLeft {
    /// At least so long, in whole seconds, and at most two seconds longer while the clock is right. It is zero at the end, which no
    /// put takes as a lifetime.
    For(Duration),
    /// It does not expire.
    Forever,
}

/// A value as it is encoded: key, then value or head.
pub(super) struct Encoded {
    pub(super) payload: Box<[u8]>,
    pub(super) key_bytes: u32,
    pub(super) codec: CodecId,
    current: Current,
}

/// Where an encoded value was found.
enum Found {
    Absent,
    Damaged,
    Pending(Encoded),
    Stored(Stored),
}

/// The work of a touch.
pub(super) enum Touch {
    /// There is no value.
    Absent,
    /// The value lives that long already: this write has nothing to write, and waits for the record that is there.
    Done(Box<Write>),
    Write(Box<Write>),
}

impl ColdTierHandle {
    /// Tells how long the value of a key still lives; `None` where it has none.
    ///
    /// Where an idle time is configured, it ends the value too: the shorter time counts. This call is no read, and does not begin the
    /// idle time anew.
    ///
    /// ```
    /// use coldpress_std::{ColdTier, ColdTierConfig, TimeLeft};
    /// use core::time::Duration;
    ///
    /// # let base_dir = tempfile::tempdir()?;
    /// let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
    /// let tier = ColdTier::with_own_pools(config, "sessions")?;
    /// tier.put(b"ada", b"3")?;
    /// assert_eq!(tier.ttl(b"ada")?, Some(TimeLeft::Forever));
    /// assert!(tier.touch(b"ada", Duration::from_secs(600).into())?);
    /// assert!(tier.ttl(b"ada")? > Some(TimeLeft::For(Duration::from_secs(590))));
    /// assert_eq!(tier.ttl(b"bob")?, None);
    /// # tier.close()?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`GetError`].
    ///
    /// # Bounds
    /// Reads nothing of the log.
    pub fn ttl(&self, key: &[u8]) -> Result<Option<TimeLeft>, GetError> {
        self.enter(|open| {
            let (hash, part) = open.find(key)?;
            let now_s = open.now_s(part);
            part.check_readable()?;
            let look = |entry: &Entry| {
                part.is_current(&open.limits, entry, now_s).then(|| part.time_left(open, entry, now_s))
            };
            Ok(part.shared.view(&hash, look).flatten())
        })?
    }

    /// Gives the value of a key another lifetime, counted from now, with the durability of the configuration. Tells whether it has a
    /// value.
    ///
    /// # Errors
    /// [`UpdateError`]; then the lifetime is as it was, unless the error says otherwise. [`PutError::Lifetime`] within it.
    /// [`TierError::Medium`] where a newer value of the key may lie in what can't be read.
    ///
    /// # Bounds
    /// Reads the record of the value once, or its head where it is long, and appends it once; again where the key changes meanwhile,
    /// until the configured `op_timeout`. It needs the space that a put of the value does.
    pub fn touch(&self, key: &[u8], ttl: Ttl) -> Result<bool, UpdateError> {
        self.touch_with(key, PutOptions { ttl, durability: None })
    }

    /// As [`touch`](Self::touch), with a durability of its own.
    ///
    /// # Errors
    /// As [`touch`](Self::touch), with its bounds.
    pub fn touch_with(&self, key: &[u8], options: PutOptions) -> Result<bool, UpdateError> {
        self.retry(|deadline, _| match self.enter(|open| prepare(&open.reads(), key, options))?? {
            Touch::Absent => Ok(Some(false)),
            Touch::Done(write) => {
                self.run(&mut write.until(deadline)).map_err(PutError::from)?;
                Ok(Some(true))
            }
            Touch::Write(write) => {
                let is_done = self.run_put(write.until(deadline))?;
                Ok(is_done.then_some(true))
            }
        })
    }
}

/// Reads the value of a key as it is encoded, and says what a touch of it has to do.
pub(super) fn prepare(open: &LogReads<'_>, key: &[u8], options: PutOptions) -> Result<Touch, UpdateError> {
    open.check_writes()?;
    open.check_key(key).map_err(|(bytes, max)| PutError::KeyTooLong { bytes, max })?;
    let (hash, index) = open.route(key);
    let part = open.part(index)?;
    let lives_s = options.ttl.lives_s(open.limits.ttl, open.now_s(part))?;
    let Some(Encoded { payload, key_bytes, codec, current }) = part.read_encoded(open, &hash, Some(key))?
    else {
        return Ok(Touch::Absent);
    };
    let durability = options.durability.unwrap_or(open.limits.durability);
    if options.ttl == Ttl::Keep || lives_s.is_none() && current.expires_s.is_none() {
        let mut write = open.removal(hash, durability);
        write.keep(Kept::Stored);
        return Ok(Touch::Done(Box::new(write)));
    }
    part.check_newest(current.identity)?;
    let pending = pending(payload, key_bytes, codec, lives_s, (&open.terms, open.seed));
    let write = open.touching(hash, pending, lives_s, durability);
    Ok(Touch::Write(Box::new(write.only_if(Condition::Is(current.identity)))))
}

impl Part {
    /// Refuses a value over which there may be a newer one that can't be read: written again, it would outrank that, and the pieces of a
    /// long one may be gone.
    fn check_newest(&self, identity: WriteId) -> Result<(), TierError> {
        let withheld_above = Sequence::new(self.shared.withheld_above.load(Relaxed));
        match identity {
            WriteId::Stored(version) if version.sequence < withheld_above => {
                Err(TierError::Medium(MediumError::Unreadable.into()))
            }
            WriteId::Stored(_) | WriteId::Pending(_) => Ok(()),
        }
    }

    fn time_left(&self, open: &Open, entry: &Entry, now_s: u32) -> TimeLeft {
        let ends_s = [entry.expires_s(), self.idle_end_s(&open.limits, entry)];
        let end_s = ends_s.into_iter().flatten().min();
        end_s.map_or(TimeLeft::Forever, |end_s| {
            // An expiry is one second more than was asked for: see `expiry_s`.
            TimeLeft::For(Duration::from_secs(end_s.saturating_sub(now_s).saturating_sub(1).into()))
        })
    }

    /// Reads the record of a key's value as it is encoded, or its head; of any key with this hash where none is given.
    pub(super) fn read_encoded(
        &self,
        open: &LogReads<'_>,
        hash: &KeyHash,
        key: Option<&[u8]>,
    ) -> Result<Option<Encoded>, GetError> {
        self.check_readable()?;
        let mut chase = Chase::default();
        loop {
            let stored = match self.look_up_encoded(open, hash, key) {
                Found::Absent => return Ok(None),
                Found::Damaged => return Err(GetError::Damaged),
                Found::Pending(encoded) => return Ok(Some(encoded)),
                Found::Stored(stored) => stored,
            };
            match scratch::with_buffer(|buffer| self.fetch_encoded(open, &stored, key, buffer)) {
                Ok(encoded) => return Ok(Some(encoded)),
                Err(Miss::OtherKey) => return Ok(None),
                Err(miss) => chase.miss(open, stored.location(), &miss)?,
            }
        }
    }

    fn look_up_encoded(&self, open: &Open, hash: &KeyHash, key: Option<&[u8]>) -> Found {
        let now_s = open.now_s(self);
        let look = |entry: &Entry| {
            if !self.is_current(&open.limits, entry, now_s) {
                return Found::Absent;
            }
            self.touch(entry, now_s);
            match (&entry.pending, entry.stored()) {
                (Some(pending), _) => of_pending(pending, key),
                (None, Some(stored)) if stored.is_damaged() => Found::Damaged,
                (None, Some(stored)) => Found::Stored(*stored),
                (None, None) => Found::Absent,
            }
        };
        self.shared.view(hash, look).unwrap_or(Found::Absent)
    }

    fn fetch_encoded(
        &self,
        open: &LogReads<'_>,
        stored: &Stored,
        key: Option<&[u8]>,
        buffer: &mut Vec<u8>,
    ) -> Result<Encoded, Miss> {
        self.fetch(open, stored, buffer)?;
        let record = read_record(&open.terms.geometry, open.seed, stored.location(), buffer);
        let record = record.ok().filter(|record| record.header.kind == Kind::Value).ok_or(Miss::Invalid)?;
        if key.is_some_and(|key| record.key != key) {
            return Err(Miss::OtherKey);
        }
        Ok(Encoded {
            payload: [record.key, record.value].concat().into_boxed_slice(),
            key_bytes: record.header.key_bytes,
            codec: record.header.codec,
            current: Current::stored(stored),
        })
    }
}

fn of_pending(pending: &Pending, key: Option<&[u8]>) -> Found {
    let own = pending.payload.get(..pending.key_bytes as usize);
    if key.is_some_and(|key| own != Some(key)) {
        return Found::Absent;
    }
    let Pending { key_bytes, codec, .. } = *pending;
    Found::Pending(Encoded {
        payload: pending.payload.clone(),
        key_bytes,
        codec,
        current: Current::pending(pending),
    })
}
