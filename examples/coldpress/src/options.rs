//! The command line.

use core::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use coldpress_examples::image;

use crate::line::bytes_of;

const EXIT_CODES: &str = "\
Exit codes:
  0  all is well; also where the reader of the output closes the pipe
  1  damage was found or passed over, `get` found no value of the key, or an archive has no such backup
  2  the command line, or a line of the input of `import`, is wrong
  3  the directory can't be read, is no cache or archive, or is of another version of the format or another cache
  4  another process has the cache open; the error names it
  5  reading or writing failed while the command worked, or no segment was free to begin a task with

The commands list, stats, verify, keys, get, dump and export take no lock and write nothing. They work beside a service that has the
cache open, and on media that are mounted read-only. A key shows a value that it had meanwhile.

An archive in S3 is named by its URL, s3://bucket/prefix. The variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION say who asks;
AWS_ENDPOINT names another server that speaks its protocol, and AWS_ALLOW_HTTP=true permits one without TLS. gs://bucket/prefix is one in
Google Cloud Storage, with the file named by GOOGLE_APPLICATION_CREDENTIALS, and az://container/prefix one in Azure Blob Storage, with
AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.

With --json each command writes one JSON object to the standard output; keys, dump and export write one object a line.";

/// Lists, checks, reads, compacts, exports, imports and backs up the caches of a directory.
#[derive(Debug, Parser)]
#[command(name = "coldpress", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub(crate) struct Invocation {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) list: Option<Place>,
}

/// The directory that a command works on.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The directory of a cache, or the one below which caches lie
    pub(crate) dir: PathBuf,
    /// The cache, where several lie below the directory
    #[arg(long, value_name = "ID")]
    pub(crate) cache: Option<String>,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the caches of a directory: partitions, sizes, schema, format, and the process that has each open
    List(Place),
    /// Sums a cache up: keys, live and stale bytes, segments, wear
    Stats(Place),
    /// Checks every record, and says what a rewrite would do; changes nothing without --rewrite
    Verify {
        #[command(flatten)]
        place: Place,
        /// Then relocate intact records out of damaged segments and correct the index, as `rebuild-index` does, and check again
        #[arg(long)]
        rewrite: bool,
    },
    /// Prints the keys, one a line; bytes that are no plain text are escaped
    Keys(Place),
    /// Writes the value of a key as it is
    Get(Get),
    /// Prints the stored records: partition, segment and offset, live or stale, kind, version, expiry, codec, bytes as stored, key
    Dump {
        #[command(flatten)]
        place: Place,
        /// Only the newest record of each key that has one
        #[arg(long)]
        live: bool,
    },
    /// Relocates live records out of segments with many stale bytes, and frees these
    Compact(Place),
    /// Reads the whole log, corrects the index, and frees damaged segments whose live records are intact
    RebuildIndex(Place),
    /// Measures the codecs on live records, and tells the best one, which is to be configured in the service
    #[command(alias = "optimize")]
    Optimise(Place),
    /// Drops the values that expired
    EvictExpired(Place),
    /// Writes each key, its value and its expiry as a line of JSON
    Export(Export),
    /// Puts the entries of such lines, and syncs them at the end
    Import(Import),
    /// Backs a cache up to an archive; uploads only the segments that changed since its newest backup
    Backup {
        #[command(flatten)]
        place: Place,
        /// The archive of this cache: a local directory, made where it is not there, or a URL such as s3://bucket/prefix
        archive: PathBuf,
    },
    /// Makes the directory of a cache from a backup, the newest one unless another is chosen
    Restore(Restore),
    /// Lists, verifies and prunes the backups of an archive
    Archive {
        #[command(subcommand)]
        job: ArchiveJob,
    },
    /// Builds, verifies, dumps, converts and sums up images: files of segments, as the flash of a device
    Image {
        #[command(subcommand)]
        job: image::Command,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The directory of a cache, or the one below which caches lie
    pub(crate) dir: PathBuf,
    /// The key
    pub(crate) key: String,
    /// The cache, where several lie below the directory
    #[arg(long, value_name = "ID")]
    pub(crate) cache: Option<String>,
    /// The key is given in base64
    #[arg(long)]
    pub(crate) base64: bool,
    /// Key and value are strings, or byte strings, of a typed cache: those of `service` are
    #[arg(long, conflicts_with_all = ["base64", "json"])]
    pub(crate) string: bool,
    /// Write key, value and expiry as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl Get {
    pub(crate) fn place(&self) -> Place {
        Place { dir: self.dir.clone(), cache: self.cache.clone(), json: self.json }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Write to this new file, readable for its owner alone, instead of the standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Read this file instead of the standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Replace the values of keys that are there; without it they stay
    #[arg(long)]
    pub(crate) replace: bool,
    /// Make the cache; --cache names it, unless the directory is to be the cache itself
    #[arg(long, requires = "capacity_bytes")]
    pub(crate) create: bool,
    /// The capacity of a new cache in bytes, or with k, m or g
    #[arg(long, value_name = "BYTES", requires = "create", value_parser = bytes_of)]
    pub(crate) capacity_bytes: Option<u64>,
    /// The partitions of a new cache
    #[arg(long, value_name = "N", requires = "create", default_value_t = 1)]
    pub(crate) partitions: u16,
    /// The schema of a new cache, as its service names it
    #[arg(long, value_name = "TEXT", requires = "create")]
    pub(crate) schema: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) place: ArchivePlace,
    /// The directory of the cache, which is made; an empty one may be there
    pub(crate) dir: PathBuf,
    /// Restore the backup with this number
    #[arg(long, value_name = "N", conflicts_with = "at")]
    pub(crate) number: Option<u64>,
    /// Restore the newest backup that was taken at this time or before, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    pub(crate) at: Option<u64>,
}

/// The archive that a command works on.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArchivePlace {
    /// The archive: a local directory, or a URL such as s3://bucket/prefix
    pub(crate) archive: PathBuf,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveJob {
    /// Lists the backups: number, time, shape and schema of the cache, objects
    List(ArchivePlace),
    /// Reads every object that a backup needs, and checks each byte; changes nothing without --delete-damaged
    Verify {
        #[command(flatten)]
        place: ArchivePlace,
        /// Then delete objects and manifests that are damaged at a second read too, so that the next backup uploads them again
        #[arg(long)]
        delete_damaged: bool,
    },
    /// Keeps the newest backups, and deletes all others with the objects that only they need
    Prune {
        #[command(flatten)]
        place: ArchivePlace,
        /// How many backups are kept
        #[arg(long, value_name = "N")]
        keep: NonZeroUsize,
    },
}
