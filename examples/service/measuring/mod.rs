//! Servers that are measured by `redis-benchmark`.

use core::error::Error;
use core::net::SocketAddr;
use core::time::Duration;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;
use coldpress_service::{Options, run};

/// Could not be carried out.
const FAILED: u8 = 2;
pub(crate) const CLIENTS: &str = "50";
pub(crate) const VALUE_BYTES: u64 = 1_024;
pub(crate) const KEYS: &str = "10000";
/// Commands that a client sends at once.
pub(crate) const PIPELINES: [u64; 2] = [1, 16];
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Measures by `redis-benchmark`.
#[derive(Debug, Parser)]
pub(crate) struct Measuring {
    /// Rounds; each figure is the median of them
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Requests of a run, times the commands in a pipeline up to four
    #[arg(long, default_value_t = 100_000)]
    requests: u64,
}

impl Measuring {
    /// The requests of a run with such a pipeline.
    pub(crate) fn requests_of(&self, pipeline: u64) -> u64 {
        self.requests * pipeline.min(4)
    }
}

/// Runs this program as a service, where its first argument is `serve`; else measures.
pub(crate) fn serve_or(measure: impl FnOnce() -> Result<(), Box<dyn Error>>) -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = if arguments.next().as_deref() == Some("serve") {
        let options = Options::parse_from(core::iter::once("serve".to_owned()).chain(arguments));
        run(options, |_| ()).map_err(Into::into)
    } else {
        measure()
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(FAILED)
        }
    }
}

/// A server that is measured; it ends with this.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing that is needed any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    pub(crate) fn start(command: &mut Command, port: u16) -> Result<Self, Box<dyn Error>> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
        let child = child.map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let server = Self { child, port };
        let (begun, address) = (Instant::now(), SocketAddr::from(([127, 0, 0, 1], port)));
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > START_TIMEOUT {
                return Err(format!("{:?} does not listen on {address}", command.get_program()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// This program as a service, with options beside those of its ports.
    pub(crate) fn service(arguments: &[&str]) -> Result<Self, Box<dyn Error>> {
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--http", "127.0.0.1:0", "--resp", &format!("127.0.0.1:{port}")]);
        Self::start(command.args(arguments), port)
    }

    /// Runs `redis-benchmark`; returns thousand requests a second and the 99th percentile in milliseconds for each test.
    pub(crate) fn benchmark(
        &self,
        tests: &str,
        keys: &str,
        requests: u64,
        pipeline: u64,
    ) -> Result<Vec<Row>, Box<dyn Error>> {
        let mut command = Command::new("redis-benchmark");
        command.args(["--csv", "-p", &self.port.to_string(), "-t", tests, "-c", CLIENTS, "-r", keys]);
        command.args([
            "-d",
            &VALUE_BYTES.to_string(),
            "-n",
            &requests.to_string(),
            "-P",
            &pipeline.to_string(),
        ]);
        let output = command.output().map_err(|error| format!("redis-benchmark: {error}"))?;
        let text = String::from_utf8(output.stdout)?;
        text.lines().skip(1).map(row).collect()
    }
}

/// One line of `redis-benchmark --csv`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) per_s: f64,
    pub(crate) p99_ms: f64,
}

fn row(line: &str) -> Result<Row, Box<dyn Error>> {
    let fields: Vec<_> = line.split(',').map(|field| field.trim_matches('"')).collect();
    let number = |at: usize| -> Result<f64, Box<dyn Error>> {
        Ok(fields.get(at).ok_or_else(|| format!("a line of redis-benchmark is cut: {line}"))?.parse()?)
    };
    // "test","rps","avg","min","p50","p95","p99","max"
    Ok(Row { per_s: number(1)?, p99_ms: number(6)? })
}

pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The median of the rates, and that of the percentiles.
pub(crate) fn median(rows: &[Row]) -> Row {
    let of = |field: fn(&Row) -> f64| {
        let mut all: Vec<_> = rows.iter().map(field).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Row { per_s: of(|row| row.per_s), p99_ms: of(|row| row.p99_ms) }
}
