//! CodecSet on a host: every codec of the core and Zstandard, behind one set that a thread owns.

#[cfg(test)]
mod tests;
#[cfg(feature = "zstd")]
mod zstd;

pub use coldpress_core::codec::{Codec, CodecError, CodecId};
use coldpress_core::codec::{Heatshrink, Lz4, Lz4Table, Raw, uncompressed_len};

#[cfg(feature = "zstd")]
pub use self::zstd::Zstd;

/// All codecs of this build with their scratch; each thread that encodes or decodes owns one.
///
/// Scratch is made when a codec is first used and kept: 32 KiB for LZ4, about 1.3 MiB for Zstandard at its
/// default level, nothing for the others.
///
/// ```
/// use coldpress_std::codec::{CodecError, CodecId, CodecSet};
///
/// let mut codecs = CodecSet::new();
/// let (mut payload, mut back) = (Vec::new(), Vec::new());
/// let used = codecs.encode(CodecId::Lz4, &[7; 4096], &mut payload);
/// assert!(used == CodecId::Lz4 && payload.len() < 100);
/// codecs.decode(used, &payload, 1 << 20, &mut back)?;
/// assert_eq!(back, [7; 4096]);
/// assert_eq!(codecs.encode(CodecId::Lz4, b"no gain", &mut payload), CodecId::Raw);
/// # Ok::<(), CodecError>(())
/// ```
#[derive(Debug, Default)]
#[doc(alias = "CompressionEngine")]
pub struct CodecSet {
    lz4_short: Option<Box<Lz4Table>>,
    lz4_long: Option<Box<Lz4Table>>,
    #[cfg(feature = "zstd")]
    zstd: Option<Zstd>,
}

impl CodecSet {
    /// Makes a set without any scratch yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether this build has a codec, so that a configuration can be refused before anything is written.
    ///
    /// # Errors
    ///
    /// [`CodecError::Lacking`] where it has not.
    pub fn check(id: CodecId) -> Result<(), CodecError> {
        match id {
            CodecId::Raw | CodecId::Lz4 | CodecId::Heatshrink => Ok(()),
            #[cfg(feature = "zstd")]
            CodecId::Zstd => Ok(()),
            other => Err(CodecError::Lacking(other)),
        }
    }

    /// Replaces the content of `out` by the payload of `value` and gives the codec that made it.
    ///
    /// The codec is `id`, or [`CodecId::Raw`] where `id` brings no gain, where the value is too long for it, or where
    /// this build lacks it: a value can always be stored.
    ///
    /// # Bounds
    ///
    /// Work is linear in the value. `out` grows to at most 1.1 times the value and keeps its capacity.
    pub fn encode(&mut self, id: CodecId, value: &[u8], out: &mut Vec<u8>) -> CodecId {
        if id != CodecId::Raw {
            // Bytes from an earlier value are overwritten or cut off below, so only growth is filled.
            let dst_bytes = id.dst_len(value.len());
            if out.len() < dst_bytes {
                out.resize(dst_bytes, 0);
            }
            let payload = self.with(id, value.len(), |codec| codec.compress(value, out));
            if let Ok(len) = payload {
                out.truncate(len);
                return id;
            }
        }
        out.clear();
        out.extend_from_slice(value);
        CodecId::Raw
    }

    /// Replaces the content of `out` by the value that `payload` stands for.
    ///
    /// # Errors
    ///
    /// [`CodecError::Lacking`] where this build lacks the codec; [`CodecError::TooLong`] where the payload
    /// states more than `len_max` bytes, before anything is allocated; [`CodecError::Damaged`] where it does
    /// not hold what it states. `out` is then empty.
    ///
    /// # Bounds
    ///
    /// Work is linear in the value, of which there are at most `len_max` bytes.
    pub fn decode(
        &mut self,
        id: CodecId,
        payload: &[u8],
        len_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        out.clear();
        self.decode_onto(id, payload, len_max, out)
    }

    /// As [`decode`](Self::decode), behind what is in `out`, which stays as it was after an error.
    pub(crate) fn decode_onto(
        &mut self,
        id: CodecId,
        payload: &[u8],
        len_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        Self::check(id)?;
        let len = uncompressed_len(id, payload, len_max)?;
        if id == CodecId::Raw {
            out.extend_from_slice(payload);
            return Ok(());
        }
        let start = out.len();
        out.resize(start + len, 0);
        let decoded =
            self.with(id, len, |codec| codec.decompress(payload, out.get_mut(start..).unwrap_or_default()));
        if decoded.is_err() {
            out.truncate(start);
        }
        decoded.map(|_| ())
    }

    /// Runs a call on a codec, with scratch fit for values of `len` bytes.
    fn with<T>(
        &mut self,
        id: CodecId,
        len: usize,
        call: impl FnOnce(&mut dyn Codec) -> Result<T, CodecError>,
    ) -> Result<T, CodecError> {
        match id {
            CodecId::Raw => call(&mut Raw),
            CodecId::Heatshrink => call(&mut Heatshrink),
            CodecId::Lz4 => {
                let table = if len < Lz4Table::SHORT_BYTES_MAX {
                    self.lz4_short.get_or_insert_with(|| Box::new(Lz4Table::short()))
                } else {
                    self.lz4_long.get_or_insert_with(|| Box::new(Lz4Table::long()))
                };
                call(&mut Lz4::new(table))
            }
            #[cfg(feature = "zstd")]
            CodecId::Zstd => match &mut self.zstd {
                Some(zstd) => call(zstd),
                none => call(none.insert(Zstd::new(Zstd::LEVEL_DEFAULT)?)),
            },
            other => Err(CodecError::Lacking(other)),
        }
    }
}
