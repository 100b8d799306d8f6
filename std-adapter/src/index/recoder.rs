//! Values encoded again: for relocation, and to measure the codecs.

use coldpress_core::codec::{Choice, ChoicePolicy, CodecId, Trial, choose};
use rustix::time::{ClockId, clock_gettime};

use crate::codec::CodecSet;

/// The codecs that are tried. Heatshrink is made for small memories: on a host the others do better in a tenth of the time. It
/// is tried only where it is in use.
const CANDIDATES: [CodecId; 3] = [CodecId::Raw, CodecId::Lz4, CodecId::Zstd];

/// The most bytes of a value that are measured, so that a call takes no more than some milliseconds.
const SAMPLE_BYTES_MAX: usize = 64 << 10;

/// The most that a codec may cost: so many nanoseconds of a processor to encode and decode a mebibyte, which is 10 MiB a second.
const COST_NS_PER_MIB_MAX: u64 = 100_000_000;

/// Encodes values again, and measures the codecs on them.
#[derive(Debug, Default)]
pub(crate) struct Recoder {
    codecs: CodecSet,
    trial: Trial,
    value: Vec<u8>,
    payload: Vec<u8>,
    back: Vec<u8>,
    value_bytes_max: usize,
}

impl Recoder {
    pub(crate) fn new(value_bytes_max: usize) -> Self {
        Self { value_bytes_max, ..Self::default() }
    }

    fn decode(&mut self, codec: CodecId, payload: &[u8]) -> Option<()> {
        self.codecs.decode(codec, payload, self.value_bytes_max, &mut self.value).ok()
    }

    /// Encodes a payload with another codec, if that gains; returns the codec that made it and the length.
    pub(crate) fn recode(
        &mut self,
        from: CodecId,
        to: CodecId,
        payload: &[u8],
        out: &mut [u8],
    ) -> Option<(CodecId, usize)> {
        if from == to {
            return None;
        }
        self.decode(from, payload)?;
        let used = self.codecs.encode(to, &self.value, &mut self.payload);
        if self.payload.len() >= payload.len() {
            return None;
        }
        out.get_mut(..self.payload.len())?.copy_from_slice(&self.payload);
        Some((used, self.payload.len()))
    }

    /// Measures the candidates, and the codec in use, on one value: the encoded length, and the cost to encode and decode.
    ///
    /// # Bounds
    /// Decodes the value once; then each candidate has at most [`SAMPLE_BYTES_MAX`].
    pub(crate) fn sample(&mut self, codec: CodecId, payload: &[u8], in_use: CodecId) {
        if self.decode(codec, payload).is_none() {
            return;
        }
        let value = self.value.get(..SAMPLE_BYTES_MAX).unwrap_or(&self.value);
        for id in CodecId::ALL {
            let is_candidate = CANDIDATES.contains(&id) || id == in_use;
            if !is_candidate || CodecSet::check(id).is_err() {
                continue;
            }
            let begun_ns = thread_ns();
            let used = self.codecs.encode(id, value, &mut self.payload);
            let decoded = self.codecs.decode(used, &self.payload, value.len(), &mut self.back);
            let cost_ns = thread_ns().saturating_sub(begun_ns);
            if decoded.is_ok() {
                self.trial.record(id, value.len() as u64, self.payload.len() as u64, cost_ns);
            }
        }
    }

    /// Picks a codec by what was measured since the last choice.
    pub(crate) fn choose(&mut self) -> Choice {
        let policy = ChoicePolicy { cost_per_mib_max: COST_NS_PER_MIB_MAX, ..ChoicePolicy::default() };
        choose(&core::mem::take(&mut self.trial), &policy)
    }
}

/// Nanoseconds that this thread had a processor: other work of the machine does not count.
fn thread_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_measured_on_a_bounded_part_and_both_ways() {
        let mut recoder = Recoder::new(1 << 20);
        let text: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        recoder.sample(CodecId::Raw, &text, CodecId::Lz4);
        let tried: Vec<_> = recoder.trial.tried().map(|(id, _)| id).collect();
        assert!(tried.contains(&CodecId::Lz4) && !tried.contains(&CodecId::Heatshrink), "{tried:?}");
        for (id, sample) in recoder.trial.tried() {
            assert_eq!(sample.bytes_in, SAMPLE_BYTES_MAX as u64, "{id}");
            assert!(id == CodecId::Raw || sample.cost_units > 0, "{id}");
        }
        assert_ne!(recoder.choose().codec, CodecId::Raw);
        assert_eq!(recoder.trial.tried().count(), 0, "a choice begins anew");
        recoder.sample(CodecId::Raw, &text, CodecId::Heatshrink);
        assert!(recoder.trial.sample(CodecId::Heatshrink).is_some(), "it is in use");
    }

    #[test]
    fn codec_that_costs_too_much_is_not_chosen() {
        let mut recoder = Recoder::new(1 << 20);
        recoder.trial.record(CodecId::Zstd, 1 << 20, 1 << 17, COST_NS_PER_MIB_MAX + 1);
        recoder.trial.record(CodecId::Lz4, 1 << 20, 1 << 19, COST_NS_PER_MIB_MAX);
        assert_eq!(recoder.choose().codec, CodecId::Lz4);
    }
}
