//! The codec of the model: run lengths, under the name of LZ4. It is small enough to be obviously right.

use coldpress_core::codec::CodecId;

/// Values stored as they are.
pub(super) const RAW: CodecId = CodecId::Raw;
/// Values stored as runs.
pub(super) const RUNS: CodecId = CodecId::Lz4;

/// Writes `value` as pairs of length and byte; `None` where that is no shorter or does not fit.
pub(super) fn encode(value: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut len = 0;
    let mut rest = value;
    while let Some(&byte) = rest.first() {
        let run = rest.iter().take(255).take_while(|&&next| next == byte).count();
        let pair = out.get_mut(len..len + 2)?;
        pair[0] = u8::try_from(run).unwrap_or(u8::MAX);
        pair[1] = byte;
        len += 2;
        rest = &rest[run..];
    }
    (len < value.len()).then_some(len)
}

/// Gives the value back; `None` for a codec that the model lacks or bytes it did not write.
#[must_use]
pub(super) fn decode(codec: CodecId, stored: &[u8]) -> Option<Vec<u8>> {
    match codec {
        RAW => Some(stored.to_vec()),
        RUNS if stored.len().is_multiple_of(2) => {
            Some(stored.chunks(2).flat_map(|pair| vec![pair[1]; pair[0] as usize]).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_round_trip_and_noise_is_refused() {
        let value = [&[1u8; 300][..], &[2, 3], &[4; 40]].concat();
        let mut out = [0; 64];
        let len = encode(&value, &mut out).unwrap();
        assert_eq!(decode(RUNS, &out[..len]), Some(value));
        assert_eq!(encode(&[1, 2, 3, 4], &mut out), None);
        assert_eq!(encode(&[9; 600], &mut out[..4]), None);
    }
}
