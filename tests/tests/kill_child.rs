//! A child process under load is killed at random moments; every write that was acknowledged as synced must be there after a
//! reopen.
//!
//! It is killed while it works and while it recovers, often several times in a row before anyone closes the tier in order.
//!
//! The child is this test binary again, with a directory in its environment. It prints each operation before it begins, and
//! each acknowledgement; the pipe keeps both when it is killed. A killed process loses no kernel buffers, so the double of
//! `sim` proves the order of syncs. This test proves the adapter: its queues, acknowledgements, directory and recovery.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use coldpress_std::pool::{AllocationManager, PoolConfig};
use coldpress_std::{ColdTier, ColdTierConfig, ColdTierHandle, CompactionTask, Durability, PutOptions};
use coldpress_tests::sim::{Rng, mixed};

const DIR: &str = "COLDPRESS_KILL_DIR";
const SEED: &str = "COLDPRESS_KILL_SEED";
const KILLS: u32 = 100;
/// At least so many kills must hit a child that had begun to open the tier and was not done.
const KILLS_IN_RECOVERY: u32 = 20;
/// At least so many kills must hit a tier that nobody had closed since the kill before.
const KILLS_IN_A_ROW: u32 = 40;
/// Far longer than the test takes on a slow and busy machine.
const TIME_MAX: Duration = Duration::from_secs(1_200);
const PATIENCE: Duration = Duration::from_secs(120);
const THREADS: u64 = 3;
const KEYS: u64 = 240;
/// Within this many milliseconds of its time, a value may be there or not: times are kept in whole seconds.
const EXPIRY_SLACK_MS: u64 = 2_500;

fn config() -> ColdTierConfig {
    let builder = ColdTierConfig::builder().capacity_bytes(2 << 20).segment_bytes(32 << 10);
    builder.op_timeout(PATIENCE).close_timeout(PATIENCE).build().unwrap()
}

