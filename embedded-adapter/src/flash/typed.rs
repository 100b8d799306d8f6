//! Typed values: encoded with postcard, behind the number of their schema.
//!
//! ```text
//! value  mark F5 63 │ schema u16, little-endian │ postcard encoding
//! ```
//!
//! The number is a part of the value, not of the key. So a key has one value at any time, whichever firmware wrote it: a get
//! sees that the number is another one, and a put replaces the old value as it replaces any. With the number in the key, a new
//! firmware would find nothing and the old value would stay for ever. Other values rarely begin with the mark, and UTF-8 text never does; its first byte is
//! in no UTF-8 text.

use core::fmt;

use coldpress_core::drive::Now;
use embedded_storage_async::nor_flash::NorFlash;
use postcard::ser_flavors::Size;
use serde::{Deserialize, Serialize};

use super::medium::Medium;
use super::nor_async::AsyncNorMedium;
use super::tier::FlashTier;
use super::{GetError, PutError};

/// Bytes in front of the encoding of a typed value: a mark of two bytes, and the number of the schema.
pub const TYPED_HEAD_BYTES: usize = 4;
/// The first bytes of every typed value.
const MARK: [u8; 2] = [0xF5, 0x63];

/// A type whose values are stored, with the number of its schema.
///
/// An encoding does not tell its type. So choose another number whenever the encoding changes: with a field that is added,
/// removed, moved or of another type, or a variant of an enum that is inserted. Types that are stored under the same keys differ in
/// their numbers, too.
pub trait Schema {
    /// The number; any that no other type or earlier form of this type has.
    const SCHEMA: u16;
}

/// Why a typed value was not written. The key has its old value, except as [`PutError`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TypedPutError {
    /// The tier did not take it.
    Put(PutError),
    /// It takes a buffer of so many bytes.
    Short(u32),
    /// The type refuses to be encoded: its `Serialize` failed, or it has a sequence whose length is unknown.
    Encode,
}

impl fmt::Display for TypedPutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(error) => error.fmt(f),
            Self::Short(n) => write!(f, "it takes a buffer of {n} bytes"),
            Self::Encode => f.write_str("the value can't be encoded"),
        }
    }
}

impl core::error::Error for TypedPutError {}

impl From<PutError> for TypedPutError {
    fn from(error: PutError) -> Self {
        Self::Put(error)
    }
}

/// Why a typed value was not read. The stored value is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TypedGetError {
    /// The tier did not return it.
    Get(GetError),
    /// It was written under another schema. Read it as the type of that schema, or put a new value in its place.
    SchemaChanged {
        /// The number that is stored.
        stored: u16,
        /// The number of the type that was asked for.
        expected: u16,
    },
    /// It was not written by a typed put.
    Untyped,
    /// The bytes are not one value of the type, though the number is the type's: the type was changed under the same number.
    Decode,
}

impl fmt::Display for TypedGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(error) => error.fmt(f),
            Self::SchemaChanged { stored, expected } => {
                write!(f, "the value has schema {stored}, its reader expects {expected}")
            }
            Self::Untyped => f.write_str("the value has no schema: no typed put wrote it"),
            Self::Decode => f.write_str("the bytes are no value of the type"),
        }
    }
}

impl core::error::Error for TypedGetError {}

impl From<GetError> for TypedGetError {
    fn from(error: GetError) -> Self {
        Self::Get(error)
    }
}

