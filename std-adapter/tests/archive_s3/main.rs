//! Backups in an S3 server that runs on this machine, also behind a proxy that delays, cuts and refuses.
//!
//! The server is `moto_server`, of the Python package `moto`. Where it is missing, each test says `SKIPPED` on standard error, and passes.

mod fault_proxy;
mod faults;
mod sound;
mod tiers;

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use coldpress_std::archive::object_store::aws::{AmazonS3, AmazonS3Builder};
use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::object_store::{BackoffConfig, RetryConfig};

const PROGRAM: &str = "moto_server";
const BUCKET: &str = "backups";
/// The longest wait for the server to do anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running S3 server with one bucket; a drop ends it.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a server; `None` where this machine lacks it.
    fn start() -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let child = match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!("SKIPPED: {PROGRAM} is not installed");
                return None;
            }
            child => child.unwrap(),
        };
        let mut this = Self { child, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(this.child.try_wait().unwrap().is_none(), "{PROGRAM} ended at once");
            assert!(begun.elapsed() < PATIENCE, "{PROGRAM} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!(
            "PUT /{BUCKET} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Some(this)
    }

    /// The bucket, without anything in between.
    fn store(&self) -> AmazonS3 {
        store(self.address, RETRIES)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How often a client of a test tries again.
const RETRIES: usize = 8;

/// A client of the bucket at an address.
fn store(address: SocketAddr, max_retries: usize) -> AmazonS3 {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(20),
        base: 2.0,
    };
    let retry = RetryConfig { backoff, max_retries, retry_timeout: PATIENCE };
    AmazonS3Builder::new()
        .with_endpoint(format!("http://{address}"))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(BUCKET)
        .with_access_key_id("test")
        .with_secret_access_key("test")
        .with_retry(retry)
        .build()
        .unwrap()
}

fn prefix() -> Path {
    Path::from("backups/t")
}

/// Runs a future on a runtime of this thread.
fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
