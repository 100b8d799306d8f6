//! The life of the service: it opens the store, binds the ports, serves, drains and closes.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::path::Path;
use std::time::Instant;

use coldpress_std::Durability;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout_at};

use crate::config::{Options, ServiceConfig};
use crate::errors::ServiceError;
use crate::metrics::Counters;
use crate::service::Service;
use crate::store::Store;
use crate::{archive, history, http, metrics, resp};

/// Threads that may wait for the disk or for capacity, so that those that read requests need not.
const BLOCKING_THREADS_MAX: usize = 64;
/// A pause after connections could not be taken, as when the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where the service can be reached.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The address of HTTP.
    pub http: SocketAddr,
    /// The address of the Redis protocol.
    pub resp: SocketAddr,
    /// The directory of the data.
    pub dir: Box<Path>,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "page and HTTP: http://{}/\nRedis protocol: redis://{}\ndata: {}",
            self.http,
            self.resp,
            self.dir.display()
        )
    }
}

/// Runs the service until a signal ends it. `ready` is called once both ports take connections.
///
/// A process can run it once: it has one recorder of metrics, and what its tasks share is never freed.
///
/// # Errors
/// [`ServiceError`]; its [`exit_code`](ServiceError::exit_code) is that of the program.
pub fn run(options: Options, ready: impl FnOnce(&Ready)) -> Result<(), ServiceError> {
    // A second start in one process keeps the subscriber of the first.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).try_init();
    let config = ServiceConfig::new(&options)?;
    let prometheus = metrics::install()?;
    // The folder of a run without --dir goes when this ends.
    let temporary;
    let dir = match &options.dir {
        Some(dir) => dir.as_path(),
        None => {
            let path = std::env::temp_dir();
            temporary = tempfile::Builder::new()
                .prefix("coldpress-service-")
                .tempdir()
                .map_err(|error| ServiceError::File { path, error })?;
            temporary.path()
        }
    };
    let store = Store::open(dir, &config)?;
    let runtime = Builder::new_multi_thread()
        .enable_all()
        // The backups have one to themselves.
        .max_blocking_threads(BLOCKING_THREADS_MAX + 1)
        .build()
        .map_err(|error| ServiceError::Start(error.to_string()))?;
    // Tasks of the runtime live as long as they like, so what they share lives as long as the process.
    let service: &'static Service = Box::leak(Box::new(Service::new(config, store.handle(), prometheus)?));
    let served = runtime.block_on(serve(service, dir, ready));
    end(served, runtime, store)
}

/// Closes the store in order, or leaves everything where a second signal asks for that.
fn end(served: Result<(), ServiceError>, runtime: Runtime, store: Store) -> Result<(), ServiceError> {
    if matches!(served, Err(ServiceError::Interrupted)) {
        runtime.shutdown_background();
        // To close it takes time. The log is whole at every moment.
        core::mem::forget(store);
        return served;
    }
    // A second signal ends the close too.
    let (sender, closed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = sender.send(store.close());
    });
    let closed = runtime.block_on(async move {
        let (mut terminate, mut interrupt) = signals()?;
        let wait = tokio::task::spawn_blocking(move || closed.recv());
        tokio::select! {
            closed = wait => match closed {
                Ok(Ok(closed)) => Ok(closed?),
                _ => Err(ServiceError::Close("the thread that closed it died".to_owned())),
            },
            _ = terminate.recv() => Err(ServiceError::Interrupted),
            _ = interrupt.recv() => Err(ServiceError::Interrupted),
        }
    });
    runtime.shutdown_background();
    served.and(closed)
}

async fn serve(
    service: &'static Service,
    dir: &Path,
    ready: impl FnOnce(&Ready),
) -> Result<(), ServiceError> {
    let (mut terminate, mut interrupt) = signals()?;
    let http = bind(service.config.http).await?;
    let resp = bind(service.config.resp).await?;
    let address = |listener: &TcpListener| {
        listener.local_addr().map_err(|error| ServiceError::Start(error.to_string()))
    };
    let reached = Ready { http: address(&http)?, resp: address(&resp)?, dir: dir.into() };
    tokio::spawn(http::listen(service, http));
    tokio::spawn(resp::listen(service, resp));
    tokio::spawn(history::keep(service));
    tokio::spawn(history::watch_pressure(service));
    if !service.config.sync_every.is_zero() {
        tokio::spawn(sync(service));
    }
    let archiving = archive::start(service)?;
    ready(&reached);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("a signal ends the service: requests in progress are answered first");
    service.begin_closing();
    let ended = async {
        let deadline = Instant::now() + service.config.drain;
        drain(service, deadline).await;
        if let Some(archiving) = archiving {
            archiving.end(service).await;
        }
    };
    tokio::select! {
        () = ended => Ok(()),
        _ = terminate.recv() => Err(ServiceError::Interrupted),
        _ = interrupt.recv() => Err(ServiceError::Interrupted),
    }
}

/// Waits until every connection has ended, at most until the deadline.
async fn drain(service: &'static Service, deadline: Instant) {
    for places in [&service.http_places, &service.resp_places] {
        let all = u32::try_from(service.config.limits.connections).unwrap_or(u32::MAX);
        if timeout_at(deadline.into(), Semaphore::acquire_many(places, all)).await.is_err() {
            tracing::warn!("requests that took longer than --drain were broken off");
        }
    }
}

/// Syncs everything at the configured interval.
async fn sync(service: &'static Service) {
    let mut ticks = interval(service.config.sync_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !service.is_closing() {
        ticks.tick().await;
        let synced = tokio::task::spawn_blocking(|| service.store.flush(Durability::Synced)).await;
        let error = match synced {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let counters = &service.counters;
        Counters::add(if error.is_none() { &counters.syncs } else { &counters.sync_failures }, 1);
        if let Some(error) = &error {
            tracing::error!(%error, "a sync failed: writes since the last one that worked are not durable");
        }
        *service.sync_error.lock() = error;
    }
}

fn signals() -> Result<(Signal, Signal), ServiceError> {
    let listen = |kind| signal(kind).map_err(|error| ServiceError::Start(error.to_string()));
    Ok((listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    TcpListener::bind(address).await.map_err(|error| ServiceError::Bind { address, error })
}

/// Takes the next connection; `None` once the service closes.
pub(crate) async fn accept(service: &Service, listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = service.closing() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => return Some(connection),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
