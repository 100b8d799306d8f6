//! Measures the write amplification of the tier machine alone, on a medium in memory: `cargo run --release --example
//! amplification [-- TRACE]`.
//!
//! For each workload and each way of choosing victims it prints bytes written ÷ bytes of fresh records, for the whole run and
//! for its second half. There is no I/O, so figures are counts and repeat exactly. With the path of a trace in the CloudPhysics
//! format it is replayed five times at 1.1 times its live data; values are cut to a sixteenth to fit into memory.

use core::error::Error;
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use coldpress_core::codec::CodecId;
use coldpress_core::config::{Streams, TierConfig};
use coldpress_core::drive::Now;
use coldpress_core::format::{Geometry, Identity, KeyHash, Kind, Location, Store, Version};
use coldpress_core::index::{
    Advice, Codecs, Dropped, Index, Liveness, Look, Placed, Published, Reconciled, Released, Settled,
};
use coldpress_core::machine::{Driver, Status, Tier};
use coldpress_core::segments::Policy;
use coldpress_core::writer::{AppendError, Fresh};
use coldpress_examples::bytes::{Buffers, Bytes};
use coldpress_examples::measuring::Amplification;
use coldpress_examples::rng::Rng;
use coldpress_examples::trace::{TraceError, TraceOp, TraceReader};
use coldpress_examples::zipf::Zipf;

/// Writes of a workload: key and value length.
type Writes = Vec<(u64, u32)>;

/// How much more than its live data a medium holds, in thousandths.
const CAPACITY_GENERATED: u64 = 1408;
const CAPACITY_TRACE: u64 = 1100;
/// Values of a trace are cut to this part.
const TRACE_DIVISOR: u32 = 16;
/// Could not be carried out.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    match run(&Amplification::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("amplification: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(options: &Amplification) -> Result<(), Box<dyn Error>> {
    // Read first: a trace that can't be read costs no run.
    let trace = options.trace.as_deref().map(named).transpose()?;
    println!("write amplification of the machine: whole run, second half");
    println!("{:<44}{:>14}{:>14}{:>14}", "", "greedy", "cost-benefit", "adaptive");
    for (name, alpha) in [("uniform, 1 KiB, 71 % live", 0.0), ("zipf 0.99, 1 KiB, 71 % live", 0.99)] {
        row(name, &generated(alpha), CAPACITY_GENERATED, 128 << 10)?;
    }
    if let Some(trace) = trace {
        row("trace, 5 rounds, 91 % live", &trace, CAPACITY_TRACE, 128 << 10)?;
    }
    Ok(())
}

fn row(name: &str, writes: &Writes, capacity: u64, segment_bytes: u32) -> Result<(), Box<dyn Error>> {
    for (streams, label) in [(Streams::Two, "two"), (Streams::Four, "four")] {
        print!("{:<44}", format!("{name}, {label} streams"));
        for policy in [Policy::Greedy, Policy::CostBenefit, Policy::Adaptive] {
            let (whole, half) = measure(writes, capacity, segment_bytes, streams, policy)?;
            print!("{:>14}", format!("{whole:.3} {half:.3}"));
        }
        println!();
    }
    Ok(())
}

/// 50,000 keys are written once, then overwritten half a million times.
fn generated(alpha: f64) -> Writes {
    let keys = 50_000;
    let mut rng = Rng::new(1, 0);
    let law = Zipf::new(keys, alpha);
    // Ranks are scattered over the keys: 7,919 is prime and no divisor of their number.
    let drawn = (0..10 * keys).map(|_| law.draw(&mut rng) * 7919 % keys).collect::<Vec<_>>();
    (0..keys).chain(drawn).map(|key| (key, 1024)).collect()
}

/// Reads a trace; an error begins with the path of the file.
fn named(path: &Path) -> Result<Writes, Box<dyn Error>> {
    traced(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn traced(path: &Path) -> Result<Writes, TraceError> {
    let mut round = Writes::new();
    for row in TraceReader::open(path)? {
        let row = row?;
        if row.op == TraceOp::Write {
            round.push((row.lbn, (row.size / TRACE_DIVISOR).max(16)));
        }
    }
    Ok(round.repeat(5))
}

fn measure(
    writes: &Writes,
    capacity: u64,
    segment_bytes: u32,
    streams: Streams,
    policy: Policy,
) -> Result<(f64, f64), Box<dyn Error>> {
    let longest = writes.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    let live: HashMap<u64, u32> = writes.iter().copied().collect();
    let live_bytes: u64 = live.values().map(|bytes| u64::from(*bytes) + 16).sum();
    let count = u32::try_from(live_bytes * capacity / 1000 / u64::from(segment_bytes))?;
    let geometry = Geometry::new(segment_bytes, count, 1, 0, Identity::KeyedHash)?;
    let store = Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 };
    let config =
        TierConfig { streams, policy, record_bytes_max: longest + 64, ..TierConfig::new(geometry, store) };

    let mut buffers = Buffers::new(&config);
    let tier = Tier::new(config, buffers.lend())?;
    let (index, medium) = (BareIndex::default(), Bytes::blank(&geometry));
    let mut bench = Bench { tier, index, medium, driver: Driver::new() };
    while bench.tier.status() == Status::Mounting {
        bench.step(Now::default());
    }
    let value = vec![0x5A; longest as usize];
    let mut half = bench.tier.counters();
    for (at, (key, bytes)) in writes.iter().enumerate() {
        if at == writes.len() / 2 {
            half = bench.tier.counters();
        }
        let now = Now { monotonic_ms: at as u64, wall_s: 0 };
        bench.put(now, *key, value.get(..*bytes as usize).unwrap_or_default())?;
    }
    let whole = bench.tier.counters();
    let share = |written: u64, fresh: u64| written as f64 / fresh as f64;
    let late = share(whole.bytes_written - half.bytes_written, whole.fresh_bytes - half.fresh_bytes);
    Ok((share(whole.bytes_written, whole.fresh_bytes), late))
}

/// The machine, its index and its medium.
struct Bench<'m> {
    tier: Tier<'m>,
    index: BareIndex,
    medium: Bytes,
    driver: Driver,
}