impl<M: Medium> FlashTier<'_, M> {
    /// Stores a value of a type with a schema, encoded through `buffer`. It takes the place of the value before, whichever schema
    /// that has.
    ///
    /// ```
    /// # mod ram { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ram/mod.rs")); }
    /// # use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, Now, buckets_for};
    /// use coldpress_embedded::flash::{Schema, TypedGetError};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Limits {
    ///     max_mv: u16,
    /// }
    ///
    /// impl Schema for Limits {
    ///     const SCHEMA: u16 = 1;
    /// }
    ///
    /// /// The form of the next firmware.
    /// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    /// struct Range {
    ///     min_mv: u16,
    ///     max_mv: u16,
    /// }
    ///
    /// impl Schema for Range {
    ///     const SCHEMA: u16 = 2;
    /// }
    ///
    /// # let (flash, now) = (ram::Ram::<4, 4096>::new(16), Now { monotonic_ms: 0, wall_s: 0 });
    /// # let mut memory = FlashMemory::<16, { buckets_for(100) }, 128>::new();
    /// # let mut tier = FlashTier::new(FlashConfig::new(4096, 1), &mut memory, NorMedium::new(flash))?;
    /// # tier.mount(now)?;
    /// # while !tier.poll(now, 64).is_idle {}
    /// let mut buffer = [0; 32];
    /// tier.put_typed(now, b"limits", &Limits { max_mv: 4_200 }, &mut buffer)?;
    ///
    /// // After an update of the firmware: the old value is no wrong one, and is carried over.
    /// let range = match tier.get_typed::<Range>(now, b"limits", &mut buffer) {
    ///     Err(TypedGetError::SchemaChanged { stored: Limits::SCHEMA, .. }) => {
    ///         let old = tier.get_typed::<Limits>(now, b"limits", &mut buffer)?;
    ///         old.map(|old| Range { min_mv: 3_000, max_mv: old.max_mv })
    ///     }
    ///     found => found?,
    /// };
    /// if let Some(range) = &range {
    ///     tier.put_typed(now, b"limits", range, &mut buffer)?;
    /// }
    /// let range = tier.get_typed::<Range>(now, b"limits", &mut buffer)?;
    /// assert_eq!(range, Some(Range { min_mv: 3_000, max_mv: 4_200 }));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TypedPutError`]. After [`PutError::Busy`] within it, make the same call again with the same value; the buffer may be
    /// another one.
    ///
    /// # Bounds
    /// Those of [`put`](Self::put). The buffer has [`TYPED_HEAD_BYTES`] and the encoding; if it is too short, the value is encoded
    /// once more for its length.
    pub fn put_typed<T: Schema + Serialize + ?Sized>(
        &mut self,
        now: Now,
        key: &[u8],
        value: &T,
        buffer: &mut [u8],
    ) -> Result<(), TypedPutError> {
        Ok(self.put(now, key, encoded(value, buffer)?)?)
    }

    /// Stores a value of a type with a schema that expires after `ttl_s` seconds, as [`put_with_ttl`](Self::put_with_ttl) does.
    ///
    /// # Errors
    /// As for [`put_typed`](Self::put_typed), with its bounds.
    pub fn put_typed_with_ttl<T: Schema + Serialize + ?Sized>(
        &mut self,
        now: Now,
        key: &[u8],
        value: &T,
        buffer: &mut [u8],
        ttl_s: u32,
    ) -> Result<(), TypedPutError> {
        Ok(self.put_with_ttl(now, key, encoded(value, buffer)?, ttl_s)?)
    }

    /// Reads the value of a key as a type with a schema; `None` where the key has no value. The value may borrow from `buffer`,
    /// which holds its bytes.
    ///
    /// # Errors
    /// [`TypedGetError`]. [`GetError::Short`] within it tells the length of the buffer that is needed.
    ///
    /// # Bounds
    /// Those of [`get`](Self::get).
    pub fn get_typed<'b, T: Schema + Deserialize<'b>>(
        &mut self,
        now: Now,
        key: &[u8],
        buffer: &'b mut [u8],
    ) -> Result<Option<T>, TypedGetError> {
        self.get(now, key, buffer)?.map(decoded).transpose()
    }
}

