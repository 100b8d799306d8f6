//! The options of the command line, and what they are checked against.

use core::net::SocketAddr;
use core::num::{NonZeroU64, NonZeroUsize};
use core::time::Duration;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use coldpress_std::Durability;

use crate::archive::ArchiveConfig;
use crate::auth::Token;
use crate::errors::ServiceError;
use crate::limits::Limits;

/// Serves a cache over HTTP and the Redis protocol, with a live page at `/`.
///
/// Without --dir it works in a new temporary directory, which it removes at the end. SIGTERM or SIGINT ends it in order; a second
/// signal ends it at once.
#[derive(Debug, Clone, Parser)]
#[command(name = "service", version, args_override_self = true)]
pub struct Options {
    /// Keeps the data in this directory; a new temporary one where it is missing
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,
    /// Binds HTTP here; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// Binds the Redis protocol here; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6380")]
    pub resp: SocketAddr,
    /// Asks every client for this token. Other users of the machine can see it in the list of processes
    #[arg(long, value_name = "TEXT", conflicts_with = "token_file")]
    pub token: Option<String>,
    /// Asks every client for the token in the first line of this file
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// Takes HTTP requests for this host name too, beside loopback and the bound address
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Bytes of the log on disk, with k, m or g
    #[arg(long, value_name = "BYTES", default_value = "1g", value_parser = bytes)]
    pub capacity: u64,
    /// Bytes of memory for values, half hot and half in pools
    #[arg(long, value_name = "BYTES", default_value = "256m", value_parser = bytes)]
    pub memory: u64,
    /// Partitions of the log
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub partitions: u16,
    /// How durable a write is when it is answered
    #[arg(long, value_enum, default_value_t = Durable::Buffered)]
    pub durability: Durable,
    /// Syncs everything this often, whatever the durability; 0s never does
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub sync_every: Duration,
    /// Refuses writes when the capacity is taken, where the default evicts what was not read lately
    #[arg(long)]
    pub reject_when_full: bool,
    /// The longest key
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    pub key_bytes: u32,
    /// The longest value, with k or m
    #[arg(long, value_name = "BYTES", default_value = "1m", value_parser = bytes)]
    pub value_bytes: u64,
    /// Bytes that one connection may have waiting, in each direction
    #[arg(long, value_name = "BYTES", default_value = "4m", value_parser = bytes)]
    pub buffer_bytes: u64,
    /// Connections at a time, of each port
    #[arg(long, value_name = "COUNT", default_value_t = 1024)]
    pub connections: u32,
    /// Closes a connection that is idle so long, or does not take its answer
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = time)]
    pub idle: Duration,
    /// How long requests in progress may take after the first signal
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub drain: Duration,
    /// Backs the log up to this archive while it runs: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, or file:///DIR.
    /// Variables AWS_*, GOOGLE_* and AZURE_* configure the first three
    #[arg(long, value_name = "URL")]
    pub archive: Option<String>,
    /// Begins a backup this often, where anything was written
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub archive_every: Duration,
    /// Keeps this many of the newest backups; a prune runs once there are a quarter more
    #[arg(long, value_name = "COUNT", default_value = "24")]
    pub archive_keep: NonZeroUsize,
    /// Uploads at most so many bytes in a second on average, with k, m or g; no limit where it is missing
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub archive_bandwidth: Option<u64>,
    /// How long the last backup may take, after the requests in progress; a backup that is under way ends first
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub archive_drain: Duration,
}

/// How durable a write is when it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Durable {
    /// In memory, and in the file some tens of milliseconds later
    Buffered,
    /// Handed to the operating system
    Flushed,
    /// On the medium
    Synced,
}

impl From<Durable> for Durability {
    fn from(durable: Durable) -> Self {
        match durable {
            Durable::Buffered => Self::Buffered,
            Durable::Flushed => Self::Flushed,
            Durable::Synced => Self::Synced,
        }
    }
}

