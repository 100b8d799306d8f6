//! Measures the write amplification of the tier machine alone, on a medium in memory: `cargo run --release --example
//! amplification [-- TRACE]`.
//!
//! For each workload and each way of choosing victims it prints bytes written ÷ bytes of fresh records, for the whole run and
//! for its second half. Beside the second half it sets what ideal cleaners would write in the steady state. There is no I/O, so
//! figures are counts and repeat exactly. With the path of a trace in the CloudPhysics
//! format it is replayed five times at 1.1 times its live data; values are cut to a sixteenth to fit into memory.

use core::error::Error;
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use coldpress_core::codec::CodecId;
use coldpress_core::config::{Streams, TierConfig, free_reserve};
use coldpress_core::drive::Now;
use coldpress_core::format::{
    ENTRY_BYTES, Geometry, Identity, KeyHash, Kind, Location, SegmentIndex, Store, Version,
};
use coldpress_core::index::{
    Advice, Codecs, Dropped, Index, Liveness, Look, Placed, Published, Reconciled, Released, Settled,
};
use coldpress_core::machine::{Driver, Status, Tier};
use coldpress_core::segments::Policy;
use coldpress_core::writer::{AppendError, Counters, Fresh};
use coldpress_examples::bytes::{Buffers, Bytes};
use coldpress_examples::cleaning::{Space, least_live, oldest_first, separated};
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
    let mut steady = Vec::new();
    for (name, alpha) in [("uniform, 1 KiB, 71 % live", 0.0), ("zipf 0.99, 1 KiB, 71 % live", 0.99)] {
        for (name, measured) in rows(name, &generated(alpha), CAPACITY_GENERATED, 128 << 10)? {
            steady.push((name, alpha, measured));
        }
    }
    if let Some(trace) = trace {
        rows("trace, 5 rounds, 91 % live", &trace, CAPACITY_TRACE, 128 << 10)?;
    }
    println!(
        "\nsecond half with the adaptive policy, beside models of ideal cleaners: bytes, and measured ÷ model"
    );
    println!("{:<44}{:>10}{:>16}{:>16}{:>16}", "", "measured", "least live", "oldest first", "separated");
    for (name, alpha, measured) in &steady {
        beside_models(name, *alpha, measured);
    }
    Ok(())
}

/// Prints a row for each number of streams; returns what the adaptive policy gave.
fn rows(
    name: &str,
    writes: &Writes,
    capacity: u64,
    segment_bytes: u32,
) -> Result<Vec<(String, Measured)>, Box<dyn Error>> {
    let mut adaptive = Vec::new();
    for (streams, label) in [(Streams::Two, "two"), (Streams::Four, "four")] {
        let name = format!("{name}, {label} streams");
        print!("{name:<44}");
        for policy in [Policy::Greedy, Policy::CostBenefit, Policy::Adaptive] {
            let measured = measure(writes, capacity, segment_bytes, streams, policy)?;
            print!("{:>14}", format!("{:.3} {:.3}", measured.whole.share(), measured.half.share()));
            if policy == Policy::Adaptive {
                adaptive.push((name.clone(), measured));
            }
        }
        println!();
    }
    Ok(adaptive)
}

/// Prints the second half beside the models, and the terms that these were given.
///
/// Models of uniform overwrites are no bound for others, and separation gains nothing for uniform ones.
fn beside_models(name: &str, alpha: f64, measured: &Measured) {
    let (space, half) = (measured.space(), &measured.half);
    let models = if alpha == 0.0 {
        [Some(least_live(&space)), Some(oldest_first(&space)), None]
    } else {
        let rates = (1..=KEYS).map(|rank| (rank as f64).powf(-alpha)).collect::<Vec<_>>();
        [None, None, Some(separated(&space, &rates))]
    };
    print!("{name:<44}{:>10.3}", half.share());
    for model in models {
        let shown = model.map_or("–".to_owned(), |records| {
            let bytes = half.bytes_of(records);
            format!("{bytes:.3} {:.3}", half.share() / bytes)
        });
        print!("{shown:>16}");
    }
    println!();
    let of_all = measured.config.geometry.segment_count();
    println!(
        "  {:.1} % live of {:.0} of {of_all} segments with {:.1} records each; footers, headers and the machine's records \
         add {:.1} %, an origin {:.1} % of a relocated record",
        100.0 * space.live / (space.in_segment * space.segments),
        space.segments,
        space.in_segment,
        100.0 * half.overhead(),
        100.0 * (half.growth() - 1.0),
    );
}

