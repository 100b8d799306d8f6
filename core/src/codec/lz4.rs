//! The LZ4 block codec over `lz4_flex`, in its form that allocates nothing. With the feature `lz4-safe` the library has no unsafe code;
//! without it, it is faster, and checks the bounds of what it decodes all the same.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into};

use super::{Codec, CodecError, CodecId, PREFIX_BYTES, split_dst, split_payload};

/// The match table of [`Lz4`], lent to it.
///
/// It takes 16 KiB, of which a short value uses 8 KiB, cleared before each value. Clearing costs little: the C library, which clears
/// nothing before most short values, was faster by a sixth for 100 bytes, and slower for a kilobyte. Lend one table of
/// each kind where both short and long values come; a short table that meets a long value is replaced by a long one, for good,
/// on the stack.
pub struct Lz4Table(CompressTable);

impl Lz4Table {
    /// Values under this length are compressed with a short table.
    pub const SHORT_BYTES_MAX: usize = u16::MAX as usize;

    /// Makes a table for values under [`Lz4Table::SHORT_BYTES_MAX`].
    #[must_use]
    pub fn short() -> Self {
        Self(CompressTable::small())
    }

    /// Makes a table for values of any length.
    #[must_use]
    pub fn long() -> Self {
        Self(CompressTable::large())
    }
}

impl Default for Lz4Table {
    fn default() -> Self {
        Self::short()
    }
}

impl core::fmt::Debug for Lz4Table {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Lz4Table")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Lz4Table {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Lz4Table");
    }
}

/// LZ4 with a lent match table.
///
/// ```
/// use coldpress_core::codec::{Codec, CodecId, Lz4, Lz4Table};
///
/// let mut table = Lz4Table::short();
/// let mut lz4 = Lz4::new(&mut table);
/// let page = [7u8; 4096];
/// let mut payload = vec![0; CodecId::Lz4.dst_len(page.len())];
/// let len = lz4.compress(&page, &mut payload)?;
/// let mut back = [0u8; 4096];
/// assert_eq!(lz4.decompress(&payload[..len], &mut back)?, 4096);
/// assert_eq!(back, page);
/// # Ok::<(), coldpress_core::codec::CodecError>(())
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Lz4<'a> {
    table: &'a mut Lz4Table,
}

/// No shorter value gains: with its length prefix, the shortest block that has a match takes 14 bytes.
const GAIN_BYTES_MIN: usize = 15;

impl<'a> Lz4<'a> {
    /// Borrows the table for as many values as the codec is used for.
    #[must_use]
    pub fn new(table: &'a mut Lz4Table) -> Self {
        Self { table }
    }
}

impl Codec for Lz4<'_> {
    fn id(&self) -> CodecId {
        CodecId::Lz4
    }

    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
        if src.len() < GAIN_BYTES_MIN {
            // The table need not be cleared for that.
            return Err(CodecError::NoGain);
        }
        let body = split_dst(CodecId::Lz4, src.len(), dst)?;
        let too_small = |_| CodecError::DstTooSmall { needed: CodecId::Lz4.dst_len(src.len()) };
        let len = PREFIX_BYTES + compress_into_with_table(src, body, &mut self.table.0).map_err(too_small)?;
        if len < src.len() { Ok(len) } else { Err(CodecError::NoGain) }
    }

    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
        let (body, dst) = split_payload(CodecId::Lz4, src, dst)?;
        match decompress_into(body, dst) {
            Ok(len) if len == dst.len() => Ok(len),
            _ => Err(CodecError::Damaged(CodecId::Lz4)),
        }
    }
}
