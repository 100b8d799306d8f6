//! A registry of tiers by cache id, for services that open them from many places.
//!
//! One thread owns the tiers; all other threads have a channel to it. So there is no shared map to lock, and a tier is opened
//! once, for the first request.

use core::any::TypeId;
use core::fmt;
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TrySendError, bounded};

use super::handle::ColdTierHandle;
use super::open::{ColdTier, check_pools, is_over};
use super::typed::PersistentColdTierHandle;
use crate::config::ColdTierConfig;
use crate::errors::{CloseError, OpenError};
use crate::pool::PoolCoordinator;
use crate::storage::real_path;

/// Requests that can wait for the registry.
pub const REGISTRY_QUEUE_CAPACITY: usize = 256;

/// Tiers that a registry has open at a time; each has two threads and a file for every partition.
pub const REGISTRY_TIERS_MAX: usize = 1024;

/// How long a drop waits for space in a full queue, and for the request that the registry is serving.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The types of keys and values of a tier.
type Types = (TypeId, TypeId);

enum Request {
    Open {
        base_dir: PathBuf,
        cache_id: String,
        pools: PoolCoordinator,
        /// The types of keys and values, where they were given.
        types: Option<Types>,
        reply: Sender<Result<ColdTierHandle, InitError>>,
    },
    Close {
        base_dir: PathBuf,
        cache_id: String,
        reply: Sender<Result<bool, CloseError>>,
    },
    Stop,
}

/// Why the registry did not carry out a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum InitError {
    /// The tier could not be opened.
    Open(OpenError),
    /// The tier was closed, and not in order.
    Close(CloseError),
    /// The tier is open with other types for keys and values.
    OtherTypes,
    /// The registry has [`REGISTRY_TIERS_MAX`] tiers open; close one first.
    TooMany,
    /// The queue of the registry is full; nothing was asked.
    QueueFull,
    /// The registry did not answer in time. It may open the tier all the same: ask again.
    TimedOut,
    /// The registry is gone.
    Disconnected,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(f, "{error}"),
            Self::Close(error) => write!(f, "{error}"),
            Self::OtherTypes => f.write_str("the tier is open with other types for keys and values"),
            Self::TooMany => write!(f, "the registry has {REGISTRY_TIERS_MAX} tiers open: close one first"),
            Self::QueueFull => write!(f, "{REGISTRY_QUEUE_CAPACITY} requests wait for the registry"),
            Self::TimedOut => f.write_str(
                "the registry did not answer in time (`open_timeout`, and of a close `close_timeout`)",
            ),
            Self::Disconnected => f.write_str("the registry is gone"),
        }
    }
}

impl core::error::Error for InitError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::Close(error) => Some(error),
            _ => None,
        }
    }
}

/// Owns the thread that owns the tiers. A drop closes all tiers, at the same time. It waits for that at most half a minute
/// beyond the configured `close_timeout`: a registry that is stuck in a dead medium is abandoned.
#[derive(Debug)]
#[must_use = "the tiers are closed when their registry is dropped"]
pub struct ColdTierRegistry {
    requests: Sender<Request>,
    thread: Option<JoinHandle<()>>,
    close_timeout: Duration,
}

/// Asks the registry. Clone it for each thread that wants one.
///
/// ```
/// use coldpress_std::pool::{AllocationManager, PoolConfig};
/// use coldpress_std::{ColdTierConfig, ColdTierCoordinator, init_cold_tier};
///
/// let base_dir = tempfile::tempdir()?;
/// let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
/// let config = ColdTierConfig::builder().capacity_bytes(16 << 20).build()?;
/// let (_registry, coordinator) = ColdTierCoordinator::new(config)?;
///
/// let docs = init_cold_tier(&coordinator, base_dir.path(), "docs", pools.clone())?;
/// docs.put(b"key", b"value")?;
/// let again = init_cold_tier(&coordinator, base_dir.path(), "docs", pools)?;
/// assert!(again.contains(b"key")?, "the same tier");
/// assert!(coordinator.close(base_dir.path(), "docs")?);
/// assert!(docs.get(b"key").is_err());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ColdTierCoordinator {
    requests: Sender<Request>,
    open_timeout: Duration,
    close_timeout: Duration,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open { .. } => "Open",
            Self::Close { .. } => "Close",
            Self::Stop => "Stop",
        })
    }
}

impl ColdTierCoordinator {
    /// Starts a registry that opens tiers with this configuration.
    ///
    /// # Errors
    /// The error of the operating system when the thread can't be started.
    pub fn new(config: ColdTierConfig) -> io::Result<(ColdTierRegistry, Self)> {
        Self::with_tiers_max(config, REGISTRY_TIERS_MAX)
    }

