//! The metadata of a service's tier, which lie in a file beside its logs.
//!
//! ```text
//! "cpM1" │ partitions u16 │ schema bytes u16 │ store id u64 │ schema │ crc32c
//! ```
//! Little-endian.

use super::checksum::Checksum;
use super::fields::FieldWriter;

const MAGIC: &[u8; 4] = b"cpM1";

/// Bytes of the metadata in front of the schema.
pub const TIER_META_HEAD_BYTES: usize = 16;

/// Bytes of the checksum at the end of the metadata.
pub const TIER_META_CHECKSUM_BYTES: usize = 4;

/// The number of files of a tier, the store that they are of, and the schema of its values.
///
/// ```
/// use coldpress_core::format::TierMeta;
///
/// let meta = TierMeta { partitions: 2, store_id: 7, schema: "sessions v1" };
/// let (head, checksum) = (meta.head(), meta.checksum());
/// let bytes = [&head[..], meta.schema.as_bytes(), &checksum].concat();
/// assert_eq!(TierMeta::decode(&bytes), Some(meta));
/// assert_eq!(TierMeta::decode(&bytes[1..]), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierMeta<'a> {
    /// The number of partitions.
    pub partitions: u16,
    /// The id of the store; 0 where it is not known.
    pub store_id: u64,
    /// The schema; empty where there is none.
    pub schema: &'a str,
}

impl<'a> TierMeta<'a> {
    /// The bytes in front of the schema. A schema of more than 65,535 bytes has no encoding: [`decode`](Self::decode) refuses it.
    #[must_use]
    pub fn head(&self) -> [u8; TIER_META_HEAD_BYTES] {
        let mut bytes = [0; TIER_META_HEAD_BYTES];
        let mut fields = FieldWriter::new(&mut bytes);
        fields.put(MAGIC);
        fields.put(&self.partitions.to_le_bytes());
        fields.put(&u16::try_from(self.schema.len()).unwrap_or(u16::MAX).to_le_bytes());
        fields.put(&self.store_id.to_le_bytes());
        bytes
    }

    /// The bytes behind the schema: the checksum of all before it.
    #[must_use]
    pub fn checksum(&self) -> [u8; TIER_META_CHECKSUM_BYTES] {
        Checksum::of(&self.head()).then(self.schema.as_bytes()).value().to_le_bytes()
    }

    /// Reads metadata; `None` where they are damaged, or of a later version.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk()?;
        if Checksum::of(body).value() != u32::from_le_bytes(*checksum) {
            return None;
        }
        let (partitions, rest) = body.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (store_id, schema) = rest.split_first_chunk()?;
        if schema.len() != usize::from(u16::from_le_bytes(*len)) {
            return None;
        }
        Some(Self {
            partitions: u16::from_le_bytes(*partitions),
            store_id: u64::from_le_bytes(*store_id),
            schema: core::str::from_utf8(schema).ok()?,
        })
    }
}
