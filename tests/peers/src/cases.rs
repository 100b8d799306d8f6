//! The cases: steps on one folder, each a row of the table or several.

use std::path::Path;

use crate::args::Args;
use crate::job::{Law, Replayed, Step};
use crate::stores::Promise;
use crate::versions::KEY_BYTES;

/// The exponent of Zipf's law, as YCSB has it.
const ALPHA: f64 = 0.99;

/// The capacity where a case doesn't ask for another: the default of Coldpress. A larger case gets more.
const CAPACITY_BYTES: u64 = 1 << 30;

/// Times the live bytes that overwrites write.
const OVERWRITES: u32 = 4;

/// The rate of a limited compaction: the one in the guide's example.
const COMPACTION_BYTES_PER_S: u64 = 20 << 20;

/// Published clusters that are replayed: mixed lifetimes, mostly writes, mostly reads.
const CLUSTERS: [u32; 3] = [52, 12, 29];

/// The sizes of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Bytes of keys and values in a case.
    pub(crate) bytes: u64,
    /// Seconds of a measurement that lasts for a time.
    pub(crate) seconds: f64,
    /// How often every store takes its turn.
    pub(crate) rounds: u32,
    /// Whether only the cases of a quick run are taken.
    pub(crate) is_quick: bool,
}

impl Sizes {
    pub(crate) fn of(args: &Args) -> Self {
        let (mib, seconds, rounds) = if args.quick { (16, 0.2, 2) } else { (96, 1.5, 3) };
        Self {
            bytes: args.mib.unwrap_or(mib) << 20,
            seconds: args.seconds.unwrap_or(seconds),
            rounds: args.rounds.unwrap_or(rounds).max(1),
            is_quick: args.quick,
        }
    }
}

/// Steps on one folder.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Its name, which those of its rows begin with.
    pub(crate) name: String,
    pub(crate) promise: Promise,
    pub(crate) keys: u64,
    pub(crate) value_bytes: u32,
    /// The bytes that the files may take.
    pub(crate) capacity_bytes: u64,
    /// Steps with their names; a step without one is measured and has no row of its own.
    pub(crate) steps: Vec<(Option<&'static str>, Step)>,
}

impl Case {
    /// Bytes of keys and values once all keys have one.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.keys * (KEY_BYTES as u64 + u64::from(self.value_bytes))
    }
}

/// Gives the cases of a run, and says on standard error which are left out because their input isn't there.
pub(crate) fn cases(args: &Args) -> Vec<Case> {
    let sizes = Sizes::of(args);
    let mut all = loads(sizes);
    all.push(reads(sizes));
    all.extend(gets(sizes));
    all.extend(promises(sizes));
    all.push(overwrites(sizes));
    all.push(besides(sizes));
    all.extend(opens(sizes));
    all.extend(replays(sizes, &args.shared));
    if !args.cases.is_empty() {
        all.retain(|case| args.cases.iter().any(|word| case.name.contains(word.as_str())));
    }
    all
}

fn case(sizes: Sizes, name: impl Into<String>, value_bytes: u32) -> Case {
    let keys = sizes.bytes / (KEY_BYTES as u64 + u64::from(value_bytes));
    let name = name.into();
    let capacity_bytes = CAPACITY_BYTES.max(sizes.bytes * 5 / 2);
    Case { name, promise: Promise::Buffered, keys, value_bytes, capacity_bytes, steps: Vec::new() }
}

/// Loads of values of several lengths, by several clients.
fn loads(sizes: Sizes) -> Vec<Case> {
    let quick: &[(&str, u32, u32)] =
        &[("load 100 B", 100, 1), ("load 16 KiB", 16 << 10, 1), ("load 64 KiB", 64 << 10, 1)];
    let more: &[(&str, u32, u32)] = &[
        ("load 100 B, 4 clients", 100, 4),
        ("load 1 KiB, 2 clients", 1024, 2),
        ("load 1 KiB, 4 clients", 1024, 4),
    ];
    let more = if sizes.is_quick { &more[2..] } else { more };
    let load = |&(name, value_bytes, clients): &(&str, u32, u32)| {
        let steps = vec![(Some(""), Step::Load { clients })];
        Case { steps, ..case(sizes, name, value_bytes) }
    };
    quick.iter().chain(more).map(load).collect()
}

/// Values of 1 KiB: load, reopen, gets, mixes, removes.
fn reads(sizes: Sizes) -> Case {
    let seconds = sizes.seconds;
    let get = |clients, law, warms, is_cold| Step::Get { clients, seconds, law, warms, is_cold };
    let mix = |clients, read_permille| Step::Mix { clients, seconds, law: Law::Zipf(ALPHA), read_permille };
    let uniform = Law::Uniform;
    let mut steps = vec![
        (Some("load"), Step::Load { clients: 1 }),
        (Some("get uniform after reopen"), get(1, uniform, false, false)),
        (Some("get uniform, page cache dropped"), get(1, uniform, false, true)),
        (Some("get uniform, all read before"), get(1, uniform, true, false)),
        (Some("get uniform, all read before, 4 clients"), get(4, uniform, true, false)),
        (Some("zipf 50/50"), mix(1, 500)),
        (Some("zipf 95/5"), mix(1, 950)),
        (Some("zipf 50/50, 4 clients"), mix(4, 500)),
        (Some("zipf 95/5, 4 clients"), mix(4, 950)),
    ];
    if !sizes.is_quick {
        steps.extend([
            (Some("get uniform, all read before, 2 clients"), get(2, uniform, true, false)),
            (Some("get zipf, all read before"), get(1, Law::Zipf(ALPHA), true, false)),
            (Some("zipf 50/50, 2 clients"), mix(2, 500)),
            (Some("zipf 95/5, 2 clients"), mix(2, 950)),
        ]);
    }
    steps.push((Some("remove half"), Step::Remove { clients: 1 }));
    Case { steps, ..case(sizes, "1 KiB", 1024) }
}

