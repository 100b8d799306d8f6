//! Writes that depend on the value that is there: put if absent, compare and swap, update.
//!
//! ```text
//!  read ─► decide ─► encode ─► publish, if the key is as it was read ─► [wait for durability]
//!    ▲                              │
//!    └────────── it changed ────────┘
//! ```
//! The condition is checked under the same guard of the index under which the write goes in. So of several clients that change
//! a key from the same value one succeeds, and no change is lost. The others read again, until the deadline.
//!
//! The identity of a stored write changes without a client, too: when the worker writes it to the log, and when compaction
//! relocates it as new. A client then reads once more, finds the same value, and goes on.

use core::fmt;
use core::str::FromStr;
use core::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use coldpress_core::format::{KeyHash, key_hash};

use super::get::{Current, Reading};
use super::handle::ColdTierHandle;
use super::put::PutOptions;
use super::write::{Condition, Effect, Write};
use crate::config::Durability;
use crate::errors::{GetError, PutError, RemoveError, TierError, UpdateError};

/// Names a value by its bytes: 96 bits of a keyed hash.
///
/// Two versions of a key are equal where its values are. They stay the same across opens of a tier, and differ between tiers. The
/// lifetime of a value has no part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueVersion([u8; 12]);

impl ValueVersion {
    /// The bytes, to be kept or sent elsewhere, as in the `ETag` of an HTTP response.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 12] {
        self.0
    }

    /// The version of these bytes, which [`to_bytes`](Self::to_bytes) gave.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }
}

/// As 24 hexadecimal digits.
///
/// ```
/// use coldpress_std::ValueVersion;
///
/// let version = ValueVersion::from_bytes([0xC0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
/// assert_eq!(version.to_string(), "c00102030405060708090a0b");
/// assert_eq!("c00102030405060708090a0b".parse(), Ok(version));
/// assert!("c001".parse::<ValueVersion>().is_err());
/// ```
impl fmt::Display for ValueVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text is no version: it is not 24 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionTextError;

impl fmt::Display for VersionTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version is 24 hexadecimal digits")
    }
}

impl core::error::Error for VersionTextError {}

impl FromStr for ValueVersion {
    type Err = VersionTextError;

    fn from_str(text: &str) -> Result<Self, VersionTextError> {
        let is_hex = text.len() == 2 * size_of::<Self>() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digits = u128::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or(VersionTextError)?;
        let [_, _, _, _, bytes @ ..] = digits.to_be_bytes();
        Ok(Self(bytes))
    }
}

/// A value and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<V = Vec<u8>> {
    /// The value.
    pub value: V,
    /// Its version.
    pub version: ValueVersion,
}

/// The value that a key must have for a conditional write to go on.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected<'a, V: ?Sized = [u8]> {
    /// None, or one whose time is over.
    Absent,
    /// Any.
    Present,
    /// This one; of a typed tier one with the same encoding.
    Value(&'a V),
    /// One of this version.
    Version(ValueVersion),
}

impl<V: ?Sized> Clone for Expected<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: ?Sized> Copy for Expected<'_, V> {}

/// The fate of a key in an [`update`](ColdTierHandle::update).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update<V = Vec<u8>> {
    /// Puts this value.
    Put(V),
    /// Removes the key.
    Remove,
    /// Leaves the key as it is.
    Keep,
}

impl ColdTierHandle {
    /// Puts a value if the key has none, or one whose time is over. Tells whether it did.
    ///
    /// ```
    /// use coldpress_std::{ColdTier, ColdTierConfig, PutOptions};
    ///
    /// # let base_dir = tempfile::tempdir()?;
    /// let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
    /// let tier = ColdTier::with_own_pools(config, "locks")?;
    /// assert!(tier.put_if_absent(b"nightly", b"worker 1", PutOptions::default())?);
    /// assert!(!tier.put_if_absent(b"nightly", b"worker 2", PutOptions::default())?);
    /// assert_eq!(tier.get(b"nightly")?.as_deref(), Some(&b"worker 1"[..]));
    /// # tier.close()?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`PutError`]; the value and its key stay with the caller.
    ///
    /// # Bounds
    /// As [`put`](Self::put), without a read of the log.
    pub fn put_if_absent(&self, key: &[u8], value: &[u8], options: PutOptions) -> Result<bool, PutError> {
        if self.contains(key).is_ok_and(|is_there| is_there) {
            // The key has a value, so nothing is encoded and no piece is written.
            self.count_unmet(key);
            return Ok(false);
        }
        let write = self.prepare_put(key, value, options, None)?;
        self.run_put(write.only_if(Condition::Absent))
    }

