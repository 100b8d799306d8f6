//! Which codec to use: a choice from figures that were measured on live records, with its reason.
//!
//! Pure arithmetic on integers. The caller samples records, runs the candidates on them, times them with its
//! own clock (or counts instructions, or bytes: any unit of cost, as long as it is the same for all) and
//! records the outcome here.

use super::CodecId;

/// The result of one codec on the records that it was tried on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sample {
    /// Bytes of the values that were tried.
    pub bytes_in: u64,
    /// Bytes of the payloads they became; a value that gained nothing counts as it would be stored, raw.
    pub bytes_out: u64,
    /// Cost of compressing and decompressing them, in the caller's units.
    pub cost_units: u64,
}

impl Sample {
    /// Gives how much smaller the bytes became, in thousandths of what went in.
    #[must_use]
    pub fn gain_permille(&self) -> u32 {
        let saved = self.bytes_in.saturating_sub(self.bytes_out);
        permille(saved, self.bytes_in)
    }

    /// Gives the cost of one mebibyte of values, in the caller's units.
    #[must_use]
    pub fn cost_per_mib(&self) -> u64 {
        let scaled = (u128::from(self.cost_units) << 20).checked_div(u128::from(self.bytes_in));
        scaled.map_or(0, |cost| u64::try_from(cost).unwrap_or(u64::MAX))
    }
}

fn permille(part: u64, whole: u64) -> u32 {
    let share = (u128::from(part) * 1000).checked_div(u128::from(whole)).unwrap_or(0);
    u32::try_from(share.min(1000)).unwrap_or(1000)
}

/// Gathers samples per codec; it is made empty, filled record by record, and read by [`choose`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Trial {
    samples: [Sample; CodecId::ALL.len()],
}

impl Trial {
    /// Makes an empty trial.
    #[must_use]
    pub const fn new() -> Self {
        const NONE: Sample = Sample { bytes_in: 0, bytes_out: 0, cost_units: 0 };
        Self { samples: [NONE; CodecId::ALL.len()] }
    }

    /// Adds one record: the lengths of its value and its payload, and the cost.
    ///
    /// `bytes_out` counts at most as `bytes_in`, since a payload without gain is stored raw. Sums saturate.
    pub fn record(&mut self, codec: CodecId, bytes_in: u64, bytes_out: u64, cost_units: u64) {
        for (id, sample) in CodecId::ALL.iter().zip(&mut self.samples) {
            if *id == codec {
                sample.bytes_in = sample.bytes_in.saturating_add(bytes_in);
                sample.bytes_out = sample.bytes_out.saturating_add(bytes_out.min(bytes_in));
                sample.cost_units = sample.cost_units.saturating_add(cost_units);
            }
        }
    }

    /// Gives the sample of a codec; `None` if it was never tried.
    #[must_use]
    pub fn sample(&self, codec: CodecId) -> Option<&Sample> {
        self.tried().find(|(id, _)| *id == codec).map(|(_, sample)| sample)
    }

    /// Lists the codecs that were tried, cheapest tag first.
    pub fn tried(&self) -> impl Iterator<Item = (CodecId, &Sample)> {
        CodecId::ALL.into_iter().zip(&self.samples).filter(|(_, sample)| sample.bytes_in > 0)
    }
}

/// How a gain is weighed against its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChoicePolicy {
    /// A codec that gains less than this, in thousandths of the bytes, is not worth its cost.
    pub gain_min_permille: u32,
    /// Gains no further apart than this are a tie, and the cheaper codec takes it.
    pub tie_permille: u32,
    /// The most that one mebibyte of values may cost, in the trial's units; dearer codecs do not take part.
    pub cost_per_mib_max: u64,
}

impl Default for ChoicePolicy {
    /// One eighth gained at least, a tie within 5 %, no limit on cost.
    fn default() -> Self {
        Self { gain_min_permille: 125, tie_permille: 50, cost_per_mib_max: u64::MAX }
    }
}

/// Why a codec was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Reason {
    /// Nothing but raw was tried, so raw stays.
    Untried,
    /// Every codec that was tried costs more than the policy allows.
    TooDear,
    /// Even the best codec gains less than the threshold.
    GainBelow {
        /// The codec that gained most.
        best: CodecId,
        /// Its gain.
        gain_permille: u32,
    },
    /// It gains most, and nothing cheaper comes near.
    GainsMost,
    /// Another gains a little more; this one is cheaper, and the difference counts as a tie.
    CheaperInTie {
        /// The codec that gained most.
        best: CodecId,
        /// The gain of that one beyond this.
        lead_permille: u32,
    },
}

/// The codec to use from now on, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Choice {
    /// The codec for new records and for records that are rewritten.
    pub codec: CodecId,
    /// Its gain in the trial, in thousandths of the bytes; zero for raw.
    pub gain_permille: u32,
    /// The reason.
    pub reason: Reason,
}

