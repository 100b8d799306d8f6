//! Measures the service beside `redis-server` by `redis-benchmark`: `cargo run --release --example beside_redis`.
//!
//! Both keep everything and sync each second (`appendonly yes, appendfsync everysec`; the service's default). They take turns, round by
//! round, each alone: 50 clients, values of 1 KiB, 10,000 keys. A last row fills the service with four times its memory.
//! It takes Debian's `redis-server` and `redis-tools`.

use core::error::Error;
use core::net::SocketAddr;
use core::time::Duration;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;
use coldpress_service::{Options, run};

/// The service beside redis-server.
#[derive(Debug, Parser)]
struct Measuring {
    /// Rounds; each figure is the median of them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests of a run, times the commands in a pipeline up to four.
    #[arg(long, default_value_t = 100_000)]
    requests: u64,
}

/// Could not be carried out.
const FAILED: u8 = 2;
const CLIENTS: &str = "50";
const VALUE_BYTES: u64 = 1_024;
const KEYS: &str = "10000";
const PIPELINES: [u64; 2] = [1, 16];
/// The memory of the service in the last row, in MiB, and the keys that take four times as much.
const SMALL_MEMORY_MIB: u64 = 64;
const MANY_KEYS: u64 = 4 * SMALL_MEMORY_MIB * 1_024;
const START_TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    // This program again, as the service that is measured.
    if arguments.next().as_deref() == Some("serve") {
        let options = Options::parse_from(core::iter::once("serve".to_owned()).chain(arguments));
        return match run(options, |_| ()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        };
    }
    match measure(&Measuring::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("beside_redis: {error}");
    ExitCode::from(FAILED)
}

/// A server that is measured; it ends with this.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing that is needed any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    fn start(command: &mut Command, port: u16) -> Result<Self, Box<dyn Error>> {
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

    fn redis(dir: &Path) -> Result<Self, Box<dyn Error>> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--appendonly", "yes", "--appendfsync", "everysec"]);
        command.args(["--save", "", "--bind", "127.0.0.1", "--dir"]).arg(dir);
        Self::start(&mut command, port)
    }

    fn service(dir: &Path, memory_mib: u64) -> Result<Self, Box<dyn Error>> {
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--http", "127.0.0.1:0", "--resp", &format!("127.0.0.1:{port}")]);
        command.args(["--capacity", "2g", "--memory", &format!("{memory_mib}m"), "--dir"]).arg(dir);
        Self::start(&mut command, port)
    }

    /// Runs `redis-benchmark`; returns thousand requests a second and the 99th percentile in milliseconds for each test.
    fn benchmark(
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
struct Row {
    per_s: f64,
    p99_ms: f64,
}

fn row(line: &str) -> Result<Row, Box<dyn Error>> {
    let fields: Vec<_> = line.split(',').map(|field| field.trim_matches('"')).collect();
    let number = |at: usize| -> Result<f64, Box<dyn Error>> {
        Ok(fields.get(at).ok_or_else(|| format!("a line of redis-benchmark is cut: {line}"))?.parse()?)
    };
    // "test","rps","avg","min","p50","p95","p99","max"
    Ok(Row { per_s: number(1)?, p99_ms: number(6)? })
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn measure(options: &Measuring) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let [ours, theirs] = ["service", "redis"].map(|name| dir.path().join(name));
    std::fs::create_dir(&theirs)?;
    let (service, redis) = (Server::service(&ours, 256)?, Server::redis(&theirs)?);
    println!(
        "redis-benchmark, {CLIENTS} clients, {VALUE_BYTES} bytes, {KEYS} keys; medians of {} rounds in turn",
        options.rounds
    );
    println!(
        "{:<12}{:>22}{:>22}{:>10}{:>10}",
        "", "service k/s (p99 ms)", "redis k/s (p99 ms)", "ratio", "p99"
    );
    for pipeline in PIPELINES {
        let requests = options.requests * pipeline.min(4);
        let mut rounds: [[Vec<Row>; 2]; 2] = Default::default();
        for _ in 0..options.rounds {
            for (server, [sets, gets]) in [&service, &redis].into_iter().zip(&mut rounds) {
                let rows = server.benchmark("set,get", KEYS, requests, pipeline)?;
                let [set, get] = rows[..] else { return Err("redis-benchmark gave no two lines".into()) };
                sets.push(set);
                gets.push(get);
            }
        }
        let [[our_sets, our_gets], [their_sets, their_gets]] = rounds;
        for (name, ours, theirs) in [("SET", our_sets, their_sets), ("GET", our_gets, their_gets)] {
            let (ours, theirs) = (median(&ours), median(&theirs));
            println!(
                "{:<12}{:>12.1} ({:>6.2}){:>13.1} ({:>6.2}){:>10.2}{:>10.2}",
                format!("{name} -P {pipeline}"),
                ours.per_s / 1e3,
                ours.p99_ms,
                theirs.per_s / 1e3,
                theirs.p99_ms,
                ours.per_s / theirs.per_s,
                ours.p99_ms / theirs.p99_ms,
            );
        }
    }
    drop((service, redis));
    beyond_memory(dir.path())
}

/// Fills the service with four times its memory, and reads at random.
fn beyond_memory(dir: &Path) -> Result<(), Box<dyn Error>> {
    let service = Server::service(&dir.join("small"), SMALL_MEMORY_MIB)?;
    let keys = MANY_KEYS.to_string();
    // Each key once on the average, then again, so that most are there.
    for tests in ["set", "set", "get"] {
        let rows = service.benchmark(tests, &keys, MANY_KEYS, 16)?;
        let [row] = rows[..] else { return Err("redis-benchmark gave no line".into()) };
        println!(
            "{:<12}{:>12.1} ({:>6.2})   {MANY_KEYS} keys in {SMALL_MEMORY_MIB} MiB of memory",
            format!("{} -P 16", tests.to_uppercase()),
            row.per_s / 1e3,
            row.p99_ms,
        );
    }
    let info = Command::new("redis-cli").args(["-p", &service.port.to_string(), "DBSIZE"]).output()?;
    println!("{} keys are there", String::from_utf8_lossy(&info.stdout).trim());
    Ok(())
}

/// The median of the rates, and that of the percentiles.
fn median(rows: &[Row]) -> Row {
    let of = |field: fn(&Row) -> f64| {
        let mut all: Vec<_> = rows.iter().map(field).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Row { per_s: of(|row| row.per_s), p99_ms: of(|row| row.p99_ms) }
}
