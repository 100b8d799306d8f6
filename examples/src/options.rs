//! The command line of the replay.

use core::fmt;
use core::str::FromStr;
use std::path::PathBuf;

use clap::Parser;
use coldpress_core::codec::CodecId;

/// Replays requests through a cold tier on a file, checks every byte that it gives back, runs all compaction
/// tasks, closes, reopens and checks everything again.
#[derive(Debug, Clone, Parser)]
#[command(name = "replay", version)]
pub struct Options {
    /// A block I/O trace in the CSV form of CloudPhysics (version,time,op,size,lbn)
    #[arg(long, value_name = "FILE", conflicts_with = "workload")]
    pub trace: Option<PathBuf>,

    /// A generated workload: mixed (the default), zipf:ALPHA, uniform, twitter:CLUSTER
    #[arg(long, value_name = "NAME")]
    pub workload: Option<WorkloadName>,

    /// The table of Twitter's clusters (2020Mar as CSV), for those that are not built in
    #[arg(long, value_name = "FILE")]
    pub workloads: Option<PathBuf>,

    /// How often the trace is replayed, or each key of zipf and uniform is requested on average [default: 1, 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rounds: Option<u32>,

    /// Capacity of the tier: bytes (also 512MiB, 2GiB), or a ratio to the encoded live data (1.4x)
    #[arg(long, value_name = "BYTES|RATIOx")]
    pub capacity: Option<Capacity>,

    /// Codec of the values: raw, lz4, heatshrink, zstd
    #[arg(long, value_name = "NAME", default_value = "lz4", value_parser = codec)]
    pub codec: CodecId,

    /// An empty directory for the tier [default: a fresh temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Seconds to live of every value; for twitter, what the commonest time to live becomes [default: none, 4]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub ttl: Option<u32>,

    /// Seed of requests and contents
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Threads that put and get; keys are split between them [default: 1 for a trace, which is in order, else 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: Option<u32>,

    /// Bytes of a segment, a power of two [default: after the capacity]
    #[arg(long, value_name = "BYTES", value_parser = segment_bytes)]
    pub segment_bytes: Option<u32>,

    /// Ends generated requests after so many seconds [default: 12 for mixed and twitter, else none]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: Option<u32>,

    /// Drops the coldest values when the tier is full, instead of refusing new ones
    #[arg(long)]
    pub evict: bool,

    /// Removes so many thousandths of the keys after the requests, to leave holes [default: 500 for mixed and twitter, else 0]
    #[arg(long, value_name = "PERMILLE", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub purge: Option<u32>,

    /// Where the picture goes [default: replay.html in the working directory]
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,

    /// Prints one JSON object as the last line
    #[arg(long)]
    pub json: bool,

    /// Runs on a map in memory instead of the tier: the replay's own cost
    #[arg(long)]
    pub memory: bool,
}

/// A generated workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WorkloadName {
    /// Several shapes side by side: published ones and pages.
    Mixed,
    /// Overwrites of 1 KiB values by popularity.
    Zipf(f64),
    /// Overwrites of 1 KiB values, all keys alike.
    Uniform,
    /// The shape of a published cluster.
    Twitter(u32),
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mixed => f.write_str("Mixed workload"),
            Self::Zipf(alpha) => write!(f, "Overwrites by zipf {alpha}"),
            Self::Uniform => f.write_str("Uniform overwrites"),
            Self::Twitter(cluster) => write!(f, "Twitter cluster {cluster}"),
        }
    }
}

/// The capacity of the tier, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// So many bytes.
    Bytes(u64),
    /// In thousandths of the encoded live data.
    Permille(u64),
}

/// An option's value that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionError {
    /// No such workload, or its number cannot be read.
    Workload,
    /// Neither bytes nor a ratio above 1.
    Capacity,
    /// No such codec.
    Codec,
    /// Not a power of two from 16 KiB to 64 MiB.
    SegmentBytes,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Workload => "known are mixed, zipf:ALPHA (0 to 5), uniform and twitter:CLUSTER",
            Self::Capacity => "give bytes (1500000, 512MiB, 2GiB) or a ratio above 1 (1.4x)",
            Self::Codec => "known are raw, lz4, heatshrink and zstd",
            Self::SegmentBytes => "give a power of two from 16384 to 67108864",
        })
    }
}

