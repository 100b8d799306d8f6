//! The golden images of a service: made, opened and checked.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use coldpress_std::clock::ManualClock;
use coldpress_std::image::Image;
use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{
    CodecId, ColdTier, ColdTierConfig, ColdTierConfigBuilder, CompactionTask, Durability, PutOptions, Ttl,
};

use crate::golden_census::{CODECS, Census, FOOTERS, LONG, RECORDS, SEGMENTS};
use crate::golden_stored::{Contents, check_images, state_ends, text};

/// The name of the tier.
const NAME: &str = "golden";
/// When the first record is put, in seconds.
const START_S: u32 = 1_700_000_000;
/// Longer than any step takes on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Rounds of overwriting after which every kind is there.
const ROUNDS_MAX: u32 = 400;

/// The files of a tier by their names.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The shape of a service's tier, and the values that are put into it.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) image: &'static str,
    partitions: u16,
    segment_bytes: u32,
    segments: u32,
    /// The longest key.
    key_bytes: usize,
    /// The length of a value that takes one record.
    value_bytes: usize,
    /// The length of a value that takes pieces.
    long_bytes: usize,
}

/// Two partitions of small segments: origins take 6 bytes.
pub(crate) const SMALL: Shape = Shape {
    image: "service",
    partitions: 2,
    segment_bytes: 4096,
    segments: 24,
    key_bytes: 100,
    value_bytes: 300,
    long_bytes: 5_000,
};

/// One partition of large segments: origins take 8 bytes, and keys may be longer than 255 bytes.
pub(crate) const LARGE: Shape = Shape {
    image: "service-large",
    partitions: 1,
    segment_bytes: 128 << 10,
    segments: 14,
    key_bytes: 300,
    value_bytes: 2_000,
    long_bytes: 40_000,
};

/// The options of all puts: durable at once.
const fn synced(ttl: Ttl) -> PutOptions {
    PutOptions { ttl, durability: Some(Durability::Synced) }
}

impl Shape {
    /// The kinds that an image of this shape holds.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let long = if self.key_bytes > 255 { &LONG[..] } else { &[] };
        [&RECORDS[..], &CODECS, &SEGMENTS, &FOOTERS, long].concat()
    }

    pub(crate) fn config(&self, clock: &'static ManualClock) -> ColdTierConfigBuilder {
        let partition_bytes = u64::from(self.segment_bytes) * u64::from(self.segments);
        ColdTierConfig::builder()
            .capacity_bytes(u64::from(self.partitions) * partition_bytes)
            .segment_bytes(self.segment_bytes)
            .partitions(self.partitions)
            .clock(clock)
            .op_timeout(PATIENCE)
            .close_timeout(PATIENCE)
    }

    pub(crate) fn segments(&self) -> usize {
        usize::from(self.partitions) * self.segments as usize
    }

    /// Puts values of every form with the codec of the tier.
    fn fill(&self, tier: &ColdTier, codec: CodecId, contents: &mut Contents) {
        let put = |contents: &mut Contents, key: &[u8], value: &[u8], left_s: Option<u32>| {
            let ttl = left_s.map(|left_s| Duration::from_secs(left_s.into()));
            tier.put_with(key, value, synced(ttl.into())).unwrap();
            contents.put(key, value, left_s);
        };
        // Values that are overwritten later lie among those that stay, so that compaction has something to move.
        let overwritten = |n: u32| {
            let key = format!("often {n}");
            tier.put_with(key.as_bytes(), &text(n, 2 * self.value_bytes), synced(Ttl::Never)).unwrap();
        };
        let (name, seed) = (codec.name(), u32::from(codec.tag()));
        for n in 0..8_u32 {
            overwritten(n);
            let left_s = match n % 4 {
                1 => Some(1_000_000 + 1_000 * n),
                2 => Some(60 + n),
                _ => None,
            };
            let value = text(seed << 8 | n, self.value_bytes + 10 * n as usize);
            put(contents, format!("{name} {n}").as_bytes(), &value, left_s);
        }
        put(contents, format!("{name} 3").as_bytes(), b"newer", None);
        put(contents, format!("{name} empty").as_bytes(), b"", None);
        put(contents, &vec![b'a' + codec.tag(); self.key_bytes], &text(seed, self.value_bytes / 2), None);
        // A key of a user may begin like that of a piece.
        put(contents, &[b"\xFFcp\0\0\0", name.as_bytes()].concat(), b"no piece", None);
        put(contents, format!("{name} long").as_bytes(), &text(seed, self.long_bytes), None);
        (8..12).for_each(overwritten);
        let left_s = Some(2_000_000 + seed);
        put(contents, format!("{name} long, ends").as_bytes(), &text(seed + 9, self.long_bytes / 2), left_s);
        let removed = format!("{name} 7");
        assert!(tier.remove_with(removed.as_bytes(), Durability::Synced).unwrap());
        contents.remove(removed.as_bytes());
    }

    /// Overwrites some keys and removes one, so that segments are emptied, erased and written again.
    fn churn(&self, tier: &ColdTier, round: u32, contents: &mut Contents) {
        for n in 0..20 {
            let (key, value) = (format!("often {n}"), vec![round as u8; self.value_bytes]);
            tier.put(key.as_bytes(), &value).unwrap();
            contents.put(key.as_bytes(), &value, None);
        }
        let key = format!("removed {}", round % 4);
        tier.put(key.as_bytes(), b"for a moment").unwrap();
        tier.flush().unwrap();
        assert!(tier.remove(key.as_bytes()).unwrap());
        contents.remove(key.as_bytes());
        tier.flush().unwrap();
    }

    /// Makes an image as a service leaves it that is killed while nothing is under way.
    pub(crate) fn make(&self) -> (Files, Contents) {
        let (_manager, pools) = pools();
        let base = tempfile::tempdir().unwrap();
        let clock = clock_at(START_S);
        let mut contents = Contents { now_s: START_S, ..Contents::default() };
        let open = |codec| {
            let config = self.config(clock).codec(codec).build().unwrap();
            ColdTier::open(base.path(), NAME, config, pools.clone()).unwrap()
        };
        for codec in [CodecId::Zstd, CodecId::Heatshrink, CodecId::Lz4] {
            let tier = open(codec);
            self.fill(&tier, codec, &mut contents);
            tier.close().unwrap();
            clock.advance_s(100);
            contents.pass(100);
        }
        let mut tier = open(CodecId::Raw);
        self.fill(&tier, CodecId::Raw, &mut contents);
        let mut lacks = Vec::new();
        for round in 0..ROUNDS_MAX {
            clock.advance_s(100);
            contents.pass(100);
            self.churn(&tier, round, &mut contents);
            tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
            if round % 8 != 7 {
                continue;
            }
            // A close seals open segments, those with the machine's own records included.
            tier.close().unwrap();
            tier = open(CodecId::Raw);
            self.churn(&tier, round, &mut contents);
            let files = at_rest(&base.path().join(NAME));
            lacks = census(&files).lacks(&self.kinds());
            if lacks.is_empty() {
                tier.close().unwrap();
                state_ends(&images(&files), &mut contents);
                return (files, contents);
            }
        }
        panic!("no {lacks:?} after {ROUNDS_MAX} rounds: {:?}", census(&at_rest(&base.path().join(NAME))));
    }
}

