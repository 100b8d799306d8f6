//! The Zstandard codec: the best ratio, for hosts.

use core::fmt;

use coldpress_core::codec::{Codec, CodecError, CodecId, PREFIX_BYTES, split_dst, split_payload};
use zstd::bulk::{Compressor, Decompressor};

/// Zstandard with its two contexts, made once and used for every value.
///
/// The contexts are the scratch: making them anew for each value costs more than compressing a short one.
///
/// ```
/// use coldpress_std::codec::{Codec, CodecError, CodecId, Zstd};
///
/// let mut zstd = Zstd::new(Zstd::LEVEL_DEFAULT)?;
/// let page = [7u8; 4096];
/// let mut payload = vec![0; CodecId::Zstd.dst_len(page.len())];
/// let len = zstd.compress(&page, &mut payload)?;
/// let mut back = [0u8; 4096];
/// assert_eq!(zstd.decompress(&payload[..len], &mut back)?, 4096);
/// assert_eq!(back, page);
/// # Ok::<(), CodecError>(())
/// ```
pub struct Zstd {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
}

impl Zstd {
    /// The level at which values of a few kilobytes lose little and cost little.
    pub const LEVEL_DEFAULT: i32 = 3;

    /// Makes the contexts; the library clamps the level to the range it knows.
    ///
    /// # Errors
    ///
    /// [`CodecError::Lacking`] where the library cannot make a context.
    pub fn new(level: i32) -> Result<Self, CodecError> {
        let lacking = |_| CodecError::Lacking(CodecId::Zstd);
        let compressor = Compressor::new(level).map_err(lacking)?;
        let decompressor = Decompressor::new().map_err(lacking)?;
        Ok(Self { compressor, decompressor })
    }
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zstd")
    }
}

impl Codec for Zstd {
    fn id(&self) -> CodecId {
        CodecId::Zstd
    }

    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
        let body = split_dst(CodecId::Zstd, src.len(), dst)?;
        // A payload must be shorter than its value, so the encoder is offered no more space than that, and stops at the end of
        // it.
        let gain_max = src.len().saturating_sub(PREFIX_BYTES + 1);
        let enough = body.len() >= gain_max;
        let offered = body.len().min(gain_max);
        let body = body.get_mut(..offered).ok_or(CodecError::NoGain)?;
        match self.compressor.compress_to_buffer(src, body) {
            Ok(written) => Ok(PREFIX_BYTES + written),
            Err(_) if enough => Err(CodecError::NoGain),
            Err(_) => Err(CodecError::DstTooSmall { needed: CodecId::Zstd.dst_len(src.len()) }),
        }
    }

    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
        let (body, dst) = split_payload(CodecId::Zstd, src, dst)?;
        match self.decompressor.decompress_to_buffer(body, dst) {
            Ok(len) if len == dst.len() => Ok(len),
            _ => Err(CodecError::Damaged(CodecId::Zstd)),
        }
    }
}
