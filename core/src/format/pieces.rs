//! Long values: written in pieces, none longer than a record.
//!
//! ```text
//! head   codec 6 │ generation u8 │ pieces u16 │ bytes u32, as the value of the value's key
//! piece  FF 63 70 │ generation u8 │ index u16 │ the value's key, as the key
//! ```
//! A piece is a record of its own. The value is there from the moment at which its head is. So a cut leaves the old value or
//! the new one, and perhaps pieces that no head names.

/// Bytes of a head.
pub const HEAD_BYTES: usize = 7;

/// Begins the keys of pieces.
pub const PIECE_PREFIX: [u8; 3] = [0xFF, b'c', b'p'];

/// Bytes that the key of a piece has before the value's key.
pub const PIECE_PREFIX_BYTES: usize = PIECE_PREFIX.len() + 3;

/// The expiry of every piece where keys are hashed: footers hold no keys, so this tells a piece from a value. No lifetime ends in
/// that second, and the tier's time never comes to it.
pub const PIECE_EXPIRES_S: u32 = u32::MAX - 1;

/// The head of a long value: it names the pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Head {
    /// Distinguishes the pieces of this value from those of others under the same key.
    pub generation: u8,
    /// How many pieces there are.
    pub pieces: u16,
    /// How long they are together, decoded.
    pub bytes: u32,
}

impl Head {
    /// Encodes a head.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let ([a, b], [c, d, e, f]) = (self.pieces.to_le_bytes(), self.bytes.to_le_bytes());
        [self.generation, a, b, c, d, e, f]
    }

    /// Decodes a head; `None` where the bytes are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [generation, a, b, c, d, e, f] = *<&[u8; HEAD_BYTES]>::try_from(bytes).ok()?;
        Some(Self { generation, pieces: u16::from_le_bytes([a, b]), bytes: u32::from_le_bytes([c, d, e, f]) })
    }
}

/// Makes the first bytes of a piece's key; the value's key follows.
#[must_use]
pub const fn piece_prefix(generation: u8, index: u16) -> [u8; PIECE_PREFIX_BYTES] {
    let ([a, b, c], [low, high]) = (PIECE_PREFIX, index.to_le_bytes());
    [a, b, c, generation, low, high]
}

/// Takes the key of a piece apart: generation, index and the value's key.
#[must_use]
pub fn piece_parts(key: &[u8]) -> Option<(u8, u16, &[u8])> {
    let (prefix, rest) = key.split_first_chunk::<PIECE_PREFIX_BYTES>()?;
    let [.., generation, low, high] = *prefix;
    key.starts_with(&PIECE_PREFIX).then_some((generation, u16::from_le_bytes([low, high]), rest))
}

/// Tells whether a record is a piece, by its expiry, where keys are hashed.
#[must_use]
pub const fn is_piece_expiry(expires_s: Option<u32>) -> bool {
    matches!(expires_s, Some(PIECE_EXPIRES_S))
}

/// Gives the expiry of a value, which must be one that no piece has: a second later where it would be.
#[must_use]
pub const fn beside_pieces(expires_s: u32) -> u32 {
    if expires_s == PIECE_EXPIRES_S { u32::MAX } else { expires_s }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_piece_key_are_read_as_they_were_made() {
        let head = Head { generation: 7, pieces: 0x0102, bytes: 0x0304_0506 };
        assert_eq!(head.to_bytes(), [7, 2, 1, 6, 5, 4, 3]);
        assert_eq!(Head::from_bytes(&head.to_bytes()), Some(head));
        assert_eq!(Head::from_bytes(&[0; HEAD_BYTES - 1]), None);
        let prefix = piece_prefix(7, 0x0102);
        assert_eq!(prefix, [0xFF, 0x63, 0x70, 7, 2, 1]);
        assert_eq!(piece_parts(&prefix), Some((7, 0x0102, &[][..])));
        assert_eq!(piece_parts(&[0xFF, 0x63, 0x70, 7, 2]), None);
        assert_eq!(piece_parts(b"another key"), None);
    }
}
