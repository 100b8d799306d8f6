//! Opening and closing.

use core::fmt;
use core::ops::Deref;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::time::Duration;
use std::io;
use std::path::Path;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use coldpress_core::format::Store;
use coldpress_core::recovery::MountError;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use parking_lot::Mutex;
use tracing::Span;

use super::futures::{ReaderQueue, alert_futures};
use super::handle::{ColdTierHandle, wait_for};
use super::opened::{OPEN_TIERS, Open, Part, TierLimits};
use super::shrinking::Shrinking;
use crate::clock::monotonic_ms;
use crate::config::{ColdTierConfig, record_bytes_max, seconds};
use crate::directory::{Dir, LogDigest, Views, new_store, peek};
use crate::errors::{CloseError, OpenError, TierError};
use crate::file_error::{AtPath as _, FileError};
use crate::index::{Health, SharedPartition};
use crate::observe::TierMeter;
use crate::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use crate::recycled::{Closed, Lease};
use crate::storage::{Mode, ServiceMedium, Syncer, real_path};
use crate::worker;
use crate::worker::{Message, MessageSender, Mounted, Setup, millis};

/// How long a close waits beyond the time that its workers have.
const AFTER_CLOSE: Duration = Duration::from_secs(1);

/// A cold tier: bytes under keys, on files, in bounded space.
///
/// It is an owned value. A drop closes it in order, as [`close`](Self::close) does, but returns no outcome. Every operation of
/// a client is a method of [`ColdTierHandle`], to which this dereferences.
///
/// ```
/// use coldpress_std::pool::{AllocationManager, PoolConfig};
/// use coldpress_std::{ColdTier, ColdTierConfig, Durability, PutOptions};
///
/// let base_dir = tempfile::tempdir()?;
/// let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
/// let config = ColdTierConfig::builder().capacity_bytes(16 << 20).build()?;
///
/// let tier = ColdTier::open(base_dir.path(), "docs", config.clone(), pools.clone())?;
/// let handle = tier.handle();
/// std::thread::spawn(move || {
///     let synced = PutOptions { durability: Some(Durability::Synced), ..PutOptions::default() };
///     handle.put_with(b"key", b"value", synced)
/// })
/// .join()
/// .unwrap()?;
/// drop(tier);
///
/// let tier = ColdTier::open(base_dir.path(), "docs", config, pools)?;
/// assert_eq!(tier.get(b"key")?, Some(b"value".to_vec()));
/// assert!(tier.remove(b"key")? && !tier.contains(b"key")?);
/// assert!(handle.get(b"key").is_err(), "its tier was closed");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[doc(alias = "RecoverySystem")]
pub struct ColdTier {
    handle: ColdTierHandle,
    workers: Vec<JoinHandle<()>>,
    pools: PoolCoordinator,
    close_timeout: Duration,
    is_closed: bool,
    /// Kept, and never read: dropping it closes the pools.
    own_pools: Option<AllocationManager>,
    /// Released last. The workers hold its locks, so until all of them have ended no other tier opens the directory.
    dir: Option<Dir>,
}

impl fmt::Debug for ColdTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColdTier").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Deref for ColdTier {
    type Target = ColdTierHandle;

    fn deref(&self) -> &ColdTierHandle {
        &self.handle
    }
}

impl ColdTier {
    /// Opens the tier `cache_id` below the [configured](crate::ColdTierConfigBuilder::base_dir) base directory, or makes it.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`OpenError::NoBaseDir`] where none is configured.
    ///
    /// # Bounds
    /// As [`open`](Self::open).
    pub fn new(
        config: ColdTierConfig,
        cache_id: &str,
        pool_coordinator: PoolCoordinator,
    ) -> Result<Self, OpenError> {
        let base_dir = config.settings.base_dir.clone().ok_or(OpenError::NoBaseDir)?;
        Self::open(&base_dir, cache_id, config, pool_coordinator)
    }

