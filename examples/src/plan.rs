//! Turns options into a job: its requests, the live data that they need, and the size of the tier.

use core::fmt;
use core::time::Duration;
use std::path::Path;

use coldpress_core::codec::CodecId;
use coldpress_std::codec::CodecSet;

use crate::content::Content;
use crate::drive::Job;
use crate::options::{Capacity, Options, WorkloadName};
use crate::published::{BUILT_IN, Cluster, TableError, clusters};
use crate::request::{Op, Source};
use crate::trace::{Survey, TraceError, TraceReader, survey};
use crate::workload::{Shape, Workload};

/// Bytes that a record takes beside key and value, for sizing only: header and expiry.
const RECORD_BYTES: u64 = 12;

/// Live data of one published shape, before coding.
const SHAPE_LIVE_BYTES: u64 = 32 << 20;

/// The requests of a run that a time limit ends.
const REQUESTS_MAX: u64 = 50_000_000;

/// A run, ready to start.
#[derive(Debug)]
pub struct Plan {
    /// The parameters of the run.
    pub job: Job,
    /// The title of the run.
    pub title: String,
    /// The details of the run.
    pub details: String,
    /// Requests in all, if no time limit ends them before.
    pub requests: u64,
    /// The survey of the trace, where one is replayed.
    pub survey: Option<Survey>,
    /// Keys and values that are alive at once, at most, as they are put.
    pub live_bytes: u64,
    /// The same as records, sizes measured on a sample with the codec.
    pub live_bytes_encoded: u64,
    /// Sampled values' bytes over their payloads' bytes, in thousandths.
    pub ratio_permille: u64,
    /// Keys that are removed after the requests, in thousandths.
    pub purge_permille: u32,
    /// The longest value, in bytes.
    pub value_peak: u32,
    /// Codec of the values.
    pub codec: CodecId,
    /// Capacity of the tier.
    pub capacity_bytes: u64,
    /// Bytes of a segment.
    pub segment_bytes: u32,
}

/// Why no run can be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// The trace cannot be read.
    Trace(TraceError),
    /// The trace holds no write and no read.
    Empty,
    /// The table of workloads cannot be opened.
    TableFile(std::io::ErrorKind),
    /// The table of workloads cannot be read.
    Table(TableError),
    /// The table has no such cluster.
    NoCluster(u32),
    /// The capacity does not hold sixteen segments that each hold the largest value.
    CapacityTooSmall {
        /// Bytes asked for.
        capacity_bytes: u64,
        /// Bytes that are enough.
        needed: u64,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace(error) => error.fmt(f),
            Self::Empty => f.write_str("the trace holds no write and no read"),
            Self::TableFile(kind) => write!(f, "the table of workloads cannot be read: {kind}"),
            Self::Table(error) => error.fmt(f),
            Self::NoCluster(number) => {
                write!(f, "there is no cluster {number}; --workloads FILE gives the table of all of them")
            }
            Self::CapacityTooSmall { capacity_bytes, needed } => {
                write!(f, "a capacity of {capacity_bytes} bytes is too small for these values: give {needed}")
            }
        }
    }
}

impl core::error::Error for PlanError {}

impl From<TraceError> for PlanError {
    fn from(error: TraceError) -> Self {
        Self::Trace(error)
    }
}

/// The requests, with their properties known beforehand.
struct Requests {
    source: Source,
    title: String,
    details: String,
    requests: u64,
    survey: Option<Survey>,
    keys: u64,
    key_bytes: u64,
    live_bytes: u64,
    value_peak: u32,
    capacity: Capacity,
    seconds: Option<u32>,
    purge_permille: u32,
    /// The default number of threads: a trace is in order, and threads would drift apart in it.
    threads: u32,
}

/// Plans a run. A trace is read whole, so that one that cannot be replayed is refused before anything exists.
///
/// # Errors
///
/// [`PlanError`].
pub fn plan(options: &Options) -> Result<Plan, PlanError> {
    let requests = match (&options.trace, options.workload) {
        (Some(path), _) => of_trace(options, path)?,
        (None, name) => of_workload(options, name.unwrap_or(WorkloadName::Mixed))?,
    };
    let content = Content::new(options.seed);
    let ratio_permille = ratio_permille(&requests, content, options.codec)?;
    let value_bytes = requests.live_bytes - requests.key_bytes;
    let live_bytes_encoded =
        value_bytes * 1000 / ratio_permille + requests.key_bytes + requests.keys * RECORD_BYTES;
    let capacity_bytes = match options.capacity.unwrap_or(requests.capacity) {
        Capacity::Bytes(bytes) => bytes,
        Capacity::Permille(permille) => live_bytes_encoded.saturating_mul(permille) / 1000,
    };
    let segment_bytes = match options.segment_bytes {
        Some(bytes) => bytes,
        None => segment_bytes(capacity_bytes, requests.value_peak),
    };
    let needed = u64::from(segment_bytes) * SEGMENTS_MIN;
    if capacity_bytes < needed || u64::from(requests.value_peak) * 2 > u64::from(segment_bytes) {
        return Err(PlanError::CapacityTooSmall { capacity_bytes, needed });
    }
    let job = Job {
        source: requests.source,
        content,
        threads: options.threads.unwrap_or(requests.threads),
        time_max: requests.seconds.map(|seconds| Duration::from_secs(seconds.into())),
        can_evict: options.evict,
    };
    let Requests { title, details, requests, survey, live_bytes, value_peak, purge_permille, .. } = requests;
    Ok(Plan {
        job,
        title,
        details,
        requests,
        survey,
        live_bytes,
        live_bytes_encoded,
        ratio_permille,
        purge_permille: options.purge.unwrap_or(purge_permille),
        value_peak,
        codec: options.codec,
        capacity_bytes,
        segment_bytes,
    })
}