/// A clock that is set by hand, for a tier.
pub(crate) fn clock_at(wall_s: u32) -> &'static ManualClock {
    Box::leak(Box::new(ManualClock::new(wall_s)))
}

pub(crate) fn pools() -> (AllocationManager, PoolCoordinator) {
    AllocationManager::new(&PoolConfig::builder().capacity_bytes(4 << 20).build().unwrap()).unwrap()
}

/// The files of a tier once its workers have nothing to do. By `LOCK` an open would know that they are a copy of an open tier.
fn at_rest(folder: &Path) -> Files {
    let read = || -> Files {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let entries = entries.filter(|entry| entry.file_name() != "LOCK");
        let file =
            |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        entries.map(file).collect()
    };
    let begun = std::time::Instant::now();
    let (mut before, mut unchanged) = (read(), 0);
    // A worker that is slow to run may pause between two writes.
    while unchanged < 3 {
        assert!(begun.elapsed() < PATIENCE, "it does not come to rest");
        std::thread::sleep(Duration::from_millis(100));
        let files = read();
        unchanged = if files == before { unchanged + 1 } else { 0 };
        before = files;
    }
    before
}

/// The partitions among the files of a tier.
fn partitions(files: &Files) -> impl Iterator<Item = &Vec<u8>> {
    files.iter().filter(|(name, _)| name.ends_with(".cold")).map(|(_, bytes)| bytes)
}

pub(crate) fn images(files: &Files) -> Vec<Image> {
    partitions(files).map(|bytes| Image::read_from(bytes.clone()).unwrap()).collect()
}

pub(crate) fn census(files: &Files) -> Census {
    let mut census = Census::default();
    partitions(files).for_each(|bytes| census.add(bytes));
    census
}

/// Writes the files of a tier to a new directory, where it can be opened.
pub(crate) fn unpack(files: &Files) -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join(NAME)).unwrap();
    for (name, bytes) in files {
        fs::write(base.path().join(NAME).join(name), bytes).unwrap();
    }
    base
}

pub(crate) fn open(base: &Path, config: ColdTierConfig, pools: &PoolCoordinator) -> ColdTier {
    ColdTier::open(base, NAME, config, pools.clone()).unwrap()
}

/// Asserts that a tier holds exactly the listed contents.
pub(crate) fn check(tier: &ColdTier, contents: &Contents) {
    let mut keys: Vec<_> = tier.keys().map(Result::unwrap).collect();
    keys.sort();
    assert_eq!(keys, contents.keys());
    for (key, live) in &contents.live {
        live.check(key, &tier.get(key).unwrap().unwrap());
    }
    for key in &contents.gone {
        assert_eq!((tier.get(key).unwrap(), tier.contains(key).unwrap()), (None, false));
    }
}

/// Asserts that files hold exactly the listed contents, to a reader of images, a reader and a writer of the tier.
pub(crate) fn check_files(shape: &Shape, files: &Files, contents: &Contents) {
    let images = images(files);
    assert_eq!(images.len(), usize::from(shape.partitions));
    check_images(&images, contents);
    let (_manager, pools) = pools();
    let base = unpack(files);
    let clock = clock_at(contents.now_s);
    let writer = open(base.path(), shape.config(clock).build().unwrap(), &pools);
    check(&writer, contents);
    assert_eq!(writer.segments().unwrap().len(), shape.segments());
    writer.close().unwrap();
    let reading = || shape.config(clock).read_only(true).build().unwrap();
    let reader = open(base.path(), reading(), &pools);
    check(&reader, contents);
    reader.close().unwrap();
    // Checks the image as it is, too, and not only after an orderly close.
    let base = unpack(files);
    let reader = open(base.path(), reading(), &pools);
    check(&reader, contents);
    reader.close().unwrap();
}
