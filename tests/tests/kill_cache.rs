//! A child process with a cache under load is killed at random moments. After a reopen each write policy has kept what its row in the
//! table of `coldpress_std::cache` says.
//!
//! The child is this test binary again, with a directory in its environment. It prints each write before it begins and once it is
//! acknowledged; the pipe keeps both when it is killed. A killed process loses no kernel buffers, so flushed counts as synced here.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use coldpress_std::cache::{
    CachePutOptions, Placement, UnifiedCacheConfig, UnifiedCacheHandle, UnifiedCacheManager, WritePolicy,
};
use coldpress_std::pool::PoolConfig;
use coldpress_std::{ColdTierConfig, Durability, Ttl};
use coldpress_tests::sim::{Rng, mixed};

const DIR: &str = "COLDPRESS_KILL_CACHE_DIR";
const SEED: &str = "COLDPRESS_KILL_CACHE_SEED";
const KILLS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(120);
/// No kill begins after this time.
const TIME_MAX: Duration = Duration::from_secs(12);
const KEYS: u64 = 150;

type Cache = UnifiedCacheManager<u64, Vec<u8>>;

/// The rows of the table, each with a thread and keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Synced,
    Flushed,
    OnEvict,
    MemoryOnly,
}

const ROWS: [Row; 4] = [Row::Synced, Row::Flushed, Row::OnEvict, Row::MemoryOnly];

impl Row {
    const fn options(self) -> (WritePolicy, Option<Durability>) {
        match self {
            Self::Synced => (WritePolicy::Through, Some(Durability::Synced)),
            Self::Flushed => (WritePolicy::Through, Some(Durability::Flushed)),
            Self::OnEvict => (WritePolicy::OnEvict, None),
            Self::MemoryOnly => (WritePolicy::MemoryOnly, None),
        }
    }

    const fn key(self, number: u64) -> u64 {
        (self as u64) << 32 | number
    }
}

fn open(dir: &Path) -> Cache {
    let cold = ColdTierConfig::builder().base_dir(dir).capacity_bytes(8 << 20).segment_bytes(64 << 10);
    let cold = cold.op_timeout(PATIENCE).close_timeout(PATIENCE).build().unwrap();
    let pools = PoolConfig::builder().capacity_bytes(1 << 20).partitions(1).page_bytes(64 << 10);
    let pools = pools.value_bytes_max(16 << 10).objects_max(4_000).request_timeout(PATIENCE).build().unwrap();
    let builder = UnifiedCacheConfig::builder(cold).hot_bytes(64 << 10).pools(pools);
    let builder = builder.dirty_bytes_max(128 << 10).dirty_age_max(Duration::from_millis(50));
    Cache::new(builder.build().unwrap()).unwrap()
}

/// The value of a write: its number, then bytes that follow from it.
fn value_of(write: u64) -> Vec<u8> {
    let len = 8 + mixed(write) % 3_000;
    let rest = (0..len).map(|at| (mixed(write ^ (at / 16)) & 0xFF) as u8);
    write.to_le_bytes().into_iter().chain(rest).collect()
}