    fn with_tiers_max(config: ColdTierConfig, tiers_max: usize) -> io::Result<(ColdTierRegistry, Self)> {
        let (requests, inbox) = bounded(REGISTRY_QUEUE_CAPACITY);
        let (open_timeout, close_timeout) = (config.settings.open_timeout, config.settings.close_timeout);
        let thread = Builder::new()
            .name("coldpress-registry".into())
            .spawn(move || serve(&config, &inbox, tiers_max))?;
        let registry = ColdTierRegistry { requests: requests.clone(), thread: Some(thread), close_timeout };
        Ok((registry, Self { requests, open_timeout, close_timeout }))
    }

    /// Opens the tier `cache_id` below `base_dir`, or returns the handle of the one that is open, by whichever path it was opened:
    /// through links, relative to the working directory, or with `..` in it.
    ///
    /// # Errors
    /// [`InitError`].
    ///
    /// # Bounds
    /// Waits at most the configured `open_timeout`. The registry opens one tier at a time, and has at most
    /// [`REGISTRY_TIERS_MAX`] open.
    pub fn open(
        &self,
        base_dir: &Path,
        cache_id: &str,
        pool_coordinator: PoolCoordinator,
    ) -> Result<ColdTierHandle, InitError> {
        self.open_as(base_dir, cache_id, pool_coordinator, None)
    }

    /// As [`open`](Self::open), for keys and values of these types. While the tier is open, one with other types is refused.
    ///
    /// ```
    /// # use coldpress_std::pool::{AllocationManager, PoolConfig};
    /// use coldpress_std::{ColdTierConfig, ColdTierCoordinator, InitError};
    ///
    /// # let base_dir = tempfile::tempdir()?;
    /// # let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
    /// let config = ColdTierConfig::builder().capacity_bytes(16 << 20).build()?;
    /// let (_registry, coordinator) = ColdTierCoordinator::new(config)?;
    /// let docs = coordinator.register::<u32, String>(base_dir.path(), "docs", pools.clone())?;
    /// docs.put(&7, &"seven".into())?;
    /// let other = coordinator.register::<u32, u32>(base_dir.path(), "docs", pools);
    /// assert!(matches!(other, Err(InitError::OtherTypes)));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InitError`]; [`InitError::OtherTypes`].
    ///
    /// # Bounds
    /// As [`open`](Self::open).
    pub fn register<K: 'static, V: 'static>(
        &self,
        base_dir: &Path,
        cache_id: &str,
        pool_coordinator: PoolCoordinator,
    ) -> Result<PersistentColdTierHandle<K, V>, InitError> {
        let types = (TypeId::of::<K>(), TypeId::of::<V>());
        self.open_as(base_dir, cache_id, pool_coordinator, Some(types)).map(PersistentColdTierHandle::from)
    }

    fn open_as(
        &self,
        base_dir: &Path,
        cache_id: &str,
        pool_coordinator: PoolCoordinator,
        types: Option<Types>,
    ) -> Result<ColdTierHandle, InitError> {
        check_pools(&pool_coordinator).map_err(InitError::Open)?;
        let (base_dir, cache_id) = (absolute(base_dir), cache_id.to_owned());
        let request = |reply| Request::Open { base_dir, cache_id, pools: pool_coordinator, types, reply };
        self.ask(request, self.open_timeout)?
    }

    /// Closes a tier; tells whether it was open here.
    ///
    /// # Errors
    /// [`InitError`]; after [`InitError::Close`] the tier is closed.
    ///
    /// # Bounds
    /// Waits at most the configured `close_timeout` and `open_timeout`: the registry may be opening another tier.
    pub fn close(&self, base_dir: &Path, cache_id: &str) -> Result<bool, InitError> {
        let (base_dir, cache_id) = (absolute(base_dir), cache_id.to_owned());
        let timeout = self.close_timeout.saturating_add(self.open_timeout);
        self.ask(|reply| Request::Close { base_dir, cache_id, reply }, timeout)?.map_err(InitError::Close)
    }

    fn ask<R>(&self, request: impl FnOnce(Sender<R>) -> Request, timeout: Duration) -> Result<R, InitError> {
        let (reply, receiver) = bounded(1);
        self.requests.try_send(request(reply)).map_err(|error| match error {
            TrySendError::Full(_) => InitError::QueueFull,
            TrySendError::Disconnected(_) => InitError::Disconnected,
        })?;
        receiver.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => InitError::TimedOut,
            RecvTimeoutError::Disconnected => InitError::Disconnected,
        })
    }
}

