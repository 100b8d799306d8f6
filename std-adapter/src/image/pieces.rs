//! Values that a device wrote in pieces: each piece is a record of its own, and a head under the value's key names them.
//!
//! ```text
//! head   codec 6 │ generation u8 │ pieces u16 │ bytes u32, as the value
//! piece  FF 63 70 │ generation u8 │ index u16 │ the value's key, as the key
//! ```

/// The codec number of a head.
pub(super) const PIECES: u8 = 6;
/// What the keys of pieces begin with.
const PREFIX: [u8; 3] = [0xFF, b'c', b'p'];

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    generation: u8,
    /// How many pieces there are.
    pub(super) pieces: u16,
    /// How long they are together.
    pub(super) bytes: u32,
}

impl Head {
    /// Reads a head; `None` where it is none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [generation, a, b, c, d, e, f] = *bytes.first_chunk::<7>().filter(|_| bytes.len() == 7)?;
        Some(Self { generation, pieces: u16::from_le_bytes([a, b]), bytes: u32::from_le_bytes([c, d, e, f]) })
    }

    /// The key of a piece.
    pub(super) fn piece_key(&self, index: u16, key: &[u8]) -> Vec<u8> {
        [&PREFIX[..], &[self.generation], &index.to_le_bytes(), key].concat()
    }
}

/// Whether a key is that of a piece.
pub(super) fn is_piece(key: &[u8]) -> bool {
    key.starts_with(&PREFIX)
}