/// The same calls over an [`AsyncNorMedium`], which await the flash.
impl<F: NorFlash> FlashTier<'_, AsyncNorMedium<F>> {
    /// Stores a value of a type with a schema, encoded through `buffer`. It takes the place of the value before, whichever schema
    /// that has.
    ///
    /// # Errors
    /// [`TypedPutError`].
    ///
    /// # Bounds
    /// Those of [`put`](Self::put). The buffer has [`TYPED_HEAD_BYTES`] and the encoding; if it is too short, the value is encoded
    /// once more for its length.
    pub async fn put_typed<T: Schema + Serialize + ?Sized>(
        &mut self,
        now: Now,
        key: &[u8],
        value: &T,
        buffer: &mut [u8],
    ) -> Result<(), TypedPutError> {
        Ok(self.put(now, key, encoded(value, buffer)?).await?)
    }

    /// Stores a value of a type with a schema that expires after `ttl_s` seconds, as [`put_with_ttl`](Self::put_with_ttl) does.
    ///
    /// # Errors
    /// As for [`put_typed`](Self::put_typed), with its bounds.
    pub async fn put_typed_with_ttl<T: Schema + Serialize + ?Sized>(
        &mut self,
        now: Now,
        key: &[u8],
        value: &T,
        buffer: &mut [u8],
        ttl_s: u32,
    ) -> Result<(), TypedPutError> {
        Ok(self.put_with_ttl(now, key, encoded(value, buffer)?, ttl_s).await?)
    }

    /// Reads the value of a key as a type with a schema; `None` where the key has no value. The value may borrow from `buffer`,
    /// which holds its bytes.
    ///
    /// # Errors
    /// [`TypedGetError`]. [`GetError::Short`] within it tells the length of the buffer that is needed.
    ///
    /// # Bounds
    /// Those of [`get`](Self::get).
    pub async fn get_typed<'b, T: Schema + Deserialize<'b>>(
        &mut self,
        now: Now,
        key: &[u8],
        buffer: &'b mut [u8],
    ) -> Result<Option<T>, TypedGetError> {
        self.get(now, key, buffer).await?.map(decoded).transpose()
    }
}

/// Encodes a value behind its head.
fn encoded<'b, T: Schema + Serialize + ?Sized>(
    value: &T,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], TypedPutError> {
    let encoding = buffer.get_mut(TYPED_HEAD_BYTES..).unwrap_or_default();
    let len = match postcard::to_slice(value, encoding) {
        Ok(encoding) => encoding.len(),
        Err(postcard::Error::SerializeBufferFull) => return Err(too_short(value)),
        Err(_) => return Err(TypedPutError::Encode),
    };
    let [low, high] = T::SCHEMA.to_le_bytes();
    let [first, second] = MARK;
    match buffer.first_chunk_mut() {
        Some(head) => *head = [first, second, low, high],
        // Only a value without an encoding comes here.
        None => return Err(too_short(value)),
    }
    Ok(buffer.get(..TYPED_HEAD_BYTES + len).unwrap_or_default())
}

/// The error of a buffer that a value does not fit into.
fn too_short<T: Serialize + ?Sized>(value: &T) -> TypedPutError {
    match postcard::serialize_with_flavor(value, Size::default()) {
        Ok(len) => TypedPutError::Short(u32::try_from(TYPED_HEAD_BYTES + len).unwrap_or(u32::MAX)),
        Err(_) => TypedPutError::Encode,
    }
}

/// Decodes all of a value: bytes that are left over tell of another type.
fn decoded<'b, T: Schema + Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, TypedGetError> {
    let Some(([first, second, low, high], encoding)) = bytes.split_first_chunk::<TYPED_HEAD_BYTES>() else {
        return Err(TypedGetError::Untyped);
    };
    if [*first, *second] != MARK {
        return Err(TypedGetError::Untyped);
    }
    let (stored, expected) = (u16::from_le_bytes([*low, *high]), T::SCHEMA);
    if stored != expected {
        return Err(TypedGetError::SchemaChanged { stored, expected });
    }
    match postcard::take_from_bytes(encoding) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(TypedGetError::Decode),
    }
}
