//! The setters of the builder.

use core::time::Duration;
use std::path::PathBuf;

use coldpress_core::codec::CodecId;
use coldpress_core::config::PaceConfig;
use coldpress_core::config::Streams;
use coldpress_core::segments::Policy;

use super::{ColdTierConfigBuilder, Durability, FullPolicy};
use crate::budget::WorkBudget;
use crate::clock::Clock;

impl ColdTierConfigBuilder {
    /// Sets the directory below which [`ColdTier::new`](crate::ColdTier::new) and
    /// [`PersistentColdTier::new`](crate::PersistentColdTier::new) make the tier's own; by default none. Where `open` is given a directory,
    /// it is the same one.
    pub fn base_dir(mut self, base_dir: impl Into<PathBuf>) -> Self {
        self.settings.base_dir = Some(base_dir.into());
        self
    }

    /// Sets the mode of the tier's files, whatever the umask; by default `0o600`, the owner alone. Directories made for the tier have
    /// the same bits, and the execute bit for those who may read.
    ///
    /// Files and directories that exist keep their mode. An open that finds one with more access than this warns through `tracing`,
    /// with its path. The files hold all values, and the secret that keys are hashed under. A user who may only read them can also
    /// lock them, and so keep the tier from being opened.
    pub const fn file_mode(mut self, mode: u32) -> Self {
        self.settings.file_mode = mode;
        self
    }

    /// Opens the tier for reading only, as from a file system that is mounted read-only or a directory of another user; by default it
    /// is opened for writing.
    ///
    /// Nothing is written: no file is made, nor changed, nor erased, and no lock file is needed. The tier must be there, with
    /// the partitions and the schema configured; its capacity and segments are taken as they are. The machine that mounts every
    /// log mounts this one, and is then stopped: puts, removes and compaction are refused with
    /// [`TierError::ReadOnly`](crate::TierError::ReadOnly), a flush has nothing to do. Expired values read as absent. Several
    /// processes may read a tier in this way at the same time. While one reads, none can open it for writing, and the other way
    /// round: the open fails with [`OpenError::AlreadyOpen`](crate::OpenError::AlreadyOpen).
    pub const fn read_only(mut self, is_read_only: bool) -> Self {
        self.settings.is_read_only = is_read_only;
        self
    }

    /// Names the types that the keys and values are encoded from, as `"sessions v2"`: at most
    /// [`SCHEMA_BYTES_MAX`](crate::SCHEMA_BYTES_MAX) bytes. It is stored with the tier. An open with another schema, or with none, is
    /// refused with [`OpenError::Schema`](crate::OpenError::Schema).
    ///
    /// The encoding of a value does not name its type: bytes of one `struct` often decode as another one, with its fields in the
    /// wrong places. So every change of a type needs a new name, except a new variant at the end of an `enum`.
    ///
    /// An empty tier without a schema takes this one. One that holds values is refused until the schema is
    /// [adopted](Self::adopt_schema). To change the schema of a tier, open a new tier under another cache id with the new
    /// schema. Then copy the values, and close the old tier for good. Or empty the tier first, and adopt the new schema.
    ///
    /// [`ColdTier::open_with`](crate::ColdTier::open_with) has no directory to store it in, and checks no schema.
    pub fn schema(mut self, schema: impl Into<Box<str>>) -> Self {
        self.settings.schema = Some(schema.into());
        self
    }

    /// Lets the next open replace the tier's schema by the configured one, or by none; also where the tier holds values and has no
    /// schema. The caller vouches that the stored values decode as the types that they are read as.
    pub const fn adopt_schema(mut self, is_adopted: bool) -> Self {
        self.settings.adopts_schema = is_adopted;
        self
    }

