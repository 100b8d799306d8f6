//! The one value that all tasks of the service share.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use coldpress_std::archive::{ContinuousArchive, ContinuousStats};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::config::ServiceConfig;
use crate::cursors::Cursors;
use crate::errors::ServiceError;
use crate::history::History;
use crate::metrics::{Counters, Kind, Latency};
use crate::store::StoreHandle;

/// All that the tasks of the service share. A process makes one and never frees it.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) config: ServiceConfig,
    pub(crate) store: StoreHandle,
    pub(crate) counters: Counters,
    pub(crate) latencies: [Latency; 4],
    pub(crate) cursors: Cursors,
    pub(crate) history: Mutex<History>,
    pub(crate) prometheus: PrometheusHandle,
    pub(crate) started: Instant,
    /// Places for connections, of the Redis port and of HTTP.
    pub(crate) resp_places: Semaphore,
    pub(crate) http_places: Semaphore,
    /// Maintenance tasks that clients asked for; one at a time.
    pub(crate) maintenance: Semaphore,
    /// Whether writes begin to wait for the log, so that they go to threads for blocking work.
    pub(crate) is_pressed: AtomicBool,
    /// The outcome of the last sync by the clock: why it failed.
    pub(crate) sync_error: Mutex<Option<String>>,
    /// Runs where the configuration names an archive.
    pub(crate) archive: ContinuousArchive,
    is_closing: watch::Sender<bool>,
    clients: AtomicU64,
}

impl Service {
    pub(crate) fn new(
        config: ServiceConfig,
        store: StoreHandle,
        prometheus: PrometheusHandle,
    ) -> Result<Self, ServiceError> {
        let first = getrandom::u64().map_err(|error| ServiceError::Start(error.to_string()))?;
        let connections = config.limits.connections;
        Ok(Self {
            config,
            store,
            counters: Counters::default(),
            latencies: Default::default(),
            cursors: Cursors::new(first),
            history: Mutex::new(History::default()),
            prometheus,
            started: Instant::now(),
            resp_places: Semaphore::new(connections),
            http_places: Semaphore::new(connections),
            maintenance: Semaphore::new(1),
            is_pressed: AtomicBool::new(false),
            sync_error: Mutex::new(None),
            archive: ContinuousArchive::new(),
            is_closing: watch::Sender::new(false),
            clients: AtomicU64::new(1),
        })
    }

    pub(crate) fn latency(&self, kind: Kind) -> &Latency {
        let [get, set, remove, other] = &self.latencies;
        match kind {
            Kind::Get => get,
            Kind::Set => set,
            Kind::Remove => remove,
            Kind::Other => other,
        }
    }

    /// The stats of the archive, where there is one.
    pub(crate) fn archive_stats(&self) -> Option<ContinuousStats> {
        self.config.archive.as_ref().map(|_| self.archive.stats())
    }

    /// The number of a new client.
    pub(crate) fn next_client(&self) -> u64 {
        self.clients.fetch_add(1, Relaxed)
    }

    /// Tells whether a buffered write may run where its request was read: it waits for nobody.
    pub(crate) fn writes_inline(&self, value_bytes: usize) -> bool {
        self.config.durability == coldpress_std::Durability::Buffered
            && self.store.is_short(value_bytes)
            && !self.is_pressed.load(Relaxed)
    }

    /// Tells whether memory may be looked at where a request was read: nobody holds it for long.
    pub(crate) fn looks_inline(&self) -> bool {
        !self.is_pressed.load(Relaxed)
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.is_closing.borrow()
    }

    pub(crate) fn begin_closing(&self) {
        self.is_closing.send_replace(true);
    }

    /// Returns once the service is closing.
    pub(crate) async fn closing(&self) {
        // The sender lives as long as the process, so this ends when it says so.
        let _ = self.is_closing.subscribe().wait_for(|is_closing| *is_closing).await;
    }
}