fn open(dir: &Path) -> (ColdTier, AllocationManager) {
    let (manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    (ColdTier::open(dir, "kill", config(), pools).unwrap(), manager)
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn key_of(key: u64) -> Vec<u8> {
    format!("key {key}").into_bytes()
}

/// The value of a write: its number, then bytes that follow from it. One in sixteen takes several records, whatever the codec.
fn value_of(write: u64) -> Vec<u8> {
    let mut value = write.to_le_bytes().to_vec();
    if mixed(write ^ 0x10E6).is_multiple_of(16) {
        value.extend((0..2_000).flat_map(|at| mixed(write ^ at << 32).to_le_bytes()));
        return value;
    }
    let len = 8 + mixed(write) % 2_000;
    value.extend((0..len).map(|at| (mixed(write ^ (at / 16)) & 0xFF) as u8));
    value
}

/// Prints a line of the journal at once: a line is short enough that the pipe takes it whole or not at all.
fn note(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("J {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
fn child_works_until_it_is_killed() {
    let (Some(dir), Ok(seed)) = (std::env::var_os(DIR), std::env::var(SEED)) else { return };
    let seed: u64 = seed.parse().unwrap();
    note("opening");
    let begun = Instant::now();
    let (tier, _manager) = open(Path::new(&dir));
    note(&format!("open {}", begun.elapsed().as_micros()));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let handle = tier.handle();
            scope.spawn(move || work(handle, thread, seed));
        }
        let mut rng = Rng::new(seed ^ 0xC0);
        loop {
            std::thread::sleep(Duration::from_millis(5 + rng.below(30)));
            let task = CompactionTask::ALL[rng.index(4)];
            // A full queue gives the task back, which is enough for a load.
            let _ = tier.compaction().schedule_compaction(task);
        }
    });
}

fn work(handle: ColdTierHandle, thread: u64, seed: u64) {
    let mut rng = Rng::new(mixed(seed ^ thread << 32));
    let mut write = (seed << 32 | thread << 28) + 1;
    loop {
        write += 1;
        let key = rng.below(KEYS / THREADS) * THREADS + thread;
        let durability = [Durability::Synced, Durability::Buffered, Durability::Flushed][rng.index(3)];
        let ttl_s = [None, None, None, Some(1 + rng.below(3)), Some(3_600)][rng.index(5)];
        if rng.permille(200) {
            note(&format!("remove {key} {write}"));
            handle.remove_with(&key_of(key), durability).unwrap();
        } else {
            note(&format!("put {key} {write} {} {}", ttl_s.unwrap_or(0) * 1000, now_ms()));
            let options =
                PutOptions { ttl: ttl_s.map(Duration::from_secs).into(), durability: Some(durability) };
            handle.put_with(&key_of(key), &value_of(write), options).unwrap();
        }
        // The system keeps the writes of a killed process, so flushed counts as synced here.
        if durability != Durability::Buffered {
            note(&format!("done {key} {write} {}", now_ms()));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    /// 0 for a remove.
    write: u64,
    begun: u64,
    /// 0 where it does not expire.
    ttl_ms: u64,
    /// The earliest and the latest moment of the put.
    put_ms: (u64, u64),
}

/// Per key: the newest acknowledged write, then those begun after it.
type Model = BTreeMap<u64, Vec<Written>>;

fn take_line(model: &mut Model, line: &str) -> bool {
    let mut words = line.split(' ');
    let what = words.next();
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let nothing = Written { write: 0, begun: 0, ttl_ms: 0, put_ms: (0, 0) };
    match what {
        Some("put") => {
            let (Some(key), Some(write), Some(ttl_ms), Some(put_ms)) =
                (number(), number(), number(), number())
            else {
                return false;
            };
            let written = Written { write, begun: write, ttl_ms, put_ms: (put_ms, u64::MAX) };
            model.entry(key).or_insert_with(|| vec![nothing]).push(written);
        }
        Some("remove") => {
            let (Some(key), Some(begun)) = (number(), number()) else { return false };
            model.entry(key).or_insert_with(|| vec![nothing]).push(Written { begun, ..nothing });
        }
        Some("done") => {
            let (Some(key), Some(begun), Some(done_ms)) = (number(), number(), number()) else {
                return false;
            };
            let writes = model.entry(key).or_default();
            let at = writes.iter().position(|written| written.begun == begun).unwrap();
            writes[at].put_ms.1 = done_ms;
            writes.drain(..at);
        }
        _ => return false,
    }
    true
}

fn spawn(dir: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_works_until_it_is_killed", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The moment at which to kill a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// So long after it began to open the tier.
    Opening(Duration),
    /// So long after it had opened it.
    Working(Duration),
}

/// The output of a killed child.
#[derive(Debug, Default)]
struct Left {
    lines: Vec<String>,
    /// How long the tier took to open, where that was over.
    open_us: Option<u64>,
}

/// Runs a child and kills it.
fn run_and_kill(dir: &Path, seed: u64, moment: Moment) -> Left {
    let mut child = spawn(dir, seed);
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
    let next = || lines.recv_timeout(PATIENCE).unwrap_or_default();
    let begun = next();
    let opened = if let Moment::Working(_) = moment { Some(next()) } else { None };
    let (Moment::Opening(wait) | Moment::Working(wait)) = moment;
    std::thread::sleep(wait);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    reader.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(begun, "opening", "seed {seed}: the child did not begin: {errors}");
    assert_eq!(ended, None, "seed {seed}: the child ended by itself: {errors}");
    let mut left = Left { lines: opened.into_iter().chain(lines.try_iter()).collect(), open_us: None };
    if let Some(us) = left.lines.first().and_then(|line| line.strip_prefix("open ")) {
        left.open_us = us.parse().ok();
        assert!(left.open_us.is_some(), "seed {seed}: {us}");
        left.lines.remove(0);
    }
    assert!(
        left.open_us.is_some() || matches!(moment, Moment::Opening(_)),
        "seed {seed}: the child did not open: {errors}"
    );
    left
}

fn check(tier: &ColdTier, model: &mut Model, seed: u64) {
    for (key, writes) in model.iter_mut() {
        let before_ms = now_ms();
        let found = tier.get(&key_of(*key)).unwrap_or_else(|error| panic!("seed {seed}, key {key}: {error}"));
        let after_ms = now_ms();
        let is = |written: &Written| match &found {
            Some(value) => {
                let latest_ms = written.put_ms.1 + written.ttl_ms;
                let fresh = written.ttl_ms == 0 || before_ms < latest_ms + EXPIRY_SLACK_MS;
                written.write != 0 && fresh && *value == value_of(written.write)
            }
            None => {
                let earliest_ms = written.put_ms.0 + written.ttl_ms;
                written.write == 0 || (written.ttl_ms > 0 && after_ms >= earliest_ms)
            }
        };
        let Some(now) = writes.iter().rev().find(|written| is(written)).copied() else {
            let read = found.as_ref().and_then(|value| value.first_chunk()).map(|w| u64::from_le_bytes(*w));
            panic!("I-LOG-4/I-LOG-5, seed {seed}: key {key} reads write {read:?}; allowed {writes:?}");
        };
        *writes = vec![now];
    }
}

#[derive(Debug, Default)]
struct Kills {
    all: u32,
    in_recovery: u32,
    in_a_row: u32,
    lines: usize,
}

impl Kills {
    fn are_enough(&self) -> bool {
        self.all >= KILLS && self.in_recovery >= KILLS_IN_RECOVERY && self.in_a_row >= KILLS_IN_A_ROW
    }
}

/// Kills one child after the other, up to four, on a tier that nobody closes; the first always works for a while.
fn kill_in_a_row(dir: &Path, rng: &mut Rng, open_us: &mut u64, model: &mut Model, kills: &mut Kills) {
    for nth in 0..1 + rng.below(4) {
        let moment = match rng.below(2) {
            0 if nth > 0 => Moment::Opening(Duration::from_micros(rng.below(*open_us))),
            _ => Moment::Working(Duration::from_millis(rng.below(300))),
        };
        let seed = u64::from(kills.all) + 1;
        let left = run_and_kill(dir, seed, moment);
        *open_us = left.open_us.unwrap_or(*open_us).max(1);
        for line in &left.lines {
            assert!(take_line(model, line), "seed {seed}: {line}");
        }
        let killed_ms = now_ms();
        for written in model.values_mut().flatten() {
            written.put_ms.1 = written.put_ms.1.min(killed_ms);
        }
        kills.all += 1;
        kills.in_recovery += u32::from(left.open_us.is_none());
        kills.in_a_row += u32::from(nth > 0);
        kills.lines += left.lines.len();
    }
}

#[test]
fn killed_child_reopened_keeps_all_it_acknowledged() {
    if std::env::var_os(DIR).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    let started = Instant::now();
    let mut kills = Kills::default();
    let mut rng = Rng::new(7);
    let mut open_us = 10_000;
    while !kills.are_enough() {
        assert!(started.elapsed() < TIME_MAX, "only {kills:?} in time");
        kill_in_a_row(dir.path(), &mut rng, &mut open_us, &mut model, &mut kills);
        let (tier, _manager) = open(dir.path());
        check(&tier, &mut model, u64::from(kills.all));
        tier.close().unwrap();
    }
    println!("{kills:?}, {} keys, {:?}", model.len(), started.elapsed());
}
