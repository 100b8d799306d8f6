//! The heatshrink codec: LZSS for parts that have no kilobytes to spare.
//!
//! Compressing goes through the `heatshrink` crate. Decompressing is written here: that crate's decoder takes
//! a stream that was cut short for a whole one, and wants a spare byte behind the value. This one must
//! refuse such a stream and fill its destination exactly.
//!
//! # Stream
//!
//! Bits, the highest of each byte first. A literal is `1` and eight bits; a back-reference is `0`, eight bits
//! of distance minus one, four bits of length minus one. The last byte is filled up with zeros. (This is
//! heatshrink 0.4 with `window_sz2 = 8` and `lookahead_sz2 = 4`; the two numbers are part of the format.)

use super::{Codec, CodecError, CodecId, PREFIX_BYTES, split_dst, split_payload};

const WINDOW_BITS: u8 = 8;
const LENGTH_BITS: u8 = 4;

/// heatshrink with a window of 256 bytes; it needs no scratch beside source and destination.
///
/// ```
/// use coldpress_core::codec::{Codec, Heatshrink};
///
/// let reading = *b"t=21.5 h=40 t=21.5 h=41 t=21.6 h=41 t=21.5 h=40 ";
/// let (mut payload, mut back) = ([0u8; 48], [0u8; 48]);
/// let len = Heatshrink.compress(&reading, &mut payload)?;
/// assert!(len < reading.len());
/// assert_eq!(Heatshrink.decompress(&payload[..len], &mut back)?, reading.len());
/// assert_eq!(back, reading);
/// # Ok::<(), coldpress_core::codec::CodecError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Heatshrink;

impl Codec for Heatshrink {
    fn id(&self) -> CodecId {
        CodecId::Heatshrink
    }

    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
        let body = split_dst(CodecId::Heatshrink, src.len(), dst)?;
        let gain_max = src.len().saturating_sub(PREFIX_BYTES + 1);
        let enough = body.len() >= gain_max;
        let body = if enough { body.get_mut(..gain_max).ok_or(CodecError::NoGain)? } else { body };
        let config = ::heatshrink::Config::new(WINDOW_BITS, LENGTH_BITS)
            .map_err(|_| CodecError::Lacking(CodecId::Heatshrink))?;
        match ::heatshrink::encode(src, body, &config) {
            Ok(written) => Ok(PREFIX_BYTES + written.len()),
            Err(_) if enough => Err(CodecError::NoGain),
            Err(_) => Err(CodecError::DstTooSmall { needed: CodecId::Heatshrink.dst_len(src.len()) }),
        }
    }

    fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize, CodecError> {
        let (body, dst) = split_payload(CodecId::Heatshrink, src, dst)?;
        decode(body, dst).ok_or(CodecError::Damaged(CodecId::Heatshrink))
    }
}

/// Fills `dst` from the stream; `None` unless the stream gives exactly that many bytes and nothing more.
fn decode(body: &[u8], dst: &mut [u8]) -> Option<usize> {
    let mut bits = Bits { bytes: body, held: 0, count: 0 };
    let mut at = 0;
    while at < dst.len() {
        if bits.take(1)? == 1 {
            let literal = u8::try_from(bits.take(8)?).ok()?;
            *dst.get_mut(at)? = literal;
            at += 1;
            continue;
        }
        let distance = usize::from(bits.take(WINDOW_BITS)?) + 1;
        let length = usize::from(bits.take(LENGTH_BITS)?) + 1;
        let start = at.checked_sub(distance)?;
        let end = at + length;
        if end > dst.len() {
            return None;
        }
        // Byte by byte: a run may overlap what it copies.
        for (from, to) in (start..).zip(at..end) {
            let byte = *dst.get(from)?;
            *dst.get_mut(to)? = byte;
        }
        at = end;
    }
    bits.is_spent().then_some(at)
}

/// Takes a stream apart from its highest bit down.
struct Bits<'a> {
    bytes: &'a [u8],
    held: u32,
    count: u8,
}

impl Bits<'_> {
    /// Gives the next `count` bits, at most eight; `None` past the end.
    fn take(&mut self, count: u8) -> Option<u16> {
        if self.count < count {
            let (first, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            self.held = (self.held << 8) | u32::from(*first);
            self.count += 8;
        }
        self.count -= count;
        let taken = (self.held >> self.count) & ((1 << count) - 1);
        u16::try_from(taken).ok()
    }

    /// Says whether only the zeros that fill up the last byte are left.
    fn is_spent(&self) -> bool {
        self.bytes.is_empty() && self.count < 8 && self.held & ((1 << self.count) - 1) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(value: &[u8]) -> ([u8; 256], usize) {
        let mut out = [0; 256];
        let len = Heatshrink.compress(value, &mut out).expect("compressible");
        (out, len)
    }

    #[test]
    fn own_decoder_reads_streams_as_the_crate_does() {
        let value = *b"abcabcabcabcabcabcabcabcabdabdabdabdabd0000000000000000";
        let (payload, len) = stream(&value);
        let config = ::heatshrink::Config::new(WINDOW_BITS, LENGTH_BITS).unwrap();
        let mut theirs = [0; 64];
        let theirs = ::heatshrink::decode(&payload[PREFIX_BYTES..len], &mut theirs, &config).unwrap();
        let mut ours = [0; 55];
        assert_eq!(Heatshrink.decompress(&payload[..len], &mut ours), Ok(55));
        assert_eq!(theirs, ours);
    }

    #[test]
    fn whole_stream_any_byte_cut_off_is_damage() {
        let value = *b"abcabcabcabcabcabcabcabcabdabdabdabdabd0000000000000000";
        let (payload, len) = stream(&value);
        for cut in PREFIX_BYTES..len {
            let mut back = [0; 64];
            assert_eq!(
                Heatshrink.decompress(&payload[..cut], &mut back),
                Err(CodecError::Damaged(CodecId::Heatshrink)),
                "cut to {cut}"
            );
        }
    }

    #[test]
    fn stream_with_a_byte_too_many_is_damage() {
        let value = [5u8; 100];
        let (payload, len) = stream(&value);
        let mut back = [0; 100];
        assert_eq!(
            Heatshrink.decompress(&payload[..=len], &mut back),
            Err(CodecError::Damaged(CodecId::Heatshrink))
        );
    }

    #[test]
    fn reference_before_the_start_is_damage() {
        // Length 100, then a back-reference while nothing was written yet.
        let payload = [100, 0, 0, 0, 0b0000_0000, 0b0111_1000];
        let mut back = [0; 100];
        assert_eq!(Heatshrink.decompress(&payload, &mut back), Err(CodecError::Damaged(CodecId::Heatshrink)));
    }
}