    /// Returns the value of a key with its version.
    ///
    /// # Errors
    /// As [`get`](Self::get), with its bounds.
    pub fn get_versioned(&self, key: &[u8]) -> Result<Option<Versioned>, GetError> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        let version = self.version_of(&value)?;
        Ok(Some(Versioned { value, version }))
    }

    /// Puts a value if the key has the expected one. Tells whether it did.
    ///
    /// ```
    /// use coldpress_std::{ColdTier, ColdTierConfig, Expected, PutOptions};
    ///
    /// # let base_dir = tempfile::tempdir()?;
    /// let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
    /// let tier = ColdTier::with_own_pools(config, "pages")?;
    /// tier.put(b"home", b"v1")?;
    /// let seen = tier.get_versioned(b"home")?.ok_or("no page")?;
    ///
    /// let options = PutOptions::default();
    /// assert!(tier.compare_and_swap(b"home", Expected::Version(seen.version), b"v2", options)?);
    /// assert!(!tier.compare_and_swap(b"home", Expected::Version(seen.version), b"v3", options)?);
    /// assert!(tier.compare_and_swap(b"home", Expected::Value(b"v2"), b"v3", options)?);
    /// # tier.close()?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`UpdateError`]; then it did not, unless the error says otherwise.
    ///
    /// # Bounds
    /// A get and a put; again where the key changes meanwhile, until the configured `op_timeout`.
    pub fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Expected<'_>,
        value: &[u8],
        options: PutOptions,
    ) -> Result<bool, UpdateError> {
        if expected == Expected::Absent {
            return Ok(self.put_if_absent(key, value, options)?);
        }
        self.retry(|deadline, found| {
            let Some(current) = self.find_expected(key, expected, found)? else { return Ok(Some(false)) };
            let write = self.prepare_put(key, value, options, Some(current))?;
            let condition = Condition::Is(current.identity);
            let is_done = self.run_put(write.only_if(condition).until(deadline))?;
            Ok(is_done.then_some(true))
        })
    }

    /// Removes a key if it has the expected value. Tells whether it did.
    ///
    /// # Errors
    /// [`UpdateError`]; then it did not, unless the error says otherwise.
    ///
    /// # Bounds
    /// A get and a remove; again where the key changes meanwhile, until the configured `op_timeout`.
    pub fn compare_and_remove(
        &self,
        key: &[u8],
        expected: Expected<'_>,
        durability: Durability,
    ) -> Result<bool, UpdateError> {
        if expected == Expected::Absent {
            return Ok(false);
        }
        self.retry(|deadline, found| {
            let Some(current) = self.find_expected(key, expected, found)? else { return Ok(Some(false)) };
            let is_done = self.remove_if(key, Condition::Is(current.identity), durability, deadline)?;
            Ok(is_done.then_some(true))
        })
    }

    /// Changes the value of a key by what it is, without a lost update. Returns what was done.
    ///
    /// `change` gets the value, if the key has one, and says what becomes of it. Where another client changes the key meanwhile, it is
    /// called again with the new value, so it must not have other effects.
    ///
    /// ```
    /// use coldpress_std::{ColdTier, ColdTierConfig, PutOptions, Update};
    ///
    /// # let base_dir = tempfile::tempdir()?;
    /// let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
    /// let tier = ColdTier::with_own_pools(config, "visits")?;
    /// let count_one = |count: Option<&[u8]>| {
    ///     let count = count.and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    ///     Update::Put((count + 1).to_le_bytes().to_vec())
    /// };
    /// tier.update(b"home", PutOptions::default(), count_one)?;
    /// let done = tier.update(b"home", PutOptions::default(), count_one)?;
    /// assert_eq!(done, Update::Put(2u64.to_le_bytes().to_vec()));
    /// # tier.close()?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`UpdateError`]; then nothing was done, unless the error says otherwise.
    ///
    /// # Bounds
    /// A get and a put or remove; again where the key changes meanwhile, until the configured `op_timeout`.
    pub fn update(
        &self,
        key: &[u8],
        options: PutOptions,
        mut change: impl FnMut(Option<&[u8]>) -> Update,
    ) -> Result<Update, UpdateError> {
        self.retry(|deadline, found| {
            let reading = self.read_current(key, found)?;
            let current = reading.value();
            let update = change(current.map(|_| found.as_slice()));
            let condition = Condition::as_read(reading);
            let is_done = match &update {
                Update::Keep => true,
                Update::Put(value) => {
                    let write = self.prepare_put(key, value, options, current)?;
                    self.run_put(write.only_if(condition).until(deadline))?
                }
                // Where the key has no value, this waits for the durability of the remove before.
                Update::Remove => {
                    let durability = options.durability.map_or_else(|| self.default_durability(), Ok)?;
                    self.remove_if(key, condition, durability, deadline)?
                }
            };
            Ok(is_done.then_some(update))
        })
    }

    pub(super) fn default_durability(&self) -> Result<Durability, TierError> {
        self.enter(|open| open.limits.durability)
    }

    /// Removes a key if the condition holds; tells whether it does.
    fn remove_if(
        &self,
        key: &[u8],
        condition: Condition,
        durability: Durability,
        deadline: Instant,
    ) -> Result<bool, UpdateError> {
        let mut write = self.prepare_remove_if(key, condition, durability, deadline)?;
        Ok(self.run(&mut write).map_err(RemoveError::from)? != Effect::Unmet)
    }

    pub(super) fn prepare_remove_if(
        &self,
        key: &[u8],
        condition: Condition,
        durability: Durability,
        deadline: Instant,
    ) -> Result<Write, RemoveError> {
        let mut write = self.prepare_remove(key, durability)?;
        if condition == Condition::Absent {
            // Nothing is removed, so nothing is counted.
            write.bytes_put = None;
        }
        Ok(write.only_if(condition).until(deadline))
    }

    /// Finds the write that a key's value is of, if the value is the expected one; the value goes into `found`.
    fn find_expected(
        &self,
        key: &[u8],
        expected: Expected<'_>,
        found: &mut Vec<u8>,
    ) -> Result<Option<Current>, UpdateError> {
        let reading = self.read_current(key, found)?;
        self.take_expected(key, expected, (reading, found))
    }

    /// The write that a value which was read is of, if the value is the expected one.
    pub(super) fn take_expected(
        &self,
        key: &[u8],
        expected: Expected<'_>,
        (reading, found): (Reading, &[u8]),
    ) -> Result<Option<Current>, UpdateError> {
        let current = reading.value();
        let is_expected = current.is_some()
            && match expected {
                Expected::Absent => false,
                Expected::Present => true,
                Expected::Value(value) => found == value,
                Expected::Version(version) => self.version_of(found)? == version,
            };
        if !is_expected {
            self.count_unmet(key);
        }
        Ok(current.filter(|_| is_expected))
    }

    pub(crate) fn version_of(&self, value: &[u8]) -> Result<ValueVersion, TierError> {
        let KeyHash(bytes) = self.enter(|open| key_hash(&open.hash_key, value))?;
        Ok(ValueVersion(bytes))
    }

    pub(super) fn count_unmet(&self, key: &[u8]) {
        // A tier that is closed counts nothing.
        let _ = self.enter(|open| {
            let part = open.part(open.route(key).1);
            part.map(|part| part.shared.counts.unmet_conditions.fetch_add(1, Relaxed))
        });
    }

    /// Tries until an attempt has an outcome; `attempt` gets the deadline, and a buffer for what it reads.
    pub(super) fn retry<R>(
        &self,
        mut attempt: impl FnMut(Instant, &mut Vec<u8>) -> Result<Option<R>, UpdateError>,
    ) -> Result<R, UpdateError> {
        let deadline = Instant::now() + self.enter(|open| open.limits.op_timeout)?;
        let mut found = Vec::new();
        loop {
            if let Some(outcome) = attempt(deadline, &mut found)? {
                return Ok(outcome);
            }
            if Instant::now() >= deadline {
                return Err(UpdateError::Contended);
            }
        }
    }
}