/// Prints a line of the journal at once: it is so short that the pipe takes it whole or not at all.
fn note(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("J {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
fn child_uses_a_cache_until_it_is_killed() {
    let (Some(dir), Ok(seed)) = (std::env::var_os(DIR), std::env::var(SEED)) else { return };
    let seed: u64 = seed.parse().unwrap();
    let cache = open(Path::new(&dir));
    note("open");
    std::thread::scope(|scope| {
        for row in ROWS {
            let handle = cache.handle();
            scope.spawn(move || work(handle, row, seed));
        }
    });
}

fn work(cache: UnifiedCacheHandle<u64, Vec<u8>>, row: Row, seed: u64) {
    let mut rng = Rng::new(mixed(seed ^ (row as u64) << 40));
    let (policy, durability) = row.options();
    let mut last = BTreeMap::new();
    // Later children have higher numbers.
    for write in (seed << 32 | (row as u64) << 28) + 1.. {
        let number = rng.below(KEYS);
        let key = row.key(number);
        if rng.permille(200) {
            note(&format!("remove {key} {write}"));
            cache.remove_with(&key, durability.unwrap_or(Durability::Buffered)).unwrap();
            last.insert(key, None);
        } else {
            note(&format!("put {key} {write}"));
            let placement = [Placement::Hot, Placement::Hot, Placement::Warm][rng.index(3)];
            let options = CachePutOptions { ttl: Ttl::Never, durability, policy: Some(policy), placement };
            cache.put_with(&key, &value_of(write), options).unwrap();
            last.insert(key, Some(write));
        }
        if durability.is_some() {
            note(&format!("done {key} {write}"));
        }
        if row == Row::OnEvict && rng.permille(30) {
            cache.flush_to([Durability::Flushed, Durability::Synced][rng.index(2)]).unwrap();
            note(&format!("flushed {write}"));
        }
        // While the process lives, the newest value is read, whichever tier has it.
        let key = row.key(rng.below(KEYS));
        if let Some(write) = last.get(&key) {
            let found = cache.get(&key).unwrap();
            let is_gone = row == Row::MemoryOnly && found.is_none();
            assert!(is_gone || found == write.map(value_of), "{row:?}: {key} in the life of the child");
        }
    }
}

/// Per key: the newest write that is sure to be there, then those begun after it. Each has its number, and whether it is a put.
type Model = BTreeMap<u64, Vec<(u64, bool)>>;

fn take_line(model: &mut Model, line: &str) {
    let words: Vec<_> = line.split(' ').collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    match words[0] {
        "put" | "remove" => {
            let writes = model.entry(number(1)).or_insert_with(|| vec![(0, false)]);
            writes.push((number(2), words[0] == "put"));
        }
        "done" => {
            let writes = model.get_mut(&number(1)).unwrap();
            writes.retain(|(write, _)| *write >= number(2));
        }
        "flushed" => {
            for (_, writes) in model.range_mut(Row::OnEvict.key(0)..Row::MemoryOnly.key(0)) {
                // A write of an earlier child may have been lost with it.
                let is_own = |write: u64| write <= number(1) && write >> 32 == number(1) >> 32;
                let sure = writes.iter().rposition(|(write, _)| is_own(*write));
                writes.drain(..sure.unwrap_or(0));
            }
        }
        _ => panic!("{line}"),
    }
}

/// Runs a child, kills it, and returns its journal.
fn run_and_kill(dir: &Path, seed: u64, wait: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_uses_a_cache_until_it_is_killed", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let (send, lines) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            // The test harness prints the name of the test before it, on the same line.
            if let Some(at) = line.find("J ") {
                send.send(line[at + 2..].to_owned()).unwrap();
            }
        }
    });
    let opened = lines.recv_timeout(PATIENCE);
    std::thread::sleep(wait);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    reader.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(opened.as_deref(), Ok("open"), "seed {seed}: {errors}");
    assert_eq!(ended, None, "seed {seed}: the child ended by itself: {errors}");
    lines.try_iter().collect()
}

fn check(cache: &Cache, model: &mut Model, seed: u64) {
    for (key, writes) in model.iter_mut() {
        let found = cache.get(key).unwrap();
        if *key >= Row::MemoryOnly.key(0) {
            assert_eq!(found, None, "seed {seed}: {key} was memory-only");
            continue;
        }
        let is = |(write, is_put): &(u64, bool)| found == is_put.then(|| value_of(*write));
        let Some(now) = writes.iter().rev().find(|write| is(write)).copied() else {
            let read = found.as_ref().and_then(|value| value.first_chunk()).map(|w| u64::from_le_bytes(*w));
            panic!("seed {seed}: {key:#x} reads write {read:?}; allowed {writes:?}");
        };
        *writes = vec![now];
    }
    let unknown = cache.keys().find(|key| !model.contains_key(key.as_ref().unwrap()));
    assert_eq!(unknown, None, "seed {seed}");
}

#[test]
fn killed_cache_reopened_keeps_what_its_policies_say() {
    if std::env::var_os(DIR).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut model, mut rng, begun) = (Model::new(), Rng::new(11), Instant::now());
    let (mut kills, mut lines) = (0, [0; 3]);
    while kills < KILLS && begun.elapsed() < TIME_MAX {
        kills += 1;
        let journal = run_and_kill(dir.path(), kills, Duration::from_millis(20 + rng.below(350)));
        for line in &journal {
            take_line(&mut model, line);
            for (count, word) in lines.iter_mut().zip(["done", "flushed", "remove"]) {
                *count += u32::from(line.starts_with(word));
            }
        }
        // Now and then the next child finds what the kill left.
        if rng.permille(700) {
            let cache = open(dir.path());
            check(&cache, &mut model, kills);
            cache.close().unwrap();
        }
    }
    let cache = open(dir.path());
    check(&cache, &mut model, kills);
    cache.close().unwrap();
    println!("{kills} kills, {lines:?} done, flushed, removed, {:?}", begun.elapsed());
    assert!(kills >= 5 && lines.iter().all(|count| *count > 20), "{kills} kills, {lines:?}");
}