impl core::error::Error for OptionError {}

impl FromStr for WorkloadName {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text.split_once(':') {
            None if text == "mixed" => Ok(Self::Mixed),
            None if text == "uniform" => Ok(Self::Uniform),
            Some(("zipf", alpha)) => match alpha.parse() {
                Ok(alpha) if (0.0..=5.0).contains(&alpha) => Ok(Self::Zipf(alpha)),
                _ => Err(OptionError::Workload),
            },
            Some(("twitter", cluster)) => {
                cluster.parse().map(Self::Twitter).map_err(|_| OptionError::Workload)
            }
            _ => Err(OptionError::Workload),
        }
    }
}

impl FromStr for Capacity {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        if let Some(ratio) = text.strip_suffix('x') {
            let ratio: f64 = ratio.parse().map_err(|_| OptionError::Capacity)?;
            let is_ratio = ratio > 1.0 && ratio <= 1000.0;
            return is_ratio
                .then_some(Self::Permille((ratio * 1000.0).round() as u64))
                .ok_or(OptionError::Capacity);
        }
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
        let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
        let (number, shift) = unit.unwrap_or((text, 0));
        let number: u64 = number.trim_end().parse().map_err(|_| OptionError::Capacity)?;
        match number.checked_mul(1 << shift) {
            Some(bytes) if bytes > 0 => Ok(Self::Bytes(bytes)),
            _ => Err(OptionError::Capacity),
        }
    }
}

fn codec(text: &str) -> Result<CodecId, OptionError> {
    CodecId::ALL.into_iter().find(|id| id.name() == text).ok_or(OptionError::Codec)
}

fn segment_bytes(text: &str) -> Result<u32, OptionError> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && (1 << 14..=1 << 26).contains(&bytes) => Ok(bytes),
        _ => Err(OptionError::SegmentBytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_are_bytes_or_ratios() {
        for (text, expected) in [
            ("1500000", Ok(Capacity::Bytes(1_500_000))),
            ("512MiB", Ok(Capacity::Bytes(512 << 20))),
            ("2 GiB", Ok(Capacity::Bytes(2 << 30))),
            ("1.1x", Ok(Capacity::Permille(1100))),
            ("1.4085x", Ok(Capacity::Permille(1409))),
            ("1x", Err(OptionError::Capacity)),
            ("0.9x", Err(OptionError::Capacity)),
            ("NaNx", Err(OptionError::Capacity)),
            ("0", Err(OptionError::Capacity)),
            ("-1", Err(OptionError::Capacity)),
            ("99999999999TiB", Err(OptionError::Capacity)),
            ("", Err(OptionError::Capacity)),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }

    #[test]
    fn workloads_are_named_or_refused() {
        for (text, expected) in [
            ("mixed", Ok(WorkloadName::Mixed)),
            ("uniform", Ok(WorkloadName::Uniform)),
            ("zipf:0.99", Ok(WorkloadName::Zipf(0.99))),
            ("twitter:52", Ok(WorkloadName::Twitter(52))),
            ("zipf:", Err(OptionError::Workload)),
            ("zipf:9", Err(OptionError::Workload)),
            ("zipf:NaN", Err(OptionError::Workload)),
            ("twitter:x", Err(OptionError::Workload)),
            ("zipf", Err(OptionError::Workload)),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }

    #[test]
    fn command_line_of_the_readme_is_understood() {
        let line = "replay --trace a.csv --rounds 5 --capacity 1.1x --codec raw --json";
        let options = Options::try_parse_from(line.split(' ')).unwrap();
        assert_eq!((options.rounds, options.codec, options.json), (Some(5), CodecId::Raw, true));
        for odd in [
            "--codec gzip",
            "--rounds 0",
            "--threads 0",
            "--segment-bytes 1000",
            "--trace a --workload uniform",
        ] {
            assert!(Options::try_parse_from(format!("replay {odd}").split(' ')).is_err(), "{odd}");
        }
    }
}