    /// As [`new`](Self::new), with pools of its own: those of [`PoolConfig::builder`], which are closed with the tier. A program with
    /// several tiers lets them share pools, so that one bound holds for the memory of all.
    ///
    /// ```
    /// use coldpress_std::{ColdTier, ColdTierConfig};
    ///
    /// let base_dir = tempfile::tempdir()?;
    /// let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
    /// let tier = ColdTier::with_own_pools(config, "docs")?;
    /// tier.put(b"key", b"value")?;
    /// tier.close()?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`OpenError::Pools`].
    ///
    /// # Bounds
    /// As [`open`](Self::open), and those of [`AllocationManager::new`].
    pub fn with_own_pools(config: ColdTierConfig, cache_id: &str) -> Result<Self, OpenError> {
        let pools = PoolConfig::builder().name(cache_id).clock(config.settings.clock).build();
        let (manager, pools) =
            AllocationManager::new(&pools.map_err(OpenError::Pools)?).map_err(OpenError::Pools)?;
        let mut tier = Self::new(config, cache_id, pools)?;
        tier.own_pools = Some(manager);
        Ok(tier)
    }

    /// Opens the tier `cache_id` below `base_dir`, or makes it. [`new`](Self::new) takes the directory from the configuration.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::BaseDirs`] where the configuration names another directory. Nothing that was there is changed.
    ///
    /// # Bounds
    /// Reads the footers of all segments, and the records of those that were not sealed. Waits for that at most the configured
    /// `open_timeout`. Where the open fails, it waits at most the `close_timeout` for the workers to end. These times do not
    /// include making the files and the first look at them, up to three short reads a segment. With less capacity than the tier
    /// has, or segments of another length, it first reads all files twice and writes the live records, which these times do not
    /// include either.
    pub fn open(
        base_dir: &Path,
        cache_id: &str,
        config: ColdTierConfig,
        pool_coordinator: PoolCoordinator,
    ) -> Result<Self, OpenError> {
        check_pools(&pool_coordinator)?;
        if let Some(configured) = config.settings.base_dir.as_deref()
            && real_path(configured) != real_path(base_dir)
        {
            let (given, configured) = (base_dir.to_path_buf(), configured.to_path_buf());
            return Err(OpenError::BaseDirs { given, configured });
        }
        let span = tracing::info_span!("open", cache_id);
        let _entered = span.enter();
        let mode = Mode::new(config.settings.file_mode);
        let mut dir = if config.settings.is_read_only {
            Dir::look_into(base_dir, cache_id, mode)?
        } else {
            Dir::lock(base_dir, cache_id, mode, &config)?
        };
        let (media, config) = dir.open_parts(&config)?;
        Self::start(cache_id, media, config, pool_coordinator, Some(dir))
    }