/// A tier needs segments for open ones and a reserve; with fewer segments there is nothing to compact.
const SEGMENTS_MIN: u64 = 16;

/// Gives the length of a segment: a power of two from 64 KiB to 4 MiB that holds the largest value four times. It is the
/// largest with which the capacity makes 512 segments, or 128 of at most 256 KiB.
fn segment_bytes(capacity_bytes: u64, value_peak: u32) -> u32 {
    let wanted = (capacity_bytes / 512).max((capacity_bytes / 128).min(256 << 10)).clamp(1 << 16, 1 << 22);
    let least = u64::from(value_peak) * 4;
    let bytes = if wanted.is_power_of_two() { wanted } else { wanted.next_power_of_two() / 2 };
    u32::try_from(bytes.max(least.next_power_of_two())).unwrap_or(1 << 26)
}

fn of_trace(options: &Options, path: &Path) -> Result<Requests, PlanError> {
    let survey = survey(TraceReader::open(path)?)?;
    if survey.writes + survey.reads == 0 {
        return Err(PlanError::Empty);
    }
    let rounds = options.rounds.unwrap_or(1);
    let name = path.file_name().map_or_else(|| "trace".into(), |name| name.to_string_lossy());
    Ok(Requests {
        source: Source::Trace { path: path.to_owned(), rounds, ttl_s: options.ttl },
        title: format!("{name}, rounds: {rounds}"),
        details: format!(
            "{} written keys, {} writes and {} reads a round",
            survey.keys, survey.writes, survey.reads
        ),
        requests: (survey.writes + survey.reads) * u64::from(rounds),
        survey: Some(survey),
        keys: survey.keys,
        key_bytes: survey.keys * 8,
        live_bytes: survey.live_bytes_peak + survey.keys * 8,
        value_peak: survey.size_peak,
        capacity: Capacity::Permille(1400),
        seconds: options.seconds,
        purge_permille: 0,
        threads: 1,
    })
}

/// Keys of the overwriting workloads, each with a value of 1 KiB.
const OVERWRITTEN_KEYS: u64 = 200_000;

fn of_workload(options: &Options, name: WorkloadName) -> Result<Requests, PlanError> {
    let overwrites = |alpha| {
        let details = format!("{OVERWRITTEN_KEYS} keys with values of 1024 bytes");
        let mut shape = Shape::overwrites(details, OVERWRITTEN_KEYS, 1024, alpha);
        shape.ttls = vec![(options.ttl, 1)];
        shape
    };
    let ttl_s = options.ttl.unwrap_or(4);
    let published = |number| {
        let cluster = cluster(options, number)?;
        Ok::<_, PlanError>(Shape::of_cluster(&cluster, SHAPE_LIVE_BYTES, ttl_s))
    };
    let (shapes, is_timed) = match name {
        WorkloadName::Zipf(alpha) => (vec![(overwrites(alpha), 1)], false),
        WorkloadName::Uniform => (vec![(overwrites(0.0), 1)], false),
        WorkloadName::Twitter(number) => (vec![(published(number)?, 1)], true),
        WorkloadName::Mixed => {
            let pages = Shape::pages(8000, 4096);
            (vec![(pages, 20), (published(52)?, 40), (published(29)?, 20), (published(12)?, 20)], true)
        }
    };
    let details = shapes.iter().map(|(shape, _)| shape.name.as_str()).collect::<Vec<_>>().join("; ");
    let keys = shapes.iter().map(|(shape, _)| shape.keys_all()).sum();
    let key_bytes = shapes.iter().map(|(shape, _)| shape.keys_all() * u64::from(shape.key_len)).sum();
    let value_bytes: u64 =
        shapes.iter().map(|(shape, _)| shape.keys_all() * u64::from(shape.sizes.mean())).sum();
    let value_peak = shapes.iter().map(|(shape, _)| shape.sizes.peak()).max().unwrap_or(1);
    let requests = if is_timed { REQUESTS_MAX } else { keys * u64::from(options.rounds.unwrap_or(10)) };
    let workload = Workload::new(shapes, options.seed, requests);
    Ok(Requests {
        requests: workload.len(),
        source: Source::Generated(workload),
        title: name.to_string(),
        details,
        survey: None,
        keys,
        key_bytes,
        live_bytes: key_bytes + value_bytes,
        value_peak,
        // 71 % live is where the models of write amplification stand.
        capacity: Capacity::Permille(if is_timed { 1400 } else { 1409 }),
        seconds: options.seconds.or(is_timed.then_some(12)),
        purge_permille: if is_timed { 500 } else { 0 },
        threads: 2,
    })
}

