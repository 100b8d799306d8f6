//! An operator changes the files of a service's tier, open or closed, at random. Every answer is right or a typed error, and an
//! acknowledged write is never silently gone.
//!
//! The operator deletes `LOCK` and `tier.meta`, deletes, moves, replaces, swaps and cuts partitions, and removes or moves the
//! directory; then puts moved files back, or gives up and begins anew. Meanwhile others try to open the same tier.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use coldpress_core::format::{Marker, Sequence};
use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{
    CloseError, CodecId, ColdTier, ColdTierConfig, CompactionTask, Durability, OpenError, PutError,
    PutOptions, RemoveError, TierError,
};
use coldpress_tests::sim::{Rng, STRIDE, mixed};

const HISTORIES: u64 = 60;
const STEPS: u64 = 60;
const KEYS: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(120);
const DURABILITIES: [Durability; 3] = [Durability::Buffered, Durability::Flushed, Durability::Synced];

/// The contents that a key may have: the newest write that was acknowledged as durable, and those after it.
type Allowed = Vec<Option<Vec<u8>>>;

/// Counts of the events, so that a test that does nothing is noticed.
#[derive(Debug, Default)]
struct Tally {
    changes: u32,
    lost: u32,
    refused_opens: u32,
    kept_out: u32,
    reopened: u32,
    begun_anew: u32,
    /// Puts refused for a limit that was lowered.
    too_long: u32,
}

struct World<'a> {
    seed: u64,
    rng: Rng,
    base: PathBuf,
    config: ColdTierConfig,
    pools: &'a PoolCoordinator,
    tier: Option<ColdTier>,
    /// The files that the open tier has.
    opened: Vec<u64>,
    /// The file that holds the data of each partition; `None` once it is destroyed.
    genuine: Vec<Option<u64>>,
    /// Whether the operator did anything since the tier was opened.
    is_touched: bool,
    /// Whether a file of the open tier was cut: parts of it may be unreadable.
    is_cut: bool,
    has_meta: bool,
    /// Whether the whole directory is gone.
    is_wiped: bool,
    model: BTreeMap<u64, Allowed>,
    writes: u64,
    tally: &'a mut Tally,
}

fn inode(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|metadata| metadata.ino())
}

/// Whether a file is as it was made: the marker of its first segment, erased never, and zeroes.
fn is_unused(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap();
    let (marker, rest) = bytes.split_at(bytes.len().min(16));
    let made = Marker { erases: 0, sequence_issued: Sequence::NONE }.encode();
    marker == made && rest.iter().all(|byte| *byte == 0)
}

fn value_of(write: u64) -> Vec<u8> {
    (0..200 + mixed(write) % 1_500).map(|at| (mixed(write << 12 | at) & 0xFF) as u8).collect()
}

/// The operator changes the configuration, too: limits and codec are for new writes.
fn configured(rng: &mut Rng, partitions: u16) -> ColdTierConfig {
    let builder = ColdTierConfig::builder().partitions(partitions).segment_bytes(32 << 10);
    let builder = builder.capacity_bytes((640 << 10) * u64::from(partitions));
    let builder =
        builder.keep_hot_values(rng.permille(500)).value_bytes_max([400, 1_700, 6_000][rng.index(3)]);
    let builder = builder.codec([CodecId::Raw, CodecId::Lz4, CodecId::Zstd][rng.index(3)]);
    builder.op_timeout(PATIENCE).close_timeout(PATIENCE).build().unwrap()
}

impl<'a> World<'a> {
    fn new(seed: u64, base: &Path, pools: &'a PoolCoordinator, tally: &'a mut Tally) -> Self {
        let mut rng = Rng::new(mixed(seed));
        let partitions = 1 + u16::try_from(rng.below(3)).unwrap();
        let config = configured(&mut rng, partitions);
        let genuine = vec![None; usize::from(partitions)];
        Self {
            seed,
            rng,
            base: base.canonicalize().unwrap(),
            config,
            pools,
            tier: None,
            opened: Vec::new(),
            genuine,
            is_touched: false,
            is_cut: false,
            has_meta: false,
            is_wiped: true,
            model: BTreeMap::new(),
            writes: 0,
            tally,
        }
    }

