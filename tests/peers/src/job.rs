//! A measurement of one store in a process of its own, and its outcome, as the two processes tell each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::measure::{Latencies, Tick};
use crate::stores::{Setup, Variant};

/// The choice of keys.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Law {
    /// Every key as often as another.
    Uniform,
    /// Zipf's law with this exponent.
    Zipf(f64),
}

/// The requests of a replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Replayed {
    /// A published cluster of caches: its number, the bytes of all its values, and how many requests.
    Cluster { table: PathBuf, number: u32, live_bytes: u64, requests: u64 },
    /// The first requests of a block trace.
    Trace { path: PathBuf, requests: u64 },
}

/// The part of a case that is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Puts every key once, flushes, and looks a sample of the keys up.
    Load { clients: u32 },
    /// As `Load`; then the process kills itself instead of closing the store.
    LoadAndDie { clients: u32 },
    /// Opens the store and looks a sample of the keys up.
    Open,
    /// Gets for so long. With `warms` every key is read once before, out of the count.
    Get { clients: u32, seconds: f64, law: Law, warms: bool, is_cold: bool },
    /// Gets and puts for so long; so many of a thousand are gets.
    Mix { clients: u32, seconds: f64, law: Law, read_permille: u32 },
    /// Overwrites by popularity until so many times the live bytes are written, then reads every key.
    Overwrite { clients: u32, law: Law, times_live: u32 },
    /// Gets of one client by turns while the store rests and while it compacts, for so long each. With a rate the store compacts no
    /// faster, and one that takes no rate has no such step.
    Beside { seconds: f64, law: Law, bytes_per_s: Option<u64> },
    /// Puts with the promise of the setup, by clients that each wait for their own.
    Commit { clients: u32, seconds: f64 },
    /// Removes every second key, then looks every key up.
    Remove { clients: u32 },
    /// Replays requests with lifetimes.
    Replay(Replayed),
}

impl Step {
    /// The most that compaction may relocate in a second, where the step limits it.
    pub(crate) const fn compaction_bytes_per_s(&self) -> Option<u64> {
        match self {
            Self::Beside { bytes_per_s, .. } => *bytes_per_s,
            _ => None,
        }
    }
}

/// A step for one store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) variant: Variant,
    pub(crate) setup: Setup,
    /// The folder of the store, which steps of one case share.
    pub(crate) dir: PathBuf,
    /// Keys of the case.
    pub(crate) keys: u64,
    /// Bytes of a value.
    pub(crate) value_bytes: u32,
    /// The seed of choices and contents.
    pub(crate) seed: u64,
    pub(crate) step: Step,
}

/// Gets that were measured while the store compacted.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Compacting {
    /// Gets, and the seconds that they took together.
    pub(crate) ops: u64,
    pub(crate) seconds: f64,
    pub(crate) latencies: Latencies,
    /// Bytes that compaction wrote meanwhile.
    pub(crate) rewritten_bytes: u64,
}

/// The figures of a step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The settings of the store, in words.
    pub(crate) settings: String,
    /// Calls that were measured.
    pub(crate) ops: u64,
    /// Seconds that they took together.
    pub(crate) seconds: f64,
    /// Seconds of the flush after them.
    pub(crate) flush_seconds: f64,
    /// Seconds of the open before them.
    pub(crate) open_seconds: f64,
    /// Seconds of the close after them.
    pub(crate) close_seconds: f64,
    pub(crate) latencies: Latencies,
    /// Seconds of processor time of all threads, while calls were measured and for the flush after them.
    pub(crate) cpu_seconds: f64,
    /// Bytes of keys and values written by the measured calls.
    pub(crate) user_bytes: u64,
    /// Bytes that the process caused to be written to the disk for them, until the close.
    pub(crate) written_bytes: u64,
    /// Bytes of keys and values that the store holds at the end.
    pub(crate) live_bytes: u64,
    /// Bytes of disk after the close.
    pub(crate) disk_bytes: u64,
    /// The most bytes of disk while calls were measured, looked at every 20 ms.
    pub(crate) disk_bytes_peak: u64,
    /// Anonymous memory of the open store, less that of the process before the open.
    pub(crate) memory_bytes: u64,
    /// Reads whose bytes were compared.
    pub(crate) checked: u64,
    /// Reads that found nothing where a value had been acknowledged.
    pub(crate) missing: u64,
    /// Reads that found an older value than the one acknowledged.
    pub(crate) stale: u64,
    /// Gets beside a compaction; `None` where the store has none that a caller can ask for while it serves.
    pub(crate) compacting: Option<Compacting>,
    /// Latency over time, of overwrites and of gets beside a compaction.
    pub(crate) ticks: Vec<Tick>,
}

/// The line that the measured process prints.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It went well.
    Done(Box<Outcome>),
    /// It failed, and why.
    Failed(String),
}
