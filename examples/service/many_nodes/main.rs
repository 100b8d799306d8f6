//! Measures one, two and three services behind twemproxy by `redis-benchmark`: `cargo run --release --example many_nodes`.
//!
//! Services, proxy and clients share one machine. So the table also has the CPU time of each: where together they take all cores, more
//! nodes can't be faster here. It takes Debian's `nutcracker` and `redis-tools`.

#[path = "../measuring/mod.rs"]
mod measuring;

use core::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;

use self::measuring::{
    CLIENTS, KEYS, Measuring, PIPELINES, Row, Server, VALUE_BYTES, free_port, median, serve_or,
};

const NODES_MAX: usize = 3;
/// Linux counts the times of `/proc` in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;

fn main() -> ExitCode {
    serve_or(|| measure(&Measuring::parse()))
}

fn measure(options: &Measuring) -> Result<(), Box<dyn Error>> {
    let cores = std::thread::available_parallelism()?;
    println!(
        "redis-benchmark, {CLIENTS} clients, {VALUE_BYTES} bytes, {KEYS} keys, {cores} cores; medians of {} rounds",
        options.rounds
    );
    println!(
        "{:<10}{:>10}{:>26}{:>26}{:>34}",
        "nodes", "", "SET k/s (p99 ms)", "GET k/s (p99 ms)", "cores: nodes, proxy, benchmark"
    );
    for nodes in 1..=NODES_MAX {
        let dir = tempfile::tempdir()?;
        let services = (0..nodes).map(|node| service(&dir.path().join(node.to_string())));
        let services = services.collect::<Result<Vec<_>, _>>()?;
        if let [service] = &services[..] {
            row("direct", options, service, &services, None)?;
        }
        let proxy = proxy(dir.path(), &services)?;
        row(&nodes.to_string(), options, &proxy, &services, Some(&proxy))?;
    }
    Ok(())
}

fn service(dir: &Path) -> Result<Server, Box<dyn Error>> {
    Server::service(&["--capacity", "1g", "--memory", "128m", "--dir", &dir.to_string_lossy()])
}

fn proxy(dir: &Path, services: &[Server]) -> Result<Server, Box<dyn Error>> {
    let (port, stats, config) = (free_port()?, free_port()?, dir.join("nutcracker.yml"));
    let mut text = format!("nodes:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash: murmur\n");
    text.push_str("  distribution: ketama\n  auto_eject_hosts: false\n  servers:\n");
    for (at, service) in services.iter().enumerate() {
        text.push_str(&format!("    - 127.0.0.1:{}:1 node{at}\n", service.port));
    }
    std::fs::write(&config, text)?;
    let mut command = Command::new("nutcracker");
    command.arg("-c").arg(config).arg("-p").arg(dir.join("pid")).arg("-o").arg(dir.join("log"));
    Server::start(command.args(["-a", "127.0.0.1", "-s", &stats.to_string()]), port)
}

/// Measures a server, and prints a line for each pipeline.
fn row(
    name: &str,
    options: &Measuring,
    server: &Server,
    services: &[Server],
    proxy: Option<&Server>,
) -> Result<(), Box<dyn Error>> {
    for pipeline in PIPELINES {
        let requests = options.requests_of(pipeline);
        let (begun, before) = (Instant::now(), CpuTimes::now(services, proxy)?);
        let (mut sets, mut gets): (Vec<Row>, Vec<Row>) = Default::default();
        for _ in 0..options.rounds {
            let rows = server.benchmark("set,get", KEYS, requests, pipeline)?;
            let [set, get] = rows[..] else { return Err("redis-benchmark gave no two lines".into()) };
            sets.push(set);
            gets.push(get);
        }
        let (taken_s, after) = (begun.elapsed().as_secs_f64(), CpuTimes::now(services, proxy)?);
        let (set, get) = (median(&sets), median(&gets));
        println!(
            "{name:<10}{:>10}{:>17.1} ({:>6.2}){:>17.1} ({:>6.2}){:>16.2}{:>9.2}{:>9.2}",
            format!("-P {pipeline}"),
            set.per_s / 1e3,
            set.p99_ms,
            get.per_s / 1e3,
            get.p99_ms,
            (after.services_s - before.services_s) / taken_s,
            (after.proxy_s - before.proxy_s) / taken_s,
            (after.benchmark_s - before.benchmark_s) / taken_s,
        );
    }
    Ok(())
}

/// The CPU time that processes have taken so far, in seconds.
struct CpuTimes {
    services_s: f64,
    proxy_s: f64,
    benchmark_s: f64,
}

impl CpuTimes {
    fn now(services: &[Server], proxy: Option<&Server>) -> Result<Self, Box<dyn Error>> {
        let of = |server: &Server| ticks(&server.child.id().to_string(), 11);
        let services = services.iter().map(of).sum::<Result<u64, _>>()?;
        let proxy = proxy.map_or(Ok(0), of)?;
        // Servers are running children, and the runs of the benchmark are those that ended.
        let benchmark = ticks("self", 13)?;
        let [services_s, proxy_s, benchmark_s] =
            [services, proxy, benchmark].map(|ticks| ticks as f64 / TICKS_PER_S);
        Ok(Self { services_s, proxy_s, benchmark_s })
    }
}

/// Two neighbouring fields of `/proc/PROCESS/stat`, counted behind the name of the program: user time and system time.
fn ticks(process: &str, at: usize) -> Result<u64, Box<dyn Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<_> = stat.rsplit_once(") ").ok_or("/proc has no stat")?.1.split(' ').collect();
    let field =
        |at: usize| -> Result<u64, Box<dyn Error>> { Ok(fields.get(at).ok_or("stat is cut")?.parse()?) };
    Ok(field(at)? + field(at + 1)?)
}
