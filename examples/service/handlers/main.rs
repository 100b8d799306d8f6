//! Handlers of axum over a cold tier, without `spawn_blocking`: `cargo run --release --example handlers`.
//!
//! `PUT /kv/{key}` answers once the value survives a power cut, `GET` reads it, and `DELETE` removes it. All connections share one
//! thread. With `--measure` it measures an idle route while clients put: alone, with these handlers, and with blocking ones.

use core::error::Error;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use clap::Parser;
use coldpress_std::{
    ColdTier, ColdTierConfig, ColdTierHandle, Durability, GetError, PutError, PutOptions, RemoveError,
};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

/// Handlers of axum over a cold tier.
#[derive(Debug, Parser)]
struct Handlers {
    /// The directory of the tier; a temporary one if it is not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// Measures an idle route beside clients, and ends.
    #[arg(long)]
    measure: bool,
}

const SYNCED: PutOptions =
    PutOptions { ttl: coldpress_std::Ttl::Configured, durability: Some(Durability::Synced) };
/// Clients that put while the idle route is measured.
const CLIENTS: u64 = 8;
const TIME: Duration = Duration::from_secs(5);
const VALUE: [u8; 1_024] = [7; 1_024];

/// An error of the tier as an answer.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<PutError> for Refused {
    fn from(error: PutError) -> Self {
        let status = match &error {
            PutError::KeyTooLong { .. } => StatusCode::URI_TOO_LONG,
            PutError::ValueTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            PutError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl From<GetError> for Refused {
    fn from(error: GetError) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<RemoveError> for Refused {
    fn from(error: RemoveError) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

/// GET /kv/{key}
async fn read(State(tier): State<ColdTierHandle>, Path(key): Path<String>) -> Result<Response, Refused> {
    let found = tier.get_async(key.as_bytes()).await?;
    Ok(found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response))
}

/// PUT /kv/{key}
async fn write(
    State(tier): State<ColdTierHandle>,
    Path(key): Path<String>,
    value: Bytes,
) -> Result<StatusCode, Refused> {
    tier.put_with_async(key.as_bytes(), &value, SYNCED).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// DELETE /kv/{key}
async fn remove(State(tier): State<ColdTierHandle>, Path(key): Path<String>) -> Result<StatusCode, Refused> {
    let had_value = tier.remove_with_async(key.as_bytes(), Durability::Synced).await?;
    Ok(if had_value { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
}

/// PUT /blocking/{key}: a handler as it should not be. It blocks the thread of all others until its sync.
async fn write_blocking(
    State(tier): State<ColdTierHandle>,
    Path(key): Path<String>,
    value: Bytes,
) -> Result<StatusCode, Refused> {
    tier.put_with(key.as_bytes(), &value, SYNCED)?;
    Ok(StatusCode::NO_CONTENT)
}

fn routes(tier: ColdTierHandle) -> Router {
    Router::new()
        .route("/kv/{key}", get(read).put(write).delete(remove))
        .route("/blocking/{key}", put(write_blocking))
        .route("/idle", get(|| async { StatusCode::NO_CONTENT }))
        .with_state(tier)
}

/// Sends a request, and waits for the head of an answer without a body.
fn ask(stream: &mut TcpStream, head: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let request = format!("{head} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(&[request.as_bytes(), body].concat())?;
    let (mut answer, mut bytes) = (Vec::new(), [0; 1_024]);
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(bytes.get(..read).unwrap_or_default()),
        }
    }
    if answer.starts_with(b"HTTP/1.1 204") { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Times the idle route while clients put to a path; with no path it is alone.
fn time_idle(to: SocketAddr, path: Option<&str>) -> io::Result<(Vec<Duration>, u64)> {
    let (is_over, puts) = (AtomicBool::new(false), AtomicU64::new(0));
    let put = |client: u64| {
        let mut stream = connect(to)?;
        for key in 0..u64::MAX {
            if is_over.load(Relaxed) {
                break;
            }
            let head = format!("PUT {}/{client}-{}", path.unwrap_or_default(), key % 100);
            ask(&mut stream, &head, &VALUE)?;
            puts.fetch_add(1, Relaxed);
        }
        Ok::<_, io::Error>(())
    };
    std::thread::scope(|scope| {
        let clients = path.map_or(0, |_| CLIENTS);
        let put = &put;
        let clients: Vec<_> = (0..clients).map(|client| scope.spawn(move || put(client))).collect();
        let timed: io::Result<Vec<Duration>> = (|| {
            let (mut stream, begun, mut times) = (connect(to)?, Instant::now(), Vec::new());
            while begun.elapsed() < TIME {
                let sent = Instant::now();
                ask(&mut stream, "GET /idle", &[])?;
                times.push(sent.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(times)
        })();
        is_over.store(true, Relaxed);
        for client in clients {
            client.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        }
        let mut times = timed?;
        times.sort_unstable();
        Ok((times, puts.load(Relaxed)))
    })
}

fn measure(to: SocketAddr) -> io::Result<()> {
    for (what, path) in [
        ("alone", None),
        ("beside awaited puts", Some("/kv")),
        ("beside blocking puts", Some("/blocking")),
        ("alone", None),
    ] {
        let (times, puts) = time_idle(to, path)?;
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        println!(
            "idle route {what}: {:?} in the middle, {:?} of 99 in 100; {puts} synced puts",
            at(50),
            at(99)
        );
    }
    Ok(())
}

fn run(options: &Handlers) -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = options.dir.as_deref().unwrap_or(temporary.path());
    let config = ColdTierConfig::builder().base_dir(dir).capacity_bytes(256 << 20).build()?;
    let tier = ColdTier::with_own_pools(config, "handlers")?;
    let handle = tier.handle();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listen = if options.measure { SocketAddr::from(([127, 0, 0, 1], 0)) } else { options.listen };
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        let bound = listener.local_addr()?;
        let server = axum::serve(listener, routes(handle));
        if options.measure {
            let measuring = tokio::task::spawn_blocking(move || measure(bound));
            tokio::select! {
                served = server => served?,
                measured = measuring => measured??,
            }
        } else {
            println!("http://{bound}/kv/KEY");
            tokio::select! {
                served = server => served?,
                stop = tokio::signal::ctrl_c() => stop?,
            }
        }
        Ok::<_, Box<dyn Error>>(())
    });
    // Its connections end before the tier is closed.
    drop(runtime);
    tier.close()?;
    served
}

fn main() -> ExitCode {
    match run(&Handlers::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("handlers: {error}");
            ExitCode::FAILURE
        }
    }
}
