//! The keys of a map: how they lie in its items, and the bytes that each becomes.

use core::cell::Cell;
use core::fmt;
use core::str::FromStr;

use sequential_storage::map::{Key, SerializationError};

/// The longest key of a fixed length, in bytes.
const FIXED_BYTES_MAX: usize = 1024;
/// Bytes of the length in front of strings and vectors.
const LENGTH_BYTES: usize = 2;

/// The type of the keys of a map, as its firmware has it. An item holds the key and then the value, and does not tell where one
/// ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// Numbers and arrays: so many bytes, numbers with the lowest first.
    Fixed(usize),
    /// Vectors of bytes: a length of two bytes, then the bytes.
    Vector,
    /// Strings: as vectors, and all bytes are UTF-8.
    Text,
}

impl KeyType {
    /// Splits an item into its key, without a length, and its value; `None` where the item has no such key.
    #[must_use]
    pub fn split(self, item: &[u8]) -> Option<(&[u8], &[u8])> {
        let KeyType::Fixed(len) = self else {
            let (len, rest) = item.split_first_chunk::<LENGTH_BYTES>()?;
            let (key, value) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
            let is_right = self == Self::Vector || core::str::from_utf8(key).is_ok();
            return is_right.then_some((key, value));
        };
        item.split_at_checked(len)
    }
}

impl FromStr for KeyType {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| match text {
            "8" => Some(1),
            "16" => Some(2),
            "32" => Some(4),
            "64" => Some(8),
            "128" => Some(16),
            _ => None,
        };
        let fixed = match (text, text.split_once(':')) {
            ("string", _) => return Ok(Self::Text),
            ("vec", _) => return Ok(Self::Vector),
            (_, Some(("bytes", len))) => len.parse().ok(),
            _ => text.strip_prefix(['u', 'i']).and_then(number),
        };
        let fixed = fixed.filter(|len| (1..=FIXED_BYTES_MAX).contains(len));
        fixed.map(Self::Fixed).ok_or("it is u8 to u128, i8 to i128, bytes:N with N up to 1024, string or vec")
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(len) => write!(f, "{len} bytes"),
            Self::Vector => f.write_str("a length and so many bytes"),
            Self::Text => f.write_str("a length and so many bytes of UTF-8"),
        }
    }
}

thread_local! {
    /// The type of the keys of the map that this thread reads. The crate decodes keys by a function without a value, so it has
    /// no other way there.
    static KEYS: Cell<KeyType> = const { Cell::new(KeyType::Vector) };
}

/// Sets the type of the keys of the map that this thread reads next.
pub(crate) fn set_key_type(keys: KeyType) {
    KEYS.set(keys);
}

/// A key as it lies in an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredKey(Vec<u8>);

impl StoredKey {
    /// A key that no item has: each other one takes a byte at least.
    pub(crate) const fn absent() -> Self {
        Self(Vec::new())
    }
}

impl Key for StoredKey {
    fn serialize_into(&self, buffer: &mut [u8]) -> Result<usize, SerializationError> {
        let place = buffer.get_mut(..self.0.len()).ok_or(SerializationError::BufferTooSmall)?;
        place.copy_from_slice(&self.0);
        Ok(self.0.len())
    }

    /// Reads the key that the bytes begin with, and says that it takes none of them. So the crate hands out each item whole. It does
    /// not check that a key is no longer than its item, and would panic.
    fn deserialize_from(buffer: &[u8]) -> Result<(Self, usize), SerializationError> {
        let keys = KEYS.get();
        // Bytes that are no text are refused with their item.
        let keys = if keys == KeyType::Text { KeyType::Vector } else { keys };
        let (_, value) = keys.split(buffer).ok_or(SerializationError::InvalidFormat)?;
        let len = buffer.len() - value.len();
        Ok((Self(buffer.get(..len).unwrap_or_default().to_vec()), 0))
    }

    fn get_len(_: &[u8]) -> Result<usize, SerializationError> {
        Ok(0)
    }
}