    /// Sets the hard limit on the bytes that the log takes on disk, all partitions together; by default 1 GiB.
    ///
    /// A tier that is there takes it over when it opens. With more its files become longer, at once. With less its live values are
    /// written to new files, which takes as long as that takes; where they do not fit the open is refused with
    /// [`OpenError::DoesNotFit`](crate::OpenError::DoesNotFit). A crash meanwhile loses nothing.
    pub const fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.settings.capacity_bytes = bytes;
        self
    }

    /// Sets the length of a segment; by default a power of two: a 512th of a partition, at most 4 MiB. Below 128 MiB it is the
    /// smaller of 256 KiB and a 128th, at least 64 KiB.
    ///
    /// Any length is taken of which a partition has enough segments. Shorter ones allow shorter keys: see
    /// [`key_bytes_max`](crate::ColdTierConfig::key_bytes_max).
    ///
    /// A tier that is there keeps its segments where this is not set; set to another length, its live values are written to new files
    /// when it opens, as for less [capacity](Self::capacity_bytes).
    pub const fn segment_bytes(mut self, bytes: u32) -> Self {
        self.settings.segment_bytes = Some(bytes);
        self
    }

    /// Sets the longest value; by default 64 MiB, or a quarter of the bytes that one partition holds where that is less.
    ///
    /// A value that takes more than a sixteenth of a segment, encoded, is stored in pieces; see
    /// [`put`](crate::ColdTierHandle::put) for what that costs.
    ///
    /// # Bounds
    /// At most that quarter, 65,535 pieces, and 4 GiB. While a long value is overwritten, the old one and the new one are there
    /// together.
    pub const fn value_bytes_max(mut self, bytes: u32) -> Self {
        self.settings.value_bytes_max = Some(bytes);
        self
    }

    /// Sets the codec of new records; by default LZ4. Each record names its own, so it can change from open to open.
    pub const fn codec(mut self, codec: CodecId) -> Self {
        self.settings.codec = codec;
        self
    }

    /// Sets the treatment of a put that finds the capacity taken; by default it is refused ([`FullPolicy::Reject`]).
    pub const fn full(mut self, full: FullPolicy) -> Self {
        self.settings.full = full;
        self
    }

    /// Sets the lifetime of values that are put without one of their own, at most 2^30 seconds (34 years); by default they live for ever.
    /// It starts the background worker with the tier, so
    /// that they are dropped when it is over.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = Some(ttl);
        self
    }

    /// Drops keys that nobody read or wrote for so long, at most 2^30 seconds (34 years); by default none is. Counted in memory only: it starts anew at each open. It starts the
    /// background worker with the tier.
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.settings.idle = Some(idle);
        self
    }

    /// Sets how many streams records are sorted into by temperature; by default [`Streams::Four`].
    pub const fn streams(mut self, streams: Streams) -> Self {
        self.settings.streams = streams;
        self
    }

    /// Sets how compaction chooses its victims while there is no shortage; by default [`Policy::Adaptive`].
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// Limits how many bytes a second compaction moves while there is no shortage; by default there is no limit.
    pub const fn pace_bytes_per_s(mut self, bytes: u32) -> Self {
        self.settings.pace = PaceConfig { bytes_per_s: Some(bytes) };
        self
    }

    /// Sets the budget from which background work takes its slices: compaction, tasks and tidying of all partitions. By default
    /// there is none, and it goes on without a rest.
    ///
    /// Work for space that clients wait for takes no slice. A compaction that the background worker begins and that frees nothing is
    /// repeated after twice the time, up to 64 intervals, until a client writes.
    pub const fn budget(mut self, budget: WorkBudget) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// Sets the watermarks, in free segments beyond the reserve: compaction begins by itself at the low one, and ends at the
    /// high one. By default these are 2 and 4, or less where a partition has few segments.
    pub const fn watermark_segments(mut self, low: u32, high: u32) -> Self {
        self.settings.watermarks = Some((low, high));
        self
    }

    /// Sets the share of stale bytes from which a task compacts a segment, in thousandths; by default 250.
    pub const fn stale_permille_min(mut self, permille: u16) -> Self {
        self.settings.stale_permille_min = permille;
        self
    }

    /// Sets how often the background worker looks for something to do, at most 366 days, and starts it with the tier. By default it is not
    /// started, unless values end by `ttl` or `idle`, and then looks every minute; see
    /// [`start_background_worker`](crate::CompactionSystem::start_background_worker).
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.settings.interval = Some(interval);
        self
    }

    /// Sets the fragmentation impact above which `OptimizeCompression` asks the pools for an emergency cleanup, in thousandths;
    /// by default 300.
    pub const fn cleanup_threshold_permille(mut self, permille: u16) -> Self {
        self.settings.efficiency.threshold_permille = permille;
        self
    }

    /// Sets the durability of writes that name none; by default [`Durability::Buffered`]: a crash of the process may lose such
    /// a write.
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// Bounds the bytes of writes that wait for the log of a partition; by default 8 MiB, at least two of the longest records. A put that
    /// finds no space waits for it until `op_timeout`, and is [`PutError::Busy`](crate::PutError::Busy) then.
    pub const fn pending_bytes_max(mut self, bytes: u64) -> Self {
        self.settings.pending_bytes_max = bytes;
        self
    }

    /// Sets the number of partitions, 1 to 64: each has its own file, worker and syncer; by default 1.
    pub const fn partitions(mut self, partitions: u16) -> Self {
        self.settings.partitions = partitions;
        self
    }

    /// Sets whether values that are read often are kept in the pools; by default they are.
    ///
    /// A value enters at its second read. In pools that are full at most one in 16 values that are read enters, those that are read
    /// more often before the others.
    pub const fn keep_hot_values(mut self, keep: bool) -> Self {
        self.settings.keeps_hot_values = keep;
        self
    }

    /// Sets whether a put of the value that is there already writes nothing; by default it is written like any other.
    ///
    /// Such a put promises the same as one that was written. It returns once the record that is there is as durable as the put asked
    /// for: a [`Synced`](Durability::Synced) put of a value that is only buffered waits for its sync. It counts as a use for the
    /// idle time and as a read for eviction, but the record stays where it is: it is as old as before. The stats count it
    /// (`unchanged_puts`).
    ///
    /// Only the same bytes in the same codec with the same expiry are the same value. Two puts with a lifetime are the same
    /// only within the same second: later ones move the expiry, and are written. A record that is damaged, or in doubt since an
    /// operation of the medium failed, is replaced. So is one that compaction moves at that moment.
    ///
    /// Each put of a key whose record has the same length and expiry reads that record; a long value is read piece by piece until one
    /// differs. The [guide](crate::guide) has the figures. It pays where many puts are unchanged, as when a service loads the same data
    /// again, or where writes wear the disk.
    pub const fn skip_unchanged(mut self, skips: bool) -> Self {
        self.settings.skips_unchanged = skips;
        self
    }

    /// Sets how long an operation waits before it gives up, at most 366 days; by default 10 seconds. A put, a remove, a flush and a request
    /// to compact return at the latest then; a get waits for its read of the file.
    pub const fn op_timeout(mut self, timeout: Duration) -> Self {
        self.settings.op_timeout = timeout;
        self
    }

    /// Sets how long an open waits for the mount, at most 366 days; by default 10 minutes.
    pub const fn open_timeout(mut self, timeout: Duration) -> Self {
        self.settings.open_timeout = timeout;
        self
    }

    /// Sets how long a close tries to write and sync what is left, at most 366 days: one deadline for all partitions; by default 30
    /// seconds. The close returns within a second after that.
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close_timeout = timeout;
        self
    }

    /// Sets how long a buffered write stays in memory before it is written to the file, at most 366 days; by default 20 ms.
    pub const fn flush_after(mut self, time: Duration) -> Self {
        self.settings.flush_after = time;
        self
    }

    /// Sets how far the wall clock may have jumped ahead since the log was last written, and may jump while the tier is open; by
    /// default a year. A longer jump is refused: the tier's time goes on by the monotonic clock, and the stats show the jump, until the
    /// wall clock is back or [confirmed](crate::ColdTierHandle::confirm_clock). No open is refused for a clock that is behind.
    pub const fn clock_jump_max(mut self, time: Duration) -> Self {
        self.settings.clock_jump_max = time;
        self
    }

    /// Confirms the wall clock at the next open, as [`confirm_clock`](crate::ColdTierHandle::confirm_clock) does at any time; by
    /// default it is not.
    pub const fn confirm_clock(mut self, is_confirmed: bool) -> Self {
        self.settings.is_clock_confirmed = is_confirmed;
        self
    }

    /// Sets the wall clock, for tests of expiry; by default that of the system.
    pub const fn clock(mut self, clock: &'static dyn Clock) -> Self {
        self.settings.clock = clock;
        self
    }
}