/// Opens the tier `cache_id` below `base_dir`; see [`ColdTierCoordinator::open`].
///
/// # Errors
/// [`InitError`].
pub fn init_cold_tier(
    coordinator: &ColdTierCoordinator,
    base_dir: &Path,
    cache_id: &str,
    pool_coordinator: PoolCoordinator,
) -> Result<ColdTierHandle, InitError> {
    coordinator.open(base_dir, cache_id, pool_coordinator)
}

/// The thread: it owns the tiers, and ends on request, or when the last coordinator is dropped.
fn serve(config: &ColdTierConfig, inbox: &Receiver<Request>, tiers_max: usize) {
    // The key is the path of the tier's directory, without links and relative parts.
    let mut tiers: HashMap<PathBuf, ColdTier> = HashMap::new();
    let mut types_of: HashMap<PathBuf, Types> = HashMap::new();
    for request in inbox {
        match request {
            Request::Open { base_dir, cache_id, pools, types, reply } => {
                let key = real_path(&base_dir.join(&cache_id));
                // A poisoned tier is opened anew: all that it had synced is there.
                tiers.retain(|_, tier| tier.is_open());
                // A tier whose files are gone, as after `rm -r` of its directory, is opened anew too.
                if tiers.get(&key).is_some_and(|tier| !tier.has_its_files()) {
                    tiers.remove(&key);
                }
                types_of.retain(|key, _| tiers.contains_key(key));
                let is_other =
                    types.zip(types_of.get(&key).copied()).is_some_and(|(given, known)| given != known);
                let handle = match tiers.get(&key) {
                    Some(_) if is_other => Err(InitError::OtherTypes),
                    Some(tier) => Ok(tier.handle()),
                    None if tiers.len() >= tiers_max => Err(InitError::TooMany),
                    None => ColdTier::open(&base_dir, &cache_id, config.clone(), pools)
                        .map(|tier| {
                            let handle = tier.handle();
                            tiers.insert(key.clone(), tier);
                            handle
                        })
                        .map_err(InitError::Open),
                };
                if let (Ok(_), Some(types)) = (&handle, types) {
                    types_of.insert(key, types);
                }
                // The client that asked may have given up; the tier stays for the next one.
                let _ = reply.try_send(handle);
            }
            Request::Close { base_dir, cache_id, reply } => {
                let closed = match tiers.remove(&real_path(&base_dir.join(cache_id))) {
                    Some(tier) => tier.close().map(|()| true),
                    None => Ok(false),
                };
                let _ = reply.try_send(closed);
            }
            Request::Stop => break,
        }
    }
    close_all(tiers.into_values());
}

/// The absolute path, since the working directory may be another one when the registry uses it. An empty path stays empty, and
/// is refused by the open.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Closes all tiers at the same time, so that the waits for dead media don't add up.
fn close_all(tiers: impl Iterator<Item = ColdTier>) {
    std::thread::scope(|scope| {
        for tier in tiers {
            // A thread that can't be started drops the tier here.
            let _ = Builder::new().name("coldpress-close".into()).spawn_scoped(scope, move || drop(tier));
        }
    });
}

impl Drop for ColdTierRegistry {
    fn drop(&mut self) {
        let deadline = Instant::now() + self.close_timeout + STOP_TIMEOUT;
        match self.requests.send_timeout(Request::Stop, STOP_TIMEOUT) {
            // A registry that is gone needs no stop.
            Ok(()) | Err(SendTimeoutError::Disconnected(_)) => {}
            Err(SendTimeoutError::Timeout(_)) => {
                tracing::error!("the registry of tiers does not end; it is left alone");
                return;
            }
        }
        let Some(thread) = self.thread.take() else { return };
        if !is_over(&thread, deadline) {
            tracing::error!("the registry of tiers does not end; it is left alone");
        } else if thread.join().is_err() {
            tracing::error!("the registry of tiers panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{AllocationManager, PoolConfig};

    #[test]
    fn registry_that_is_full_opens_another_tier_once_one_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let pools = PoolConfig::builder().capacity_bytes(4 << 20).partitions(1).build().unwrap();
        let (_manager, pools) = AllocationManager::new(&pools).unwrap();
        let config = ColdTierConfig::builder().capacity_bytes(2 << 20).build().unwrap();
        let (registry, coordinator) = ColdTierCoordinator::with_tiers_max(config, 2).unwrap();
        let open = |id| coordinator.open(dir.path(), id, pools.clone());
        assert!(open("a").is_ok() && open("b").is_ok() && open("a").is_ok());
        assert!(matches!(open("c"), Err(InitError::TooMany)));
        assert!(coordinator.close(dir.path(), "a").unwrap());
        let (b, c) = (open("b").unwrap(), open("c").unwrap());
        drop(registry);
        assert!(!b.is_open() && !c.is_open(), "they were closed with it");
    }
}