/// Picks the codec that gains most, the cheaper of those that tie, or raw where none gains enough.
///
/// A candidate must gain at least the threshold itself: a tie with a better one does not lift it over. Among
/// candidates within the tie margin of the best the lowest cost wins, then the larger gain, then the lower
/// tag. So the choice does not depend on the order of recording.
///
/// ```
/// use coldpress_core::codec::{ChoicePolicy, CodecId, Trial, choose};
///
/// let mut trial = Trial::new();
/// trial.record(CodecId::Lz4, 4096, 2048, 10);
/// trial.record(CodecId::Zstd, 4096, 1300, 90);
/// assert_eq!(choose(&trial, &ChoicePolicy::default()).codec, CodecId::Zstd);
/// let thrifty = ChoicePolicy { cost_per_mib_max: 10_000, ..ChoicePolicy::default() };
/// assert_eq!(choose(&trial, &thrifty).codec, CodecId::Lz4);
/// ```
///
/// # Bounds
///
/// Two passes over the codecs, of which there are four.
#[must_use]
pub fn choose(trial: &Trial, policy: &ChoicePolicy) -> Choice {
    let raw = |reason| Choice { codec: CodecId::Raw, gain_permille: 0, reason };
    let compressing = || trial.tried().filter(|(id, _)| *id != CodecId::Raw);
    if compressing().next().is_none() {
        return raw(Reason::Untried);
    }
    let affordable = || compressing().filter(|(_, sample)| sample.cost_per_mib() <= policy.cost_per_mib_max);
    let by_gain = |sample: &Sample, id: CodecId| (sample.gain_permille(), core::cmp::Reverse(id));
    let Some((best, most)) = affordable().max_by_key(|(id, sample)| by_gain(sample, *id)) else {
        return raw(Reason::TooDear);
    };
    let most = most.gain_permille();
    if most < policy.gain_min_permille {
        return raw(Reason::GainBelow { best, gain_permille: most });
    }
    let floor = most.saturating_sub(policy.tie_permille).max(policy.gain_min_permille);
    let cheapest = affordable()
        .filter(|(_, sample)| sample.gain_permille() >= floor)
        .min_by_key(|(id, sample)| (sample.cost_per_mib(), core::cmp::Reverse(sample.gain_permille()), *id));
    match cheapest {
        Some((codec, sample)) if codec != best => {
            let gain_permille = sample.gain_permille();
            let lead_permille = most.saturating_sub(gain_permille);
            Choice { codec, gain_permille, reason: Reason::CheaperInTie { best, lead_permille } }
        }
        _ => Choice { codec: best, gain_permille: most, reason: Reason::GainsMost },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of codec, bytes in, bytes out, cost.
    fn trial(rows: &[(CodecId, u64, u64, u64)]) -> Trial {
        let mut trial = Trial::new();
        for (codec, bytes_in, bytes_out, cost) in rows {
            trial.record(*codec, *bytes_in, *bytes_out, *cost);
        }
        trial
    }

    fn chosen(rows: &[(CodecId, u64, u64, u64)]) -> (CodecId, Reason) {
        let choice = choose(&trial(rows), &ChoicePolicy::default());
        (choice.codec, choice.reason)
    }

    #[test]
    fn plain_tables_choose_as_stated() {
        use CodecId::{Heatshrink, Lz4, Raw, Zstd};
        let below = |best, gain_permille| Reason::GainBelow { best, gain_permille };
        let tie = |best, lead_permille| Reason::CheaperInTie { best, lead_permille };
        assert_eq!(chosen(&[]), (Raw, Reason::Untried));
        assert_eq!(chosen(&[(Raw, 1000, 1000, 1)]), (Raw, Reason::Untried));
        assert_eq!(chosen(&[(Lz4, 1000, 876, 1)]), (Raw, below(Lz4, 124)));
        assert_eq!(chosen(&[(Lz4, 1000, 875, 1)]), (Lz4, Reason::GainsMost));
        assert_eq!(chosen(&[(Lz4, 1000, 500, 1), (Zstd, 1000, 449, 9)]), (Zstd, Reason::GainsMost));
        assert_eq!(chosen(&[(Lz4, 1000, 500, 1), (Zstd, 1000, 450, 9)]), (Lz4, tie(Zstd, 50)));
        assert_eq!(chosen(&[(Lz4, 1000, 500, 9), (Zstd, 1000, 450, 9)]), (Zstd, Reason::GainsMost));
        // Equal gain and the cheaper has the higher tag.
        assert_eq!(chosen(&[(Lz4, 1000, 500, 9), (Heatshrink, 1000, 500, 2)]), (Heatshrink, tie(Lz4, 0)));
        // A tie does not lift a codec over the threshold.
        assert_eq!(chosen(&[(Lz4, 1000, 900, 1), (Zstd, 1000, 860, 9)]), (Zstd, Reason::GainsMost));
        // Growth is stored raw, so it counts as no gain.
        assert_eq!(chosen(&[(Lz4, 1000, 1100, 1)]), (Raw, below(Lz4, 0)));
    }

    #[test]
    fn cost_over_the_limit_leaves_the_codec_out() {
        let rows = trial(&[(CodecId::Zstd, 1 << 20, 1 << 18, 101)]);
        let policy = ChoicePolicy { cost_per_mib_max: 100, ..ChoicePolicy::default() };
        assert_eq!(choose(&rows, &policy).reason, Reason::TooDear);
        let policy = ChoicePolicy { cost_per_mib_max: 101, ..policy };
        assert_eq!(choose(&rows, &policy).codec, CodecId::Zstd);
    }

    #[test]
    fn samples_at_the_edge_saturate() {
        let mut rows = trial(&[(CodecId::Lz4, u64::MAX, u64::MAX / 2, u64::MAX)]);
        rows.record(CodecId::Lz4, u64::MAX, u64::MAX, u64::MAX);
        let sample = rows.sample(CodecId::Lz4).copied();
        assert_eq!(sample.map(|s| s.bytes_in), Some(u64::MAX));
        assert_eq!(choose(&rows, &ChoicePolicy::default()).codec, CodecId::Raw);
        assert_eq!(rows.sample(CodecId::Zstd), None);
    }
}
