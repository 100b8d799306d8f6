//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::pools::Candidate;
use crate::stores::Variant;

/// Measures Coldpress beside other stores on disk, promise by promise.
///
/// Each measurement is a process of its own, and the stores take turns. Prints a table, and writes table, JSON and pictures.
#[derive(Debug, Parser)]
#[command(name = "peers", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Small sizes, short measurements and two rounds: about two minutes. Its figures show the way, no more.
    #[arg(long)]
    pub(crate) quick: bool,
    /// How often every store takes its turn.
    #[arg(long)]
    pub(crate) rounds: Option<u32>,
    /// MiB of keys and values in a case.
    #[arg(long, value_parser = clap::value_parser!(u64).range(4..=16_384))]
    pub(crate) mib: Option<u64>,
    /// Seconds of a measurement that lasts for a time.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// MiB of memory that each store may take for cached values or blocks.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(8..=65_536))]
    pub(crate) cache_mib: u64,
    /// Only these stores.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) stores: Vec<Variant>,
    /// Only cases whose name contains one of these words.
    #[arg(long, value_delimiter = ',')]
    pub(crate) cases: Vec<String>,
    /// The folder in which the stores keep their files; they are removed after each case.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// The folder for table, JSON and pictures.
    #[arg(long, default_value = "target/peers")]
    pub(crate) out: PathBuf,
    /// The folder with published workloads and traces.
    #[arg(long, default_value = "../shared")]
    pub(crate) shared: PathBuf,
}

/// A measurement beside the stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Measures one step of one store, as standard input says: `peers` starts itself so.
    #[command(hide = true)]
    Child,
    /// Measures the pools beside `slab`, `heapless::pool` and the allocator of the system.
    Pools {
        /// Only this one, in this process: `peers` starts itself so.
        #[arg(long, hide = true)]
        one: Option<Candidate>,
        /// The number of the round.
        #[arg(long, hide = true, default_value_t = 1)]
        round: u64,
    },
    /// Measures a round trip through the pool coordinator beside one through bare channels.
    Roundtrip,
}