    fn dir(&self) -> PathBuf {
        self.base.join("tier")
    }

    fn part(&self, partition: usize) -> PathBuf {
        self.dir().join(format!("part-{partition:03}.cold"))
    }

    /// The place of moved files.
    fn aside(&self, name: usize) -> PathBuf {
        self.base.join(format!("aside-{name}"))
    }

    fn bytes(&self) -> u64 {
        self.config.capacity_bytes() / self.genuine.len() as u64
    }

    fn is_whole(&self, partition: usize) -> bool {
        self.part(partition).metadata().is_ok_and(|metadata| metadata.len() >= self.bytes())
    }

    /// How many of its partitions the open tier has that lie under their names.
    fn in_place(&self) -> usize {
        let is_same = |(partition, file): &(usize, &u64)| {
            inode(&self.part(*partition)) == Some(**file) && self.is_whole(*partition)
        };
        self.opened.iter().enumerate().filter(is_same).count()
    }

    /// Whether everything lies where it belongs.
    fn is_openable(&self) -> bool {
        let is_there = |(partition, file): (usize, &Option<u64>)| {
            file.is_some() && inode(&self.part(partition)) == *file && self.is_whole(partition)
        };
        self.genuine.iter().enumerate().all(is_there)
    }

    fn try_open(&self) -> Result<ColdTier, OpenError> {
        ColdTier::open(&self.base, "tier", self.config.clone(), self.pools.clone())
    }

    fn open(&mut self) {
        let is_new = self.is_wiped;
        let partitions = u16::try_from(self.genuine.len()).unwrap();
        self.config = configured(&mut self.rng, partitions);
        let tier = match self.try_open() {
            Ok(tier) => tier,
            Err(error) => {
                assert!(!is_new && !self.is_openable(), "seed {}: nothing is wrong: {error}", self.seed);
                self.tally.refused_opens += 1;
                return self.repair();
            }
        };
        if is_new {
            self.model.clear();
        }
        self.opened =
            (0..self.genuine.len()).map(|partition| inode(&self.part(partition)).unwrap()).collect();
        self.genuine = self.opened.iter().copied().map(Some).collect();
        (self.is_touched, self.is_cut, self.has_meta, self.is_wiped) = (false, false, true, false);
        self.tier = Some(tier);
        self.tally.reopened += 1;
        self.check_all();
        self.take_over();
    }

    /// Takes over the values that an opened tier reads: they are the outcome of the writes that were not acknowledged.
    fn take_over(&mut self) {
        let Some(tier) = &self.tier else { return };
        for (key, allowed) in &mut self.model {
            *allowed = vec![tier.get(&key.to_le_bytes()).unwrap()];
        }
    }

    /// Repairs the files after a refused open as far as possible, or else begins anew.
    fn repair(&mut self) {
        let moved: Vec<PathBuf> =
            (0..self.genuine.len()).flat_map(|p| [self.part(p), self.aside(p)]).collect();
        for (partition, file) in self.genuine.clone().into_iter().enumerate() {
            let (wanted, free) = (self.part(partition), self.base.join("free"));
            let found = moved.iter().find(|path| file.is_some() && inode(path) == file);
            if let Some(found) = found.filter(|found| **found != wanted) {
                let has_other = wanted.exists();
                fs::rename(found, &free).unwrap();
                if has_other {
                    fs::rename(&wanted, found).unwrap();
                }
                fs::rename(&free, &wanted).unwrap();
            }
        }
        if !self.is_openable() {
            let refused = self.try_open();
            assert!(refused.is_err(), "seed {}: a file that is destroyed is not missed", self.seed);
            self.wipe();
            self.tally.begun_anew += 1;
        }
        self.open();
    }

    fn wipe(&mut self) {
        fs::remove_dir_all(self.dir()).unwrap();
        self.genuine.fill(None);
        (self.is_wiped, self.has_meta) = (true, false);
    }

