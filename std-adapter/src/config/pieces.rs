//! The shape of long values: how long a piece is, and how many there may be.

use coldpress_core::format::{Geometry, PIECE_PREFIX_BYTES, RECORD_HEADER_BYTES_MAX};

/// A record takes at most this part of a segment, so that a segment ends at most so much early.
const RECORDS_PER_SEGMENT_MIN: u32 = 16;
/// In small segments a record may take so many bytes, up to a quarter of the segment.
const RECORD_BYTES_BRISK: u32 = 4096;
/// The longest value by default, where the capacity allows.
pub(super) const VALUE_BYTES_DEFAULT_MAX: u64 = 64 << 20;
/// A value takes at most this part of the bytes that one partition holds: the old value and the new one are there together.
const VALUES_PER_PARTITION_MIN: u64 = 4;
/// Bytes of a piece beyond its part of the value and the value's key.
const PIECE_OVERHEAD_BYTES: u32 = RECORD_HEADER_BYTES_MAX + 6;
const _: () = assert!(PIECE_PREFIX_BYTES == 6);

/// The longest record that is written: a value that takes a longer one lies in pieces.
pub(crate) fn record_bytes_max(geometry: &Geometry) -> u32 {
    let usable = geometry.usable_bytes();
    (usable / RECORDS_PER_SEGMENT_MIN).max(RECORD_BYTES_BRISK.min(usable / 4))
}

/// The most bytes of a value in one piece, beside a key of so many bytes.
pub(super) fn piece_bytes_max(record_bytes_max: u32, key_bytes: u32) -> u32 {
    record_bytes_max.saturating_sub(PIECE_OVERHEAD_BYTES + key_bytes).max(1)
}

/// The number of pieces of a value that takes a longer record than so many bytes, and the bytes of the value in each piece. The last may
/// have fewer. `None` where the value lies in one record.
pub(super) fn piece_lengths(record_bytes_max: u32, key_bytes: u32, value_bytes: u32) -> Option<(u32, u32)> {
    let whole = key_bytes.saturating_add(value_bytes);
    if whole <= record_bytes_max.saturating_sub(RECORD_HEADER_BYTES_MAX) {
        return None;
    }
    let each = piece_bytes(record_bytes_max, key_bytes, value_bytes);
    Some((value_bytes.div_ceil(each), each))
}

/// Bytes of a value in each of its pieces, which are about as long as each other, but for the last.
pub(crate) fn piece_bytes(record_bytes_max: u32, key_bytes: u32, value_bytes: u32) -> u32 {
    let most = piece_bytes_max(record_bytes_max, key_bytes);
    value_bytes.div_ceil(value_bytes.div_ceil(most).max(1)).max(1)
}

/// The longest value that can be stored at all in so many segments of one partition, whatever its key.
pub(super) fn value_bytes_max(geometry: &Geometry, data_segments: u32, key_bytes_max: u32) -> u64 {
    let record = record_bytes_max(geometry);
    let held = u64::from(geometry.usable_bytes().saturating_sub(record)) * u64::from(data_segments);
    let counted = u64::from(piece_bytes_max(record, key_bytes_max)) * u64::from(u16::MAX);
    (held / VALUES_PER_PARTITION_MIN).min(counted).min(u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldpress_core::format::Identity;

    #[test]
    fn pieces_fit_every_shape_with_every_key() {
        for segment_bytes in [512, 4 << 10, 64 << 10, 2 << 20, 256 << 20] {
            let geometry = Geometry::new(segment_bytes, 64, 1, 0, Identity::KeyedHash).unwrap();
            let record = record_bytes_max(&geometry);
            let key_max = (geometry.usable_bytes() / 32).min(u32::from(u16::MAX));
            assert!(record > key_max + PIECE_OVERHEAD_BYTES + 20, "{segment_bytes}: {record}");
            assert!(record <= geometry.usable_bytes() / 4);
            let most = value_bytes_max(&geometry, 54, key_max);
            assert!(most > u64::from(record) && most <= u64::from(geometry.usable_bytes()) * 54 / 4);
        }
    }
}
