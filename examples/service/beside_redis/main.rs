//! Measures the service beside `redis-server` by `redis-benchmark`: `cargo run --release --example beside_redis`.
//!
//! Both keep everything and sync each second (`appendonly yes, appendfsync everysec`; the service's default). They take turns, round by
//! round, each alone: 50 clients, values of 1 KiB, 10,000 keys. A last row fills the service with four times its memory.
//! It takes Debian's `redis-server` and `redis-tools`.

#[path = "../measuring/mod.rs"]
mod measuring;

use core::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser;

use self::measuring::{
    CLIENTS, KEYS, Measuring, PIPELINES, Row, Server, VALUE_BYTES, free_port, median, serve_or,
};

/// The memory of the service in the last row, in MiB, and the keys that take four times as much.
const SMALL_MEMORY_MIB: u64 = 64;
const MANY_KEYS: u64 = 4 * SMALL_MEMORY_MIB * 1_024;

fn main() -> ExitCode {
    serve_or(|| measure(&Measuring::parse()))
}

fn redis(dir: &Path) -> Result<Server, Box<dyn Error>> {
    let port = free_port()?;
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--appendonly", "yes", "--appendfsync", "everysec"]);
    command.args(["--save", "", "--bind", "127.0.0.1", "--dir"]).arg(dir);
    Server::start(&mut command, port)
}

fn service(dir: &Path, memory_mib: u64) -> Result<Server, Box<dyn Error>> {
    let memory = format!("{memory_mib}m");
    Server::service(&["--capacity", "2g", "--memory", &memory, "--dir", &dir.to_string_lossy()])
}

fn measure(options: &Measuring) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let [ours, theirs] = ["service", "redis"].map(|name| dir.path().join(name));
    std::fs::create_dir(&theirs)?;
    let (service, redis) = (self::service(&ours, 256)?, self::redis(&theirs)?);
    println!(
        "redis-benchmark, {CLIENTS} clients, {VALUE_BYTES} bytes, {KEYS} keys; medians of {} rounds in turn",
        options.rounds
    );
    println!(
        "{:<12}{:>22}{:>22}{:>10}{:>10}",
        "", "service k/s (p99 ms)", "redis k/s (p99 ms)", "ratio", "p99"
    );
    for pipeline in PIPELINES {
        let requests = options.requests_of(pipeline);
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
    let service = service(&dir.join("small"), SMALL_MEMORY_MIB)?;
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