/// Keys of the generated workloads.
const KEYS: u64 = 50_000;

/// 50,000 keys are written once, then overwritten half a million times.
fn generated(alpha: f64) -> Writes {
    let keys = KEYS;
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
) -> Result<Measured, Box<dyn Error>> {
    let longest = writes.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    let live: HashMap<u64, u32> = writes.iter().copied().collect();
    let live_bytes: u64 = live.values().map(|bytes| u64::from(*bytes) + 16).sum();
    let count = u32::try_from(live_bytes * capacity / 1000 / u64::from(segment_bytes))?;
    let geometry = Geometry::new(segment_bytes, count, 1, 0, Identity::KeyedHash)?;
    let store = Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 };
    let config =
        TierConfig { streams, policy, record_bytes_max: longest + 64, ..TierConfig::new(geometry, store) };

    let mut buffers = Buffers::new(&config);
    let (memory, tasks) = buffers.lend();
    let tier = Tier::new(config, memory, tasks)?;
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
    let (whole, none) = (bench.tier.counters(), Counters::default());
    let (whole, half) = (Part::between(&none, &whole), Part::between(&half, &whole));
    Ok(Measured { config, keys: live.len() as u64, whole, half })
}

/// The result of a run.
struct Measured {
    config: TierConfig,
    keys: u64,
    whole: Part,
    half: Part,
}

impl Measured {
    /// The space of the models. Left out are the segments below the low watermark, which are kept free, and half of each
    /// open one.
    fn space(&self) -> Space {
        let Self { config, half, .. } = self;
        let kept = free_reserve(config.streams) + config.low_watermark_segments;
        let open = f64::from(config.streams.count()) / 2.0;
        Space {
            live: self.keys as f64,
            in_segment: f64::from(config.geometry.usable_bytes()) / half.bytes_in_segment(&config.geometry),
            segments: f64::from(config.geometry.segment_count() - kept) - open,
        }
    }
}

/// The counts of a part of a run.
struct Part {
    fresh: (f64, f64),
    relocated: (f64, f64),
    written_bytes: f64,
}

impl Part {
    fn between(from: &Counters, to: &Counters) -> Self {
        let since = |count: fn(&Counters) -> u64| (count(to) - count(from)) as f64;
        Self {
            fresh: (since(|c| c.fresh_records), since(|c| c.fresh_bytes)),
            relocated: (since(|c| c.relocated_records), since(|c| c.relocated_bytes)),
            written_bytes: since(|c| c.bytes_written),
        }
    }

    /// Bytes written ÷ bytes of fresh records.
    fn share(&self) -> f64 {
        self.written_bytes / self.fresh.1
    }

    /// All that is written beside records, as a part of these.
    fn overhead(&self) -> f64 {
        self.written_bytes / (self.fresh.1 + self.relocated.1) - 1.0
    }

    /// How much longer a relocated record is than a fresh one, as a factor.
    fn growth(&self) -> f64 {
        (self.relocated.1 / self.relocated.0.max(1.0)) / (self.fresh.1 / self.fresh.0)
    }

    /// Bytes that a record takes in a segment on the average, with its entry in the footer.
    fn bytes_in_segment(&self, geometry: &Geometry) -> f64 {
        let records = self.fresh.0 + self.relocated.0;
        let origins = self.relocated.0 * f64::from(geometry.origin_bytes());
        (self.fresh.1 + self.relocated.1 + origins) / records + f64::from(ENTRY_BYTES)
    }

    /// The share in bytes where so many records are written for each fresh one.
    fn bytes_of(&self, records: f64) -> f64 {
        (1.0 + (records - 1.0) * self.growth()) * (1.0 + self.overhead())
    }
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
                replaces: self.index.segment(&hash),
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

    fn segment(&self, hash: &KeyHash) -> Option<SegmentIndex> {
        self.0.get(hash)?.placed.map(|placed| placed.location.segment)
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