    /// Opens a tier on media of the caller, one for each partition, in their order: a block device, a network volume, or a
    /// double of a test. The media are not locked: the caller must not open a second tier on them.
    ///
    /// Each medium has as many bytes as the others: [`capacity_bytes`](ColdTierConfig::capacity_bytes) of the configuration, which
    /// is rounded down to whole segments, divided by the partitions. A new medium reads as zero. Schema, file mode and base directory
    /// of the configuration are not used.
    ///
    /// A medium in memory:
    ///
    /// ```
    /// use coldpress_std::medium::{Medium, MediumError, MediumFailure, ServiceMedium, Started};
    /// use coldpress_std::pool::{AllocationManager, PoolConfig};
    /// use coldpress_std::{ColdTier, ColdTierConfig};
    /// use std::sync::{Mutex, PoisonError};
    ///
    /// /// Views are copies of one reference: the bytes outlive every tier.
    /// #[derive(Clone, Copy)]
    /// struct InMemory(&'static Mutex<Vec<u8>>);
    ///
    /// impl InMemory {
    ///     fn with(self, at: u64, len: u64, call: impl FnOnce(&mut [u8])) -> Result<Started, MediumFailure> {
    ///         let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
    ///         let range = usize::try_from(at).ok().zip(usize::try_from(at + len).ok());
    ///         let part = range.and_then(|(from, to)| bytes.get_mut(from..to));
    ///         part.map(call).map(|()| Started::Done).ok_or_else(|| MediumError::Unreadable.into())
    ///     }
    /// }
    ///
    /// impl Medium for InMemory {
    ///     type Error = MediumFailure;
    ///     fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
    ///         self.read_shared(at, bytes)
    ///     }
    ///     fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
    ///         self.with(at, bytes.len() as u64, |part| part.copy_from_slice(bytes))
    ///     }
    ///     fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
    ///         self.with(at, bytes, |part| part.fill(0))
    ///     }
    ///     fn sync(&mut self) -> Result<Started, MediumFailure> {
    ///         Ok(Started::Done)
    ///     }
    /// }
    ///
    /// impl ServiceMedium for InMemory {
    ///     fn read_shared(&self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
    ///         self.with(at, bytes.len() as u64, |part| bytes.copy_from_slice(part)).map(drop)
    ///     }
    ///     fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
    ///         Ok(Box::new(*self))
    ///     }
    ///     fn len(&self) -> Result<u64, MediumFailure> {
    ///         Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).len() as u64)
    ///     }
    /// }
    ///
    /// let config = ColdTierConfig::builder().capacity_bytes(4 << 20).build()?;
    /// let bytes = vec![0; usize::try_from(config.capacity_bytes())?];
    /// let medium = InMemory(Box::leak(Box::new(Mutex::new(bytes))));
    /// let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
    /// let tier = ColdTier::open_with(vec![Box::new(medium)], config.clone(), pools.clone())?;
    /// tier.put(b"key", b"value")?;
    /// tier.close()?;
    /// let again = ColdTier::open_with(vec![Box::new(medium)], config, pools)?;
    /// assert_eq!(again.get(b"key")?.as_deref(), Some(&b"value"[..]));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open). [`OpenError::Partitions`] where the media are more or fewer than the partitions,
    /// [`OpenError::Geometry`] where one has another length, [`MountError::Foreign`] where one holds anything else.
    pub fn open_with(
        media: Vec<Box<dyn ServiceMedium>>,
        config: ColdTierConfig,
        pool_coordinator: PoolCoordinator,
    ) -> Result<Self, OpenError> {
        check_pools(&pool_coordinator)?;
        let (expected, found) = (config.settings.partitions, media.len());
        if found != usize::from(expected) {
            return Err(OpenError::Partitions { expected, found: u16::try_from(found).unwrap_or(u16::MAX) });
        }
        for medium in &media {
            let (expected_bytes, found_bytes) = (config.geometry.medium_bytes(), medium.len()?);
            if expected_bytes != found_bytes {
                return Err(OpenError::Geometry { expected_bytes, found_bytes });
            }
        }
        let span = tracing::info_span!("open", cache_id = "");
        let _entered = span.enter();
        let is_read_only = config.settings.is_read_only;
        let views = media.into_iter().map(|medium| Views::of(medium, is_read_only));
        let media = views.collect::<Result<_, _>>()?;
        Self::start("", media, config, pool_coordinator, None)
    }

