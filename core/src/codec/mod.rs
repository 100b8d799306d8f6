//! Codecs: how the bytes of a value are made smaller before they become a record.
//!
//! A codec is a value that borrows its scratch memory (`Lz4` its match table). So the core needs no allocator, and a caller
//! decides where the scratch lives. Which codec made a record is written in the record as a [`CodecId`]; a reader that lacks it
//! reports [`CodecError::Lacking`] for that record and for nothing else. Which codec is worth its cost is decided by [`choose`]
//! from figures that were measured.
//!
//! # Payload layout
//!
//! | codec | payload |
//! |---|---|
//! | [`CodecId::Raw`] | the value's bytes, as they are |
//! | any other | `u32` little endian: length of the value; then the codec's own bytes to the end |
//!
//! The length stands first so that [`uncompressed_len`] says what to allocate before any byte is decoded. A
//! payload is always shorter than the value it stands for: where it would not be, [`Codec::compress`] answers
//! [`CodecError::NoGain`] and the value is stored raw. So a length prefix that is not larger than its own
//! payload is damage, and is refused as such.

#[cfg(feature = "heatshrink")]
mod heatshrink;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(test)]
mod tests;
mod trial;

#[cfg(feature = "heatshrink")]
pub use heatshrink::Heatshrink;
#[cfg(feature = "lz4")]
pub use lz4::{Lz4, Lz4Table};
pub use trial::{Choice, ChoicePolicy, Reason, Sample, Trial, choose};

/// Bytes of the length that precedes every payload but a raw one.
pub const PREFIX_BYTES: usize = 4;

/// The longest value that is compressed; a longer one is stored raw.
///
/// LZ4 spells a long run as a sum of bytes of at most 255 each. With payloads of at most 8 MiB that sum stays
/// under 2³¹, so no decoder can overflow a 32-bit `usize`, whatever the bytes say.
pub const LEN_MAX: usize = 8 << 20;

/// Names the codec of a record, as the record's tag does.
///
/// The tag takes three bits. Zero and seven never name a codec: the three bits of blank flash, whichever way
/// it is erased, must not parse. Seven marks a member of a batch, whose codec is [`Raw`](Self::Raw), in tags that no blank byte has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
#[non_exhaustive]
pub enum CodecId {
    /// The bytes as they are.
    Raw = 1,
    /// LZ4 block format: fast both ways; compressing takes a table of 8 KiB, 16 KiB for long values.
    Lz4 = 2,
    /// heatshrink with a window of 256 bytes: no scratch at all, slow to compress.
    Heatshrink = 3,
    /// Zstandard frames: the best ratio, on hosts only.
    Zstd = 4,
    /// No codec yet. A record that names it is kept and relocated as it is, and nobody decodes it.
    Unassigned = 5,
    /// No codec of bytes: the value lies in pieces, and the record holds the [head](crate::format::Head) that names them.
    Chunked = 6,
}

impl CodecId {
    /// Every codec that values are encoded with, cheapest first.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Lz4, Self::Heatshrink, Self::Zstd];

    /// Gives the tag's value, in `1..=6`.
    #[must_use]
    pub const fn tag(self) -> u8 {
        self as u8
    }

    /// Gives the name as configuration and reports spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Lz4 => "lz4",
            Self::Heatshrink => "heatshrink",
            Self::Zstd => "zstd",
            Self::Unassigned => "unassigned",
            Self::Chunked => "chunked",
        }
    }

    /// Gives the destination length with which compressing `len` bytes never fails for want of space.
    ///
    /// LZ4's encoder refuses a destination shorter than its worst case even where the outcome would fit; the
    /// others stop as soon as there is no gain, so the value's own length is enough.
    #[must_use]
    pub const fn dst_len(self, len: usize) -> usize {
        match self {
            Self::Lz4 => (PREFIX_BYTES + 20).saturating_add(len).saturating_add(len / 10),
            Self::Raw | Self::Heatshrink | Self::Zstd | Self::Unassigned | Self::Chunked => len,
        }
    }
}

impl TryFrom<u8> for CodecId {
    type Error = CodecError;

    /// Reads a record's tag.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unknown`] for a number that no tag holds, zero and seven among them.
    fn try_from(tag: u8) -> Result<Self, CodecError> {
        match tag {
            1 => Ok(Self::Raw),
            2 => Ok(Self::Lz4),
            3 => Ok(Self::Heatshrink),
            4 => Ok(Self::Zstd),
            5 => Ok(Self::Unassigned),
            6 => Ok(Self::Chunked),
            other => Err(CodecError::Unknown(other)),
        }
    }
}

impl core::fmt::Display for CodecId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Says why a value was not compressed or a payload not decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CodecError {
    /// The payload would not be shorter than the value: store it raw.
    NoGain,
    /// The destination is too short; with `needed` bytes the same call does not fail for this reason.
    DstTooSmall {
        /// Bytes that are enough.
        needed: usize,
    },
    /// The value is longer than is compressed, or than the reader accepts.
    TooLong {
        /// Bytes of the value.
        len: usize,
        /// Bytes accepted at most.
        max: usize,
    },
    /// The payload is not what this codec writes, or does not hold as many bytes as it says.
    Damaged(CodecId),
    /// No tag holds this number.
    Unknown(u8),
    /// The codec is known, and this build lacks it.
    Lacking(CodecId),
}

impl core::fmt::Display for CodecError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoGain => f.write_str("compressing makes the value no shorter"),
            Self::DstTooSmall { needed } => {
                write!(f, "the destination is too short: {needed} bytes are enough")
            }
            Self::TooLong { len, max } => write!(f, "a value of {len} bytes is over the limit of {max}"),
            Self::Damaged(id) => write!(f, "the {id} payload is damaged"),
            Self::Unknown(tag) => write!(f, "no record names a codec by {tag}"),
            Self::Lacking(id) => write!(f, "this build lacks the codec {id}"),
        }
    }
}