/// The options, checked.
#[derive(Debug)]
pub(crate) struct ServiceConfig {
    pub(crate) http: SocketAddr,
    pub(crate) resp: SocketAddr,
    pub(crate) token: Option<Token>,
    pub(crate) hosts: Vec<String>,
    pub(crate) capacity_bytes: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) partitions: u16,
    pub(crate) durability: Durability,
    pub(crate) sync_every: Duration,
    pub(crate) evicts: bool,
    pub(crate) limits: Limits,
    pub(crate) drain: Duration,
    pub(crate) archive: Option<ArchiveConfig>,
}

impl ServiceConfig {
    pub(crate) fn new(options: &Options) -> Result<Self, ServiceError> {
        let token = match (&options.token, &options.token_file) {
            (Some(text), _) => Some(Token::new(text)?),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| ServiceError::File { path: path.clone(), error })?;
                Some(Token::new(text.lines().next().unwrap_or_default())?)
            }
            (None, None) => None,
        };
        for address in [options.http, options.resp] {
            if token.is_none() && !address.ip().is_loopback() {
                return Err(ServiceError::Unprotected(address));
            }
        }
        Ok(Self {
            http: options.http,
            resp: options.resp,
            token,
            hosts: options.allow_host.clone(),
            capacity_bytes: options.capacity,
            memory_bytes: options.memory,
            partitions: options.partitions,
            durability: options.durability.into(),
            sync_every: options.sync_every,
            evicts: !options.reject_when_full,
            limits: Limits::new(options)?,
            drain: options.drain,
            archive: archive(options)?,
        })
    }
}

fn archive(options: &Options) -> Result<Option<ArchiveConfig>, ServiceError> {
    let Some(url) = options.archive.clone() else { return Ok(None) };
    let limit = |text: &str| ServiceError::Option(text.to_owned());
    if options.archive_every.is_zero() {
        return Err(limit("--archive-every takes a time above zero"));
    }
    let bytes_per_s = match options.archive_bandwidth {
        Some(bytes) => {
            Some(NonZeroU64::new(bytes).ok_or_else(|| limit("--archive-bandwidth takes bytes above zero"))?)
        }
        None => None,
    };
    Ok(Some(ArchiveConfig {
        url,
        every: options.archive_every,
        keep: options.archive_keep,
        bytes_per_s,
        drain: options.archive_drain,
    }))
}

/// Reads a number of bytes: digits, then k, m or g.
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1 << 10),
        Some((at, 'm' | 'M')) => (text.get(..at), 1 << 20),
        Some((at, 'g' | 'G')) => (text.get(..at), 1 << 30),
        _ => (Some(text), 1),
    };
    digits
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|count| count.checked_mul(unit))
        .ok_or_else(|| "a number of bytes, such as 4096, 64k, 256m or 1g".to_owned())
}

/// Reads a time: digits, then ms, s or m; seconds where the unit is missing.
fn time(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        _ => return Err("a time, such as 250ms, 5s or 2m".to_owned()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit_ms))
        .map(Duration::from_millis)
        .ok_or_else(|| "a time, such as 250ms, 5s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<ServiceConfig, ServiceError> {
        ServiceConfig::new(&Options::try_parse_from([&["service"], arguments].concat()).unwrap())
    }

    #[test]
    fn sizes_and_times_with_units_are_read() {
        assert_eq!(bytes("64k"), Ok(65_536));
        assert_eq!(bytes("3"), Ok(3));
        assert_eq!(bytes("2g"), Ok(2 << 30));
        assert!(bytes("").is_err() && bytes("k").is_err() && bytes("99999999999g").is_err());
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("5"), Ok(Duration::from_secs(5)));
        assert!(time("5h").is_err() && time("s").is_err());
    }

    #[test]
    fn address_beyond_loopback_without_token_is_refused() {
        let refused = config(&["--resp", "0.0.0.0:0"]).unwrap_err();
        assert!(matches!(refused, ServiceError::Unprotected(_)), "{refused}");
        assert_eq!(refused.exit_code(), 2);
        assert!(config(&["--resp", "0.0.0.0:0", "--token", "correct horse"]).is_ok());
        assert!(config(&["--http", "[::1]:0"]).is_ok());
    }

    #[test]
    fn token_that_is_too_short_is_refused() {
        assert!(matches!(config(&["--token", "short"]), Err(ServiceError::Option(_))));
    }
}