    fn start(
        cache_id: &str,
        media: Vec<Views>,
        config: ColdTierConfig,
        pools: PoolCoordinator,
        dir: Option<Dir>,
    ) -> Result<Self, OpenError> {
        let (mut store, mut unread, mut failure) = (None, 0, None);
        for views in &media {
            let seen = peek(views.worker.as_ref(), &config.geometry)?;
            store = store.or(seen.store);
            unread += seen.unread;
            failure = seen.failure.or(failure);
        }
        let (store, is_new) = match store {
            Some(store) => (store, false),
            // A new store would replace one that can't be read now.
            None if unread > 0 => {
                let segments = config.geometry.segment_count() * u32::from(config.settings.partitions);
                return Err(OpenError::of_mount(MountError::Unread { unread, segments }, failure));
            }
            None => (new_store(config.settings.partitions)?, true),
        };
        if let Some(dir) = &dir {
            dir.settle_store(&config, store.id, is_new)?;
        }
        let patience = config.settings.close_timeout;
        let mut starting = Starting { cache_id, parts: Vec::new(), workers: Vec::new(), patience, dir };
        for (partition, views) in (0..).zip(media) {
            starting.start(views, partition, &config, store, &pools)?;
        }
        starting.await_mounts(config.settings.open_timeout, &store)?;
        if let Some(dir) = &starting.dir {
            dir.settle(&config, store.id, starting.is_empty())?;
        }
        let hot = pools.hot();
        let settings = &config.settings;
        let terms = config.terms(store);
        let open = Open {
            parts: starting.take_parts(),
            terms,
            limits: TierLimits {
                key_bytes_max: config.key_bytes_max,
                value_bytes_max: config.value_bytes_max,
                record_bytes_max: record_bytes_max(&config.geometry),
                full: settings.full,
                ttl: settings.ttl,
                idle_s: settings.idle.map(seconds),
                clock_jump_s: seconds(settings.clock_jump_max),
                durability: settings.durability,
                skips_unchanged: settings.skips_unchanged,
                pending_bytes_max: settings.pending_bytes_max,
                op_timeout: settings.op_timeout,
                capacity_bytes: config.capacity_bytes(),
                interval: settings.background_interval(),
                is_read_only: settings.is_read_only,
            },
            hash_key: store.hash_key,
            seed: store.seed(&config.geometry),
            #[cfg(feature = "archive")]
            store_id: store.id,
            #[cfg(feature = "archive")]
            schema: settings.schema.clone(),
            clock: settings.clock,
            telling: Mutex::new(()),
            is_file_lost: AtomicBool::new(false),
            hot: settings.keeps_hot_values.then(|| (hot, hot.register_tier())),
        };
        if let Some(first) = open.parts.first() {
            first.shared.has_background.store(settings.has_background(), Release);
        }
        let (workers, dir) = (core::mem::take(&mut starting.workers), starting.dir.take());
        let close_timeout = config.settings.close_timeout;
        let handle = ColdTierHandle { open: OPEN_TIERS.lend(open) };
        Ok(Self { handle, workers, pools, close_timeout, is_closed: false, own_pools: None, dir })
    }

    /// Returns the handle for other threads.
    #[must_use]
    pub const fn handle(&self) -> ColdTierHandle {
        self.handle
    }

    /// Returns the pools that this tier works with.
    #[must_use]
    pub const fn pool_coordinator(&self) -> &PoolCoordinator {
        &self.pools
    }

    /// Closes the tier: no operation begins any more, all puts and removes are written and synced, the workers end, and all
    /// memory is given back.
    ///
    /// # Errors
    /// [`CloseError`]; the tier is closed all the same.
    ///
    /// # Bounds
    /// Takes at most the configured `close_timeout` and a second, with any number of partitions. A worker, or a read of a
    /// client, that is stuck in its medium for longer is abandoned. While a worker is stuck its directory stays locked.
    pub fn close(mut self) -> Result<(), CloseError> {
        self.shut()
    }

