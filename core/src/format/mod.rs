//! The format: the bytes on a medium, and how they are read back.
//!
//! A medium is a row of equal segments: a flash region, or one file. Records are appended to open segments; a sealed segment
//! never changes until it is erased. This module encodes and decodes bytes and decides nothing: the [machine](crate::machine)
//! chooses what to write, copy and erase.
//!
//! ```text
//! segment ┌────────┬─────────┬──────────────────────────►  ◄────────────┬─────────┬───────────┐
//!         │ marker │ header  │ record record record …   … entry entry  │ trailer │  header   │
//!         │        │ copy A  │                             (footer)    │         │  copy B   │
//!         └────────┴─────────┴─────────────────────────────────────────┴─────────┴───────────┘
//!         at erase   at open   appended                     when sealed, all records durable
//!
//! record  ┌─────┬─────────────┬──────────┬──────────┬───────┬─────┬───────┬─────┐
//!         │ tag │ key and     │ [expiry] │ [origin] │ crc32c│ key │ value │ pad │
//!         │  1  │ value len   │    4     │ 4, 6 or 8│   4   │     │       │     │
//!         │     │ 1+2 or 2+4  │          │          │       │     │       │     │
//!         └─────┴─────────────┴──────────┴──────────┴───────┴─────┴───────┴─────┘
//! ```
//! From the bottom: [`Checksum`] → [`Geometry`] → [`Version`], [`Location`] → records → segment marker and header → footers.

mod checksum;
mod exact_key;
mod fields;
mod footer;
mod geometry;
mod header;
mod hidden;
mod ids;
mod key_hash;
mod pieces;
mod place;
mod record;
mod tier_meta;

pub use checksum::{Checksum, Seed};
pub use exact_key::{IdentityHasher, KEY_BYTES_EXACT, Secret, is_piece_identity};
pub use footer::{
    ENTRY_BYTES, ENTRY_BYTES_MAX, EntryError, FooterEntries, FooterEntry, FooterWriter, TRAILER_BYTES,
    Trailer, TrailerError,
};
pub use geometry::{
    Format, Geometry, GeometryError, Identity, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENTS_MIN,
    WRITE_UNIT_MAX,
};
pub use header::{
    FORMAT_VERSION, HASH_KEY_BYTES, HEADER_BYTES, HEADER_BYTES_KEYED, Header, HeaderError, MARKER_BYTES,
    Marker, Store,
};
pub(crate) use hidden::Hidden;
pub use ids::{SegmentIndex, Sequence};
pub use key_hash::{key_hash, partition_of, piece_hash, record_hash, stored_hash};
pub use pieces::{
    HEAD_BYTES, Head, PIECE_EXPIRES_S, PIECE_PREFIX, PIECE_PREFIX_BYTES, beside_pieces, is_piece_expiry,
    piece_parts, piece_prefix,
};
pub use place::{KeyHash, Location, Version};
pub(crate) use record::Mending;
pub use record::{
    ERASE_INTENT_BYTES, EraseIntent, KEY_BYTES_MAX, Kind, RECORD_HEADER_BYTES_MAX, RECORD_HEADER_BYTES_MIN,
    Record, RecordError, RecordHeader, TIME_BYTES, is_whole, mended_length, read_record,
};
pub use tier_meta::{TIER_META_CHECKSUM_BYTES, TIER_META_HEAD_BYTES, TierMeta};