impl Bench<'_> {
    fn put(&mut self, now: Now, key: u64, value: &[u8]) -> Result<(), Box<dyn Error>> {
        let key = key.to_le_bytes();
        let payload = [&key, value].concat();
        let hash = self.index.hash(&key);
        for _ in 0..1_000_000 {
            let fresh = Fresh {
                hash,
                kind: Kind::Value,
                codec: CodecId::Raw,
                key_bytes: 8,
                payload: &payload,
                checksum: self.tier.seed().payload(&payload),
                expires_s: None,
                after: self.index.newest(&hash),
            };
            match self.tier.append(now, &fresh) {
                Ok(location) => {
                    self.index.0.entry(hash).or_default().appended = Some(location.version());
                    self.step(now);
                    return Ok(());
                }
                Err(AppendError::Busy) => self.step(now),
                Err(error) => return Err(error.into()),
            }
        }
        Err("the machine makes no progress".into())
    }

    /// Polls the machine a few times and carries out what it asks for.
    fn step(&mut self, now: Now) {
        self.driver.drive(&mut self.tier, now, &mut self.index, &mut self.medium, 8);
    }
}

/// The entry of a key.
#[derive(Default)]
struct Entry {
    placed: Option<Placed>,
    appended: Option<Version>,
}

/// An index that knows puts only.
#[derive(Default)]
struct BareIndex(HashMap<KeyHash, Entry>);

impl BareIndex {
    fn newest(&self, hash: &KeyHash) -> Option<Version> {
        let entry = self.0.get(hash)?;
        entry.placed.map(|placed| placed.version).max(entry.appended)
    }
}

impl Index for BareIndex {
    fn identify(&mut self, _: &Store) {}

    fn hash(&self, key: &[u8]) -> KeyHash {
        let mut hash = KeyHash::default();
        for (to, from) in hash.0.iter_mut().zip(key) {
            *to = *from;
        }
        hash
    }

    fn liveness(&self, hash: &KeyHash, at: Location) -> Liveness {
        let placed = self.0.get(hash).and_then(|entry| entry.placed);
        if placed.is_some_and(|placed| placed.location == at) { Liveness::Live } else { Liveness::Stale }
    }

    fn publish(&mut self, hash: &KeyHash, placed: &Placed) -> Published {
        let entry = self.0.entry(*hash).or_default();
        let old = entry.placed;
        let is_current = match placed.relocated_from {
            None => old.is_none_or(|old| old.version < placed.version),
            Some(from) => old.is_some_and(|old| old.location == from),
        };
        if !is_current {
            return Published::Stale;
        }
        entry.placed = Some(*placed);
        let released = |old: Placed| Released { location: old.location, record_bytes: old.record_bytes };
        Published::Live(old.map(released))
    }

    fn recovered(&mut self, hash: &KeyHash, placed: &Placed, _: bool) -> Published {
        self.publish(hash, placed)
    }

    fn drop_current(&mut self, _: &KeyHash, _: Location) -> Dropped {
        Dropped::NotCurrent
    }

    // The rest serves failures, removes, expiry and damage, which do not come up here.
    fn unwritten(&mut self, _: &KeyHash, _: &Placed) {}
    fn copy_erased(&mut self, _: &KeyHash) -> Option<Released> {
        None
    }
    fn settle(&mut self) -> Settled {
        Settled::End
    }
    fn due(&mut self, _: u32) -> Look {
        Look::End
    }
    fn reconcile(&mut self, _: &KeyHash, _: &Placed) -> Reconciled {
        Reconciled::Known
    }
    fn damaged(&mut self, _: &KeyHash, _: Location) {}
}

impl Codecs for BareIndex {}

impl Advice for BareIndex {}