    fn shut(&mut self) -> Result<(), CloseError> {
        if core::mem::replace(&mut self.is_closed, true) {
            return Ok(());
        }
        let span = tracing::info_span!("close");
        let _entered = span.enter();
        let ends_ms = monotonic_ms().saturating_add(millis(self.close_timeout));
        let deadline = Instant::now() + self.close_timeout + AFTER_CLOSE;
        let send = |open: &Open| {
            if let Some((hot, tier)) = open.hot {
                hot.remove_tier(tier);
            }
            open.parts
                .iter()
                .map(|part| (send_close(part, ends_ms, &span), part.shared.lease()))
                .collect::<Vec<_>>()
        };
        // No operation begins from here on. Futures that wait for a read see that now, even where the read is stuck.
        self.handle.open.end();
        alert_futures(self.handle.open);
        // The workers need some of the time too.
        let (ends, is_stuck) = match self.handle.open.close(Instant::now() + self.close_timeout / 2) {
            Closed::Empty(open) => (send(&open), false),
            Closed::Stuck => (self.handle.open.look_behind(send).unwrap_or_default(), true),
            Closed::Before => return Ok(()),
        };
        // Waiting clients are woken, so that they see the close before their deadline.
        for (_, shared) in &ends {
            let _ = shared.enter(|shared| shared.admission.alert());
        }
        let mut outcome = if is_stuck { Err(CloseError::TimedOut) } else { Ok(()) };
        let mut logs = Vec::new();
        for ((end, shared), worker) in ends.into_iter().zip(self.workers.drain(..)) {
            let is_alive = || shared.enter(|shared| shared.health.check_readable())?;
            let health = || shared.enter(|shared| shared.health.get());
            let ended = match end.map(|end| wait_for(&end, deadline, is_alive)) {
                Some(Ok(result)) => result,
                Some(Err(TierError::TimedOut)) => Err(CloseError::TimedOut),
                None | Some(Err(_)) => Err(match health() {
                    Ok(Health::FileLost) => CloseError::FileLost,
                    Ok(Health::Broken(invariant)) => CloseError::Broken(invariant),
                    _ => CloseError::Poisoned,
                }),
            };
            logs.push(ended.as_ref().ok().copied());
            outcome = outcome.and(ended.map(drop));
            let is_over = is_over(&worker, deadline);
            // An operation that outlasted the close may have begun to wait after the alert.
            shared.end();
            let _ = shared.look_behind(|shared| shared.admission.alert());
            // The value is dropped at once, or by the last operation in it.
            shared.give_back();
            if !is_over {
                // A stuck worker keeps its file and the locks, so that no other tier opens them.
                tracing::error!(worker = worker.thread().name(), "the worker is stuck; it is left alone");
                self.dir.iter_mut().for_each(Dir::leave);
                outcome = outcome.and(Err(CloseError::TimedOut));
                continue;
            }
            if worker.join().is_err() {
                outcome = outcome.and(Err(CloseError::Poisoned));
            }
        }
        if is_stuck {
            tracing::error!("a client is stuck in a read of the medium; what it looks at is left to it");
            self.handle.open.give_back();
        }
        if let Some(dir) = &mut self.dir {
            dir.note_logs(logs);
        }
        tracing::info!(?outcome, "tier closed");
        outcome
    }
}

/// Refuses closed pools: a tier with them would keep no value in memory and clean up nothing, without an error.
pub(super) fn check_pools(pools: &PoolCoordinator) -> Result<(), OpenError> {
    if pools.is_closed() { Err(OpenError::PoolsClosed) } else { Ok(()) }
}

/// Asks a worker to end by a given time. Its queue always has a place for this message.
fn send_close(part: &Part, ends_ms: u64, span: &Span) -> Option<Receiver<Result<LogDigest, CloseError>>> {
    let (outcome, end) = bounded(1);
    part.sender.send(Message::Close { ends_ms, outcome, span: span.clone() }).ok()?;
    part.shared.ends_ms.store(ends_ms, Relaxed);
    Some(end)
}

/// Waits until a thread has ended or the deadline has passed; tells whether it has ended. A worker that has sent its outcome
/// only waits for its syncer.
pub(super) fn is_over(worker: &JoinHandle<()>, deadline: Instant) -> bool {
    while !worker.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    worker.is_finished()
}

impl Drop for ColdTier {
    fn drop(&mut self) {
        // A caller that needs the outcome calls `close`. It is logged here.
        let _ = self.shut();
    }
}

/// Partitions that are being opened; dropping it gives them up.
struct Starting<'a> {
    cache_id: &'a str,
    parts: Vec<(Part, Receiver<Result<Mounted, OpenError>>)>,
    workers: Vec<JoinHandle<()>>,
    /// How long to wait for abandoned workers to end.
    patience: Duration,
    dir: Option<Dir>,
}