/// Gets of short and of long values, and of few that take less than every cache.
fn gets(sizes: Sizes) -> Vec<Case> {
    if sizes.is_quick {
        return Vec::new();
    }
    let few = Sizes { bytes: sizes.bytes / 8, ..sizes };
    let get = |warms| Step::Get { clients: 1, seconds: sizes.seconds, law: Law::Uniform, warms, is_cold: false };
    let of = |case: Case| Case {
        steps: vec![
            (None, Step::Load { clients: 1 }),
            (Some("get uniform after reopen"), get(false)),
            (Some("get uniform, all read before"), get(true)),
        ],
        ..case
    };
    vec![
        of(case(sizes, "values of 100 B", 100)),
        of(case(sizes, "values of 16 KiB", 16 << 10)),
        of(case(few, "few values of 100 B", 100)),
    ]
}

/// Puts whose promise is flushed or synced.
fn promises(sizes: Sizes) -> Vec<Case> {
    // Syncs are slow, so fewer keys do.
    let few = Sizes { bytes: sizes.bytes / 8, ..sizes };
    let seconds = sizes.seconds;
    let commit = |clients| Step::Commit { clients, seconds };
    let flushed = Case {
        promise: Promise::Flushed,
        steps: vec![
            (None, Step::Load { clients: 4 }),
            (Some("1 client"), commit(1)),
            (Some("8 clients"), commit(8)),
            (Some("32 clients"), commit(32)),
        ],
        ..case(few, "put 1 KiB flushed", 1024)
    };
    let synced = Case {
        promise: Promise::Synced,
        name: "put 1 KiB synced".into(),
        // The load is group commits too, so it has as few keys as clients could tell apart.
        keys: 2_000,
        steps: vec![
            (None, Step::Load { clients: 32 }),
            flushed.steps[1].clone(),
            flushed.steps[2].clone(),
            flushed.steps[3].clone(),
        ],
        ..case(few, "", 1024)
    };
    vec![flushed, synced]
}

/// Overwrites by popularity where the files may take 1.4 times the live bytes.
fn overwrites(sizes: Sizes) -> Case {
    let case = case(sizes, "overwrite 1 KiB at 1.4 × live", 1024);
    let step = Step::Overwrite { clients: 1, law: Law::Zipf(ALPHA), times_live: OVERWRITES };
    Case {
        capacity_bytes: case.live_bytes() * 14 / 10,
        steps: vec![(None, Step::Load { clients: 1 }), (Some(""), step)],
        ..case
    }
}

/// Gets while the store rests and while it compacts, where live bytes are 71 % of the most that the files may take.
fn besides(sizes: Sizes) -> Case {
    let case = case(sizes, "1 KiB at 71 % live", 1024);
    let seconds = sizes.seconds;
    let beside = |law, bytes_per_s| Step::Beside { seconds, law, bytes_per_s };
    let zipf = Law::Zipf(ALPHA);
    Case {
        capacity_bytes: case.live_bytes() * 14 / 10,
        steps: vec![
            (Some("load"), Step::Load { clients: 1 }),
            (Some("get uniform"), beside(Law::Uniform, None)),
            (Some("get zipf"), beside(zipf, None)),
            (
                Some("get uniform, compaction limited to 20 MiB/s"),
                beside(Law::Uniform, Some(COMPACTION_BYTES_PER_S)),
            ),
            (Some("get zipf, compaction limited to 20 MiB/s"), beside(zipf, Some(COMPACTION_BYTES_PER_S))),
        ],
        ..case
    }
}

/// Opens after a close and after a kill, and the memory that keys take, by two sizes.
fn opens(sizes: Sizes) -> Vec<Case> {
    let of = |name: &str, divisor: u64, load: Step| Case {
        steps: vec![(None, load), (Some(""), Step::Open)],
        ..case(Sizes { bytes: sizes.bytes / divisor, ..sizes }, name, 64)
    };
    vec![
        of("open of 64 B values after a close", 1, Step::Load { clients: 1 }),
        of("open of 64 B values after a close, quarter", 4, Step::Load { clients: 1 }),
        of("open of 64 B values after a kill", 1, Step::LoadAndDie { clients: 1 }),
    ]
}

fn replays(sizes: Sizes, shared: &Path) -> Vec<Case> {
    let mut all = Vec::new();
    let replay = |name: String, replayed| Case {
        steps: vec![(Some(""), Step::Replay(replayed))],
        ..case(sizes, name, 1024)
    };
    let table = shared.join("workloads/twitter-2020Mar.csv");
    if table.exists() {
        let requests = sizes.bytes / 512;
        all.extend(CLUSTERS.iter().map(|&number| {
            let table = table.clone();
            let replayed = Replayed::Cluster { table, number, live_bytes: sizes.bytes / 2, requests };
            replay(format!("cluster {number} with lifetimes"), replayed)
        }));
    } else {
        eprintln!("!!! SKIPPED: no workloads with lifetimes, since {} is not there", table.display());
    }
    let path = shared.join("traces/cloudphysics-a.csv");
    if path.exists() {
        let requests = if sizes.is_quick { 4_000 } else { u64::MAX >> 1 };
        let mut case = replay("CloudPhysics trace".into(), Replayed::Trace { path, requests });
        // The values of the whole trace take 1.4 GB, of which overwrites free a part.
        case.capacity_bytes = case.capacity_bytes.max(3 << 30);
        all.push(case);
    } else {
        eprintln!("!!! SKIPPED: no trace, since {} is not there", path.display());
    }
    all
}