    fn close(&mut self) {
        let Some(tier) = self.tier.take() else { return };
        let is_in_place = self.in_place() == self.opened.len();
        match tier.close() {
            Ok(()) => {
                assert!(is_in_place, "seed {}: closed without its files", self.seed);
                self.settle();
            }
            Err(CloseError::FileLost) => assert!(self.is_touched, "seed {}", self.seed),
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    /// Notes that all writes are durable.
    fn settle(&mut self) {
        for allowed in self.model.values_mut() {
            allowed.drain(..allowed.len() - 1);
        }
    }

    /// Checks an answer against the files: so many partitions must be in their places for an acknowledgement. Returns whether
    /// it was one.
    fn is_acknowledged(
        &mut self,
        least: usize,
        durability: Durability,
        answer: Result<(), TierError>,
    ) -> bool {
        match answer {
            Ok(()) if durability == Durability::Buffered => false,
            Ok(()) => {
                assert!(self.in_place() >= least, "seed {}: acknowledged without its files", self.seed);
                true
            }
            Err(TierError::FileLost) => {
                assert!(self.is_touched, "seed {}: nobody touched its files", self.seed);
                self.tally.lost += 1;
                false
            }
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn write(&mut self) {
        let Some(tier) = &self.tier else { return };
        let (key, durability) = (self.rng.below(KEYS), DURABILITIES[self.rng.index(3)]);
        self.writes += 1;
        let name = key.to_le_bytes();
        let (value, answer) = if self.rng.permille(200) {
            let answer = match tier.remove_with(&name, durability) {
                Ok(_) => Ok(()),
                Err(RemoveError::Tier(error)) => Err(error),
                Err(error) => panic!("seed {}: {error}", self.seed),
            };
            (None, answer)
        } else {
            let value = value_of(self.writes);
            let options = PutOptions { durability: Some(durability), ..PutOptions::default() };
            let answer = match tier.put_with(&name, &value, options) {
                Ok(()) => Ok(()),
                Err(PutError::Tier(error)) => Err(error),
                Err(PutError::ValueTooLong { bytes, max }) => {
                    assert!(
                        bytes == value.len() && max == self.config.value_bytes_max() && bytes > max as usize
                    );
                    self.tally.too_long += 1;
                    return;
                }
                Err(error) => panic!("seed {}: {error}", self.seed),
            };
            (Some(value), answer)
        };
        // A put concerns one partition, whichever that is; a remove none where nothing of the key was ever written.
        let is_acknowledged = self.is_acknowledged(usize::from(value.is_some()), durability, answer);
        let is_synced = is_acknowledged && durability == Durability::Synced;
        let allowed = self.model.entry(key).or_insert_with(|| vec![None]);
        if is_synced {
            allowed.clear();
        }
        allowed.push(value);
    }

    fn flush(&mut self) {
        let Some(tier) = &self.tier else { return };
        let durability = DURABILITIES[1 + self.rng.index(2)];
        let answer = tier.flush_to(durability);
        // The process lives on, so writes that the system has count as synced.
        if self.is_acknowledged(self.opened.len(), durability, answer) {
            self.settle();
        }
    }

    fn check(&self, tier: &ColdTier, key: u64) {
        let nothing = vec![None];
        let allowed = self.model.get(&key).unwrap_or(&nothing);
        match tier.get(&key.to_le_bytes()) {
            Ok(found) => assert!(
                allowed.contains(&found),
                "seed {}: key {key} reads {:?}, of {} allowed",
                self.seed,
                found.map(|value| value.len()),
                allowed.len()
            ),
            Err(error) => assert!(self.is_cut, "seed {}: key {key}: {error}", self.seed),
        }
    }

    fn check_all(&self) {
        let Some(tier) = &self.tier else { return };
        (0..KEYS).for_each(|key| self.check(tier, key));
    }

    /// Another process, or thread, that wants the same tier.
    fn intrude(&mut self) {
        if self.tier.is_none() || !self.dir().exists() {
            return;
        }
        let refused = self.try_open();
        assert!(matches!(refused, Err(OpenError::AlreadyOpen(_))), "seed {}: {refused:?}", self.seed);
        self.tally.kept_out += 1;
    }

    /// One change of the operator's.
    fn operate(&mut self) {
        if self.is_wiped {
            return;
        }
        let parts = self.genuine.len();
        let (one, other) = (self.rng.index(parts), self.rng.index(parts));
        let path = self.part(one);
        self.is_touched = true;
        self.tally.changes += 1;
        match self.rng.below(12) {
            0 => drop(fs::remove_file(self.dir().join("LOCK"))),
            // Without that file nothing shows that all partitions are gone, or the last one.
            1 if (0..parts).all(|partition| self.part(partition).exists()) => {
                drop(fs::remove_file(self.dir().join("tier.meta")));
                self.has_meta = false;
            }
            2 if self.has_meta && path.exists() => {
                self.destroy(inode(&path));
                fs::remove_file(path).unwrap();
            }
            3 | 4 if self.has_meta && path.exists() && !self.aside(one).exists() => {
                fs::rename(path, self.aside(one)).unwrap();
            }
            5 | 6 if !path.exists() && self.aside(one).exists() => fs::rename(self.aside(one), path).unwrap(),
            7 if path.exists() => self.replace(&path),
            8 if one != other && path.exists() && self.part(other).exists() => {
                let free = self.base.join("free");
                fs::rename(&path, &free).unwrap();
                fs::rename(self.part(other), &path).unwrap();
                fs::rename(free, self.part(other)).unwrap();
            }
            // A file that was never written to can be cut without a loss: it is made anew with the right length.
            9 if path.exists() && !is_unused(&path) => {
                self.destroy(inode(&path));
                self.is_cut = true;
                let bytes = self.rng.below(self.bytes());
                fs::File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
            }
            10 => self.wipe(),
            11 => self.move_directory(),
            _ => {}
        }
    }

    fn destroy(&mut self, file: Option<u64>) {
        self.genuine.iter_mut().filter(|genuine| **genuine == file).for_each(|genuine| *genuine = None);
    }

    /// Replaces the file by a copy, as an editor or `rsync` does.
    fn replace(&mut self, path: &Path) {
        // A copy of a file that is being written holds neither the old state nor the new one.
        self.flush();
        let (before, copy) = (inode(path), self.base.join("copy"));
        fs::copy(path, &copy).unwrap();
        fs::rename(&copy, path).unwrap();
        let after = inode(path);
        self.genuine.iter_mut().filter(|genuine| **genuine == before).for_each(|genuine| *genuine = after);
    }

    /// Moves the directory away and back; meanwhile another client may make a tier of its name.
    fn move_directory(&mut self) {
        let away = self.base.join("away");
        fs::rename(self.dir(), &away).unwrap();
        self.flush();
        if self.rng.permille(500) {
            let other = self.try_open().unwrap();
            assert!(other.is_empty().unwrap(), "seed {}: another tier has its keys", self.seed);
            other.put(b"other", b"value").unwrap();
            other.close().unwrap();
            self.check_all();
            fs::remove_dir_all(self.dir()).unwrap();
        }
        fs::rename(away, self.dir()).unwrap();
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..=49 => self.write(),
            50..=59 => self.flush(),
            60..=69 => self.check_all(),
            70..=75 => self.intrude(),
            76..=79 => {
                // Whether it comes to its end depends on the files.
                let run =
                    |tier: &ColdTier| tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE);
                let _ = self.tier.as_ref().map(run);
            }
            80..=89 => self.operate(),
            _ => {
                self.close();
                // The operator also changes files while the tier is closed.
                for _ in 0..self.rng.below(3) {
                    self.operate();
                }
                self.open();
            }
        }
    }
}

#[test]
fn files_changed_by_an_operator_are_missed_or_right() {
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    let mut tally = Tally::default();
    for seed in (0..HISTORIES).step_by(STRIDE) {
        let base = tempfile::tempdir().unwrap();
        let mut world = World::new(seed, base.path(), &pools, &mut tally);
        world.open();
        (0..STEPS).for_each(|_| world.step());
        world.close();
    }
    println!("{tally:?}");
    let least = u32::try_from(HISTORIES / STRIDE as u64).unwrap();
    let met = [tally.lost, tally.refused_opens, tally.kept_out, tally.begun_anew, tally.too_long];
    let happened = [tally.changes, tally.reopened].into_iter().chain(met);
    assert!(happened.into_iter().all(|count| count >= least / 4), "{tally:?}");
}
