//! Records on their way in: those of clients, and the tombstones that the machine makes itself.

use crate::codec::CodecId;
use crate::format::{Checksum, KeyHash, Kind, RecordHeader, Seed, SegmentIndex, Version};
use crate::index::Released;

/// A client's record: a value, or the tombstone of a remove.
#[derive(Debug, Clone, Copy)]
pub struct Fresh<'a> {
    /// The identity of its key.
    pub hash: KeyHash,
    /// [`Kind::Value`] or [`Kind::Tombstone`].
    pub kind: Kind,
    /// The codec that the value is encoded with.
    pub codec: CodecId,
    /// Bytes of the key at the start of `payload`.
    pub key_bytes: u32,
    /// Key, then encoded value. A tombstone has the 12 bytes of the hash for a key, where keys are hashed, and no value.
    pub payload: &'a [u8],
    /// The checksum over the payload, begun with the [seed](crate::format::Seed::payload) of the store. A client can compute it
    /// before it has the log.
    pub checksum: Checksum,
    /// When it expires, in seconds of the wall clock.
    pub expires_s: Option<u32>,
    /// The newest version known of the key, written or only appended: the record gets a higher one.
    pub after: Option<Version>,
    /// The segment in which the newest written record of the key lies, where that is known. By it a stream is chosen, and nothing
    /// else depends on it.
    pub replaces: Option<SegmentIndex>,
}

impl Fresh<'_> {
    pub(crate) fn header(&self, rest: &[u8]) -> RecordHeader {
        let payload = u32::try_from(self.payload.len() + rest.len()).unwrap_or(u32::MAX);
        RecordHeader {
            kind: self.kind,
            codec: self.codec,
            key_bytes: self.key_bytes,
            value_bytes: payload.saturating_sub(self.key_bytes),
            expires_s: self.expires_s,
            origin: None,
        }
    }
}

/// Makes a tombstone for a record that the machine drops.
pub(crate) fn tombstone<'a>(
    seed: Seed,
    hash: KeyHash,
    key: &'a [u8],
    origin: Option<Version>,
    relocated_from: Option<Released>,
) -> Incoming<'a> {
    let header = RecordHeader {
        kind: Kind::Tombstone,
        codec: CodecId::Raw,
        key_bytes: u32::try_from(key.len()).unwrap_or(u32::MAX),
        value_bytes: 0,
        expires_s: None,
        origin,
    };
    Incoming { hash, header, parts: [key, &[]], payload: seed.payload(key), relocated_from }
}

/// A record on its way into a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) hash: KeyHash,
    pub(crate) header: RecordHeader,
    /// Key, then value.
    pub(crate) parts: [&'a [u8]; 2],
    pub(crate) payload: Checksum,
    pub(crate) relocated_from: Option<Released>,
}