impl Starting<'_> {
    fn start(
        &mut self,
        views: Views,
        partition: u16,
        config: &ColdTierConfig,
        store: Store,
        pools: &PoolCoordinator,
    ) -> Result<(), OpenError> {
        let hold = self.dir.as_ref().and_then(|dir| dir.hold(partition));
        let (sender, messages, urgent) = MessageSender::new();
        let (ready, mounted) = bounded(1);
        let path = self.dir.as_ref().map_or(Path::new(""), Dir::path);
        let syncer = Syncer::start(views.syncer, partition).at("start a thread for", path)?;
        // The recorder of metrics and the subscriber of traces are the user's code. If it panics, slots that are lent already
        // are lost.
        let meters = [(); 2].map(|()| TierMeter::new(self.cache_id, partition));
        let [meter, own_meter] = meters;
        let span = tracing::info_span!("mount", partition);
        let lease = SharedPartition::lend(&config.geometry);
        let shared = lease.hold().map_err(|_| OpenError::Poisoned)?;
        let setup = Setup {
            config: config.clone(),
            terms: config.terms(store),
            store: Store { partition, partitions: config.settings.partitions, ..store },
            medium: views.worker,
            messages,
            urgent,
            pools: pools.clone(),
            ready,
            meter: own_meter,
            span,
        };
        let of_worker = tracing::info_span!(parent: None, "worker", tier = self.cache_id, partition);
        let run = move || {
            let _entered = of_worker.entered();
            // A worker that is given up before it begins finds the lease ended.
            let _ = lease.enter(|shared| worker::run(setup, shared, syncer));
            drop(hold);
        };
        let spawned: io::Result<JoinHandle<()>> =
            Builder::new().name(format!("coldpress-log-{partition}")).spawn(run);
        match spawned {
            Ok(worker) => {
                self.workers.push(worker);
                let (shrinking, reader) = (Shrinking::default(), ReaderQueue::default());
                let part = Part { shared, medium: views.reader, sender, meter, shrinking, reader };
                self.parts.push((part, mounted));
                Ok(())
            }
            Err(error) => {
                lease.give_back();
                Err(FileError::new("start a thread for", path, &error).into())
            }
        }
    }

    fn await_mounts(&self, timeout: Duration, store: &Store) -> Result<(), OpenError> {
        let deadline = Instant::now() + timeout;
        for (_, mounted) in &self.parts {
            let mounted = match mounted.recv_deadline(deadline) {
                Ok(Ok(mounted)) => mounted,
                Ok(Err(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => return Err(OpenError::TimedOut),
                Err(RecvTimeoutError::Disconnected) => return Err(OpenError::Poisoned),
            };
            if (mounted.store.id, mounted.store.hash_key) != (store.id, store.hash_key) {
                return Err(OpenError::Mount(MountError::OtherStore));
            }
        }
        Ok(())
    }

    /// Whether no key has a value, in any partition.
    fn is_empty(&self) -> bool {
        self.parts.iter().all(|(part, _)| part.shared.admission.charges.keys() == 0)
    }

    fn take_parts(&mut self) -> Vec<Part> {
        self.parts.drain(..).map(|(part, _)| part).collect()
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        // With its sender gone, a worker ends at its next step.
        let leases: Vec<Lease<SharedPartition>> =
            self.parts.drain(..).map(|(part, _)| part.shared.lease()).collect();
        let deadline = Instant::now() + self.patience;
        for (worker, lease) in self.workers.drain(..).zip(leases) {
            let is_over = is_over(&worker, deadline);
            lease.give_back();
            if is_over {
                let _ = worker.join();
            } else {
                tracing::error!(worker = worker.thread().name(), "the worker is stuck; it is left alone");
                self.dir.iter_mut().for_each(Dir::leave);
            }
        }
    }
}

#[cfg(test)]
mod tests;
