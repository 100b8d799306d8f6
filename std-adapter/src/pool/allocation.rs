//! Opening and closing the pools.

use core::convert::Infallible;
use std::io;
use std::thread::{self, JoinHandle};

use coldpress_core::pool::LimitsError;
use crossbeam_channel::{Sender, bounded};

use super::config::{PoolConfig, PoolConfigError};
use super::coordinator::PoolCoordinator;
use super::defragmenting::Defragmenting;
use super::hot::HotPools;
use super::opened::Opened;
use super::worker::{Inbox, Worker};
use crate::observe::PoolMeter;

/// Owns the pools and their worker thread. Dropping it closes them.
///
/// The drop waits for the step the worker is in, microseconds, and for a read that is in progress; so it must not happen
/// inside the closure of a [`HotPools::read`].
#[derive(Debug)]
#[must_use = "the pools are closed when their manager is dropped"]
pub struct AllocationManager {
    hot: HotPools,
    /// Dropping it tells the worker to stop.
    pub(super) stop: Option<Sender<Infallible>>,
    worker: Option<JoinHandle<()>>,
}

impl AllocationManager {
    /// Opens the pools and starts their worker.
    ///
    /// # Errors
    /// [`PoolConfigError::Worker`] when the thread could not be started; the configuration itself was checked when it
    /// was built.
    ///
    /// # Bounds
    /// Allocates the books, about 140 bytes per value; pages are taken only as values come.
    pub fn new(config: &PoolConfig) -> Result<(Self, PoolCoordinator), PoolConfigError> {
        let (requests, inbox) = bounded(config.queue_capacity);
        let (wake, woken) = bounded(1);
        let (stop, stopped) = bounded(0);
        let opened = Opened::open(config, &wake).map_err(|error| refused(error, config))?;
        let hot = HotPools { opened };
        let worker = Worker {
            opened,
            requests: Inbox { requests: inbox.clone(), opened },
            wake: woken,
            later: wake,
            stop: stopped,
            step_bytes_max: config.step_bytes_max,
            timeout: config.request_timeout,
            meter: PoolMeter::new(&config.name),
            clock: config.clock.0,
            defragmenting: Defragmenting::new(config.budget),
        };
        let spawned = thread::Builder::new().name("coldpress-pools".to_owned()).spawn(move || worker.run());
        let worker = match spawned {
            Ok(worker) => worker,
            Err(error) => {
                opened.close();
                return Err(PoolConfigError::Worker(error.kind()));
            }
        };
        let manager = Self { hot, stop: Some(stop), worker: Some(worker) };
        Ok((manager, PoolCoordinator::new((requests, inbox), hot, config.request_timeout)))
    }

    /// Returns the handle to the values in the pools.
    #[must_use]
    pub fn hot(&self) -> HotPools {
        self.hot
    }
}

impl Drop for AllocationManager {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Err(_)) = self.worker.take().map(JoinHandle::join) {
            tracing::error!("the pool worker panicked");
        }
        self.hot.opened.close();
    }
}

/// The configuration checked its limits when it was built, except those that only the tables know.
fn refused(error: LimitsError, config: &PoolConfig) -> PoolConfigError {
    match error {
        LimitsError::ObjectTable => PoolConfigError::ObjectsMax {
            given: config.objects_per_partition,
            max: i32::MAX.unsigned_abs() - 1,
        },
        _ => PoolConfigError::Worker(io::ErrorKind::InvalidInput),
    }
}