impl core::error::Error for CodecError {}

/// Makes values shorter and gives them back byte for byte.
///
/// Takes `&mut self` because scratch is lent to the codec and used by every call; what one call leaves there
/// never changes the outcome of another.
pub trait Codec {
    /// Names the codec, as its records do.
    fn id(&self) -> CodecId;

    /// Writes the payload of `src` to the start of `dst` and gives its length.
    ///
    /// # Errors
    ///
    /// [`CodecError::NoGain`] where the payload would not be shorter than `src`; [`CodecError::DstTooSmall`]
    /// where `dst` is shorter than the payload takes (never with [`CodecId::dst_len`] bytes);
    /// [`CodecError::TooLong`] over [`LEN_MAX`]. `dst` then holds nothing of use.
    ///
    /// # Bounds
    ///
    /// Work is linear in `src` (heatshrink: times its window of 256 bytes). Nothing is allocated.
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError>;

    /// Writes the value that the payload `src` stands for to the start of `dst` and gives its length.
    ///
    /// # Errors
    ///
    /// [`CodecError::DstTooSmall`] where `dst` is shorter than the length that the payload states;
    /// [`CodecError::Damaged`] where the payload is not whole. Bytes that were changed in a way that still
    /// decodes are for the record's checksum to find, not for the codec. `dst` then holds nothing of use.
    ///
    /// # Bounds
    ///
    /// Work is linear in `src` and the stated length; never a byte is written beyond the stated length.
    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError>;
}

/// Reads from a payload how many bytes its value has, so that the caller knows what to allocate.
///
/// ```
/// use coldpress_core::codec::{CodecError, CodecId, uncompressed_len};
///
/// assert_eq!(uncompressed_len(CodecId::Raw, b"abc", 16), Ok(3));
/// assert_eq!(uncompressed_len(CodecId::Lz4, &[9, 0, 0, 0, 0xAA], 16), Ok(9));
/// let absurd = [0xFF; 8];
/// assert!(uncompressed_len(CodecId::Lz4, &absurd, 16).is_err());
/// ```
///
/// # Errors
///
/// [`CodecError::TooLong`] over `max` or, for a compressed payload, over [`LEN_MAX`]; [`CodecError::Damaged`]
/// where the payload ends before its prefix does, or states a length that would have been stored raw.
pub fn uncompressed_len(codec: CodecId, payload: &[u8], max: usize) -> Result<usize, CodecError> {
    if codec == CodecId::Raw {
        let len = payload.len();
        return if len > max { Err(CodecError::TooLong { len, max }) } else { Ok(len) };
    }
    let (prefix, _) = payload.split_first_chunk::<PREFIX_BYTES>().ok_or(CodecError::Damaged(codec))?;
    let len = usize::try_from(u32::from_le_bytes(*prefix)).map_err(|_| CodecError::Damaged(codec))?;
    let max = max.min(LEN_MAX);
    if len > max {
        return Err(CodecError::TooLong { len, max });
    }
    if len <= payload.len() {
        return Err(CodecError::Damaged(codec));
    }
    Ok(len)
}

/// Splits a compressed payload for a decoder: the codec's own bytes, and the part of `dst` to fill.
///
/// # Errors
///
/// As [`uncompressed_len`], and [`CodecError::DstTooSmall`] where the value does not fit `dst`.
pub fn split_payload<'s, 'd>(
    codec: CodecId,
    payload: &'s [u8],
    dst: &'d mut [u8],
) -> Result<(&'s [u8], &'d mut [u8]), CodecError> {
    let needed = uncompressed_len(codec, payload, LEN_MAX)?;
    let body = payload.get(PREFIX_BYTES..).ok_or(CodecError::Damaged(codec))?;
    let dst = dst.get_mut(..needed).ok_or(CodecError::DstTooSmall { needed })?;
    Ok((body, dst))
}

/// Splits a destination for an encoder: the place of the length prefix, already written, and the rest.
///
/// # Errors
///
/// [`CodecError::TooLong`] over [`LEN_MAX`]; [`CodecError::NoGain`] for a value so short that a prefix alone
/// eats the gain; [`CodecError::DstTooSmall`] where `dst` does not hold the prefix.
pub fn split_dst(codec: CodecId, len: usize, dst: &mut [u8]) -> Result<&mut [u8], CodecError> {
    if len > LEN_MAX {
        return Err(CodecError::TooLong { len, max: LEN_MAX });
    }
    if len <= PREFIX_BYTES + 1 {
        return Err(CodecError::NoGain);
    }
    let stated = u32::try_from(len).map_err(|_| CodecError::TooLong { len, max: LEN_MAX })?;
    let needed = codec.dst_len(len);
    let (prefix, rest) =
        dst.split_first_chunk_mut::<PREFIX_BYTES>().ok_or(CodecError::DstTooSmall { needed })?;
    *prefix = stated.to_le_bytes();
    Ok(rest)
}

/// Stores the bytes as they are: for values that do not compress, and for readers that want no work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Raw;

impl Raw {
    fn copy(src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
        let needed = src.len();
        dst.get_mut(..needed).ok_or(CodecError::DstTooSmall { needed })?.copy_from_slice(src);
        Ok(needed)
    }
}

impl Codec for Raw {
    fn id(&self) -> CodecId {
        CodecId::Raw
    }

    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
        Self::copy(src, dst)
    }

    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
        Self::copy(src, dst)
    }
}
