//! Measures backups: speed beside a copy of the file, bytes for few changed keys, restores, and puts of clients meanwhile.

use core::error::Error;
use core::num::NonZeroU64;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::path::Path as FilePath;
use std::time::Instant;

use coldpress_std::archive::object_store::local::LocalFileSystem;
use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::{
    self, BackupOptions, ContinuousArchive, ContinuousOptions, ContinuousStats, RestorePoint,
};
use coldpress_std::pool::{AllocationManager, PoolConfig};
use coldpress_std::{CodecId, ColdTier, ColdTierConfig};

const KEYS: u64 = 400_000;
const VALUE_BYTES: usize = 1024;
const CAPACITY_BYTES: u64 = 1 << 30;
/// How long clients put beside backups.
const BESIDE: Duration = Duration::from_secs(5);
const CONTINUOUS: &str = "continuous";

fn value(key: u64, version: u64) -> Vec<u8> {
    let mut state = (key << 20 | version).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    core::iter::repeat_with(next).take(VALUE_BYTES / 8).flatten().collect()
}

fn mib_s(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / f64::from(1 << 20)
}

/// Puts for so long, at most one each 100 microseconds; returns p50, p99 and the longest, in microseconds.
fn clients(tier: &ColdTier, until: impl Fn() -> bool) -> Result<[u128; 3], Box<dyn Error>> {
    let mut times = Vec::new();
    for turn in 0u64.. {
        if until() {
            break;
        }
        let key = turn.wrapping_mul(7919) % KEYS;
        let begun = Instant::now();
        tier.put(&key.to_le_bytes(), &value(key, turn))?;
        times.push(begun.elapsed().as_nanos() / 1000);
        std::thread::sleep(Duration::from_micros(100));
    }
    times.sort_unstable();
    let at = |permille: usize| times.get(times.len() * permille / 1000).copied().unwrap_or(0);
    Ok([at(500), at(990), times.last().copied().unwrap_or(0)])
}

fn copy(from: &FilePath, to: &FilePath) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    let done = std::process::Command::new("cp").args(["-r", "--sparse=always"]).arg(from).arg(to).status()?;
    if !done.success() {
        return Err("cp failed".into());
    }
    Ok(begun.elapsed())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (dir, kept) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (store, prefix) = (LocalFileSystem::new_with_prefix(kept.path())?, Path::from("figures"));
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
    let config = ColdTierConfig::builder().capacity_bytes(CAPACITY_BYTES).codec(CodecId::Raw).build()?;
    let tier = ColdTier::open(dir.path(), "t", config, pools)?;
    for key in 0..KEYS {
        tier.put(&key.to_le_bytes(), &value(key, u64::MAX >> 30))?;
    }
    tier.flush()?;
    let runtime = runtime()?;
    let backup = || -> Result<_, Box<dyn Error>> {
        let begun = Instant::now();
        let made = runtime.block_on(archive::backup(&tier.handle(), &store, &prefix))?;
        Ok((made, begun.elapsed()))
    };

    let (full, took) = backup()?;
    println!("full backup: {} MiB, {:.0} MiB/s", full.uploaded_bytes >> 20, mib_s(full.uploaded_bytes, took));
    let took = copy(&dir.path().join("t"), &kept.path().join("copy"))?;
    println!("cp of the directory: {:.0} MiB/s", mib_s(full.uploaded_bytes, took));

    for key in (0..KEYS).step_by(100) {
        tier.put(&key.to_le_bytes(), &value(key, 1))?;
    }
    let (few, took) = backup()?;
    println!(
        "1 % of the keys changed ({} KiB of values): {} KiB uploaded, manifest {} KiB, {:.2} s",
        (KEYS / 100 * VALUE_BYTES as u64) >> 10,
        few.uploaded_bytes >> 10,
        few.manifest_bytes >> 10,
        took.as_secs_f64()
    );

    let begun = Instant::now();
    let restored =
        runtime.block_on(archive::restore(&store, &prefix, &dir.path().join("r"), RestorePoint::Newest))?;
    let per_gib = begun.elapsed().as_secs_f64() * f64::from(1 << 30) / restored.bytes as f64;
    println!("restore: {per_gib:.2} s per GiB");

    let alone = Instant::now();
    let idle = clients(&tier, || alone.elapsed() > BESIDE)?;
    println!("puts without a backup: p50, p99, longest: {idle:?} µs");
    for limit in [None, NonZeroU64::new(64 << 20), NonZeroU64::new(16 << 20)] {
        let (beside, backups) = beside_full_backups(&tier, &store, limit)?;
        let limit =
            limit.map_or_else(|| "no limit".into(), |limit| format!("{} MiB/s at most", limit.get() >> 20));
        println!("puts beside {backups} full backups one after the other, {limit}: {beside:?} µs");
    }
    let (beside, stats) = beside_continuous(&tier, &store)?;
    println!(
        "puts beside {} continuous backups, one each second, of which each read {} MiB: {beside:?} µs",
        stats.backups,
        (stats.read_bytes / stats.backups.max(1)) >> 20
    );
    tier.close()?;
    Ok(())
}

/// Puts while full backups follow each other, each under a prefix of its own, so that everything is uploaded. Returns how many
/// there were.
fn beside_full_backups(
    tier: &ColdTier,
    store: &LocalFileSystem,
    upload_bytes_per_s: Option<NonZeroU64>,
) -> Result<([u128; 3], u32), Box<dyn Error>> {
    let is_over = AtomicBool::new(false);
    let (handle, is_over) = (tier.handle(), &is_over);
    std::thread::scope(|scope| {
        let backups = scope.spawn(move || {
            let _over = Over(is_over);
            let runtime = runtime()?;
            let begun = Instant::now();
            let mut backups = 0;
            while begun.elapsed() < BESIDE {
                let limit = upload_bytes_per_s.map_or(0, NonZeroU64::get);
                let prefix = Path::from(format!("beside-{limit}-{backups}"));
                let mut options = BackupOptions::default();
                options.upload_bytes_per_s = upload_bytes_per_s;
                runtime
                    .block_on(archive::backup_with(&handle, store, &prefix, options))
                    .map_err(|error| error.to_string())?;
                backups += 1;
            }
            Ok::<_, String>(backups)
        });
        let times = clients(tier, || is_over.load(Relaxed))?;
        Ok((times, backups.join().map_err(|_| "the thread of the backups panicked")??))
    })
}

/// Puts while a continuous archive backs up each second. Its first backup, which reads everything, comes before.
fn beside_continuous(
    tier: &ColdTier,
    store: &LocalFileSystem,
) -> Result<([u128; 3], ContinuousStats), Box<dyn Error>> {
    let archive = &ContinuousArchive::new();
    let handle = tier.handle();
    std::thread::scope(|scope| {
        let run = scope.spawn(move || {
            let mut options = ContinuousOptions::default();
            options.every = Duration::from_secs(1);
            let prefix = Path::from(CONTINUOUS);
            let run = archive.run(&handle, store, &prefix, options);
            runtime()?.block_on(run).map_err(|error| error.to_string())
        });
        while archive.stats().backups == 0 && !run.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let first = archive.stats();
        let begun = Instant::now();
        let times = clients(tier, || begun.elapsed() > BESIDE || run.is_finished());
        let mut stats = archive.stats();
        archive.stop();
        run.join().map_err(|_| "the thread of the backups panicked")??;
        stats.backups -= first.backups;
        stats.read_bytes -= first.read_bytes;
        Ok((times?, stats))
    })
}

/// Tells that the backups are over, also where one fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())
}