fn cluster(options: &Options, number: u32) -> Result<Cluster, PlanError> {
    let read;
    let text = match &options.workloads {
        None => BUILT_IN,
        Some(path) => {
            read = std::fs::read_to_string(path).map_err(|error| PlanError::TableFile(error.kind()))?;
            &read
        }
    };
    let clusters = clusters(text).map_err(PlanError::Table)?;
    clusters.into_iter().find(|cluster| cluster.number == number).ok_or(PlanError::NoCluster(number))
}

/// Values of the first requests that are encoded to learn how much the codec saves on them.
const SAMPLED_VALUES: usize = 512;

fn ratio_permille(requests: &Requests, content: Content, codec: CodecId) -> Result<u64, PlanError> {
    let mut codecs = CodecSet::new();
    let (mut value, mut payload) = (Vec::new(), Vec::new());
    let (mut bytes_in, mut bytes_out, mut sampled) = (0, 0, 0);
    let stride = usize::try_from(requests.requests.min(50_000) / SAMPLED_VALUES as u64).unwrap_or(1).max(1);
    for request in requests.source.requests()?.step_by(stride) {
        let request = request?;
        let (Op::Put { len, .. } | Op::Add { len, .. }) = request.op else { continue };
        value.resize(len as usize, 0);
        content.fill(request.key, 1, &mut value);
        codecs.encode(codec, &value, &mut payload);
        bytes_in += value.len() as u64;
        bytes_out += payload.len() as u64;
        sampled += 1;
        if sampled == SAMPLED_VALUES {
            break;
        }
    }
    Ok((bytes_in * 1000).checked_div(bytes_out).unwrap_or(1000).max(1))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn planned(line: &str) -> Result<Plan, PlanError> {
        plan(&Options::try_parse_from(format!("replay {line}").split_whitespace()).unwrap())
    }

    #[test]
    fn overwrites_are_planned_at_71_percent_live() {
        let plan = planned("--workload zipf:0.99 --codec raw").unwrap();
        assert_eq!((plan.requests, plan.ratio_permille), (2_200_000, 1000));
        let live_permille = plan.live_bytes_encoded * 1000 / plan.capacity_bytes;
        assert!((708..712).contains(&live_permille), "{live_permille}");
    }

    #[test]
    fn codec_that_saves_makes_the_tier_smaller() {
        let raw = planned("--workload uniform --codec raw --capacity 2x").unwrap();
        let lz4 = planned("--workload uniform --codec lz4 --capacity 2x").unwrap();
        assert!(lz4.ratio_permille > 1300, "{}", lz4.ratio_permille);
        assert!(lz4.capacity_bytes < raw.capacity_bytes * 4 / 5);
    }

    #[test]
    fn default_plan_ends_by_time_and_is_small() {
        let plan = planned("").unwrap();
        assert_eq!(plan.job.time_max, Some(Duration::from_secs(12)));
        assert!(plan.capacity_bytes < 300 << 20);
        assert!(plan.segment_bytes.is_power_of_two());
    }

    #[test]
    fn trace_cut_short_is_refused_before_anything_exists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.csv");
        let trace = |text: &str| {
            std::fs::write(&path, format!("version,time,op,size,lbn\n{text}")).unwrap();
            planned(&format!("--trace {}", path.display()))
        };
        assert!(
            trace("1,5,2a,65536,7\n1,5,2a,65536,8\n")
                .is_err_and(|error| { matches!(error, PlanError::CapacityTooSmall { .. }) })
        );
        let cut = trace("1,5,2a,512,7\n1,5,2a,51").unwrap_err();
        assert_eq!(cut, PlanError::Trace(TraceError::Truncated { line: 3 }));
        assert_eq!(trace("").unwrap_err(), PlanError::Empty);
    }

    #[test]
    fn cluster_that_is_not_built_in_is_named() {
        assert_eq!(planned("--workload twitter:7").unwrap_err(), PlanError::NoCluster(7));
        assert!(planned("--workload twitter:12").is_ok());
        let missing = planned("--workload twitter:7 --workloads none.csv").unwrap_err();
        assert_eq!(missing, PlanError::TableFile(std::io::ErrorKind::NotFound));
    }
}
