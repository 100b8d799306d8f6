//! The storage of golden images: packed files, and a text that lists their contents.
//!
//! ```text
//! now 1700001000                                the wall clock at which the list holds, in seconds
//! live 6b6579 5 a430d84680aabd0b 900            key, bytes of the value, its FNV-1a hash, seconds left or "-"
//! gone 6f6c64                                   a key that has no value
//! ```

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use coldpress_core::format::{PIECE_EXPIRES_S, piece_parts};
use coldpress_std::image::{Identity, Image, Kind};

/// The name of the list beside the files of an image.
const LIST_NAME: &str = "contents.txt";
/// The most bytes that all golden images may take together.
pub(crate) const STORED_BYTES_MAX: u64 = 256 << 10;

/// A value that an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) bytes: usize,
    pub(crate) hash: u64,
    pub(crate) left_s: Option<u32>,
}

impl Live {
    pub(crate) fn new(value: &[u8], left_s: Option<u32>) -> Self {
        Self { bytes: value.len(), hash: fnv(value), left_s }
    }

    /// Asserts that a value is the listed one.
    pub(crate) fn check(&self, key: &[u8], value: &[u8]) {
        let found = (value.len(), fnv(value));
        assert_eq!(found, (self.bytes, self.hash), "the value of {}", hex(key));
    }
}

/// The contents of an image, no more and no less.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    pub(crate) now_s: u32,
    pub(crate) live: BTreeMap<Vec<u8>, Live>,
    pub(crate) gone: BTreeSet<Vec<u8>>,
}

impl Contents {
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], left_s: Option<u32>) {
        self.gone.remove(key);
        self.live.insert(key.to_vec(), Live::new(value, left_s));
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.live.remove(key);
        self.gone.insert(key.to_vec());
    }

    /// Lets seconds pass: keys whose time is over are gone.
    pub(crate) fn pass(&mut self, seconds: u32) {
        self.now_s += seconds;
        for live in self.live.values_mut() {
            live.left_s = live.left_s.map(|left_s| left_s.saturating_sub(seconds));
        }
        let all = core::mem::take(&mut self.live);
        let (ended, live): (BTreeMap<_, _>, _) =
            all.into_iter().partition(|(_, live)| live.left_s == Some(0));
        self.live = live;
        self.gone.extend(ended.into_keys());
    }

    /// The keys that have a value, in order.
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        self.live.keys().cloned().collect()
    }

    fn to_text(&self) -> String {
        let mut text = format!("now {}\n", self.now_s);
        for (key, live) in &self.live {
            let left = live.left_s.map_or_else(|| "-".to_owned(), |left_s| left_s.to_string());
            writeln!(text, "live {} {} {:016x} {left}", hex(key), live.bytes, live.hash).unwrap();
        }
        for key in &self.gone {
            writeln!(text, "gone {}", hex(key)).unwrap();
        }
        text
    }

    fn of_text(text: &str) -> Self {
        let mut contents = Self::default();
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["now", now_s] => contents.now_s = now_s.parse().unwrap(),
                ["live", key, bytes, hash, left] => {
                    let left_s = (left != "-").then(|| left.parse().unwrap());
                    let hash = u64::from_str_radix(hash, 16).unwrap();
                    let live = Live { bytes: bytes.parse().unwrap(), hash, left_s };
                    contents.live.insert(unhex(key), live);
                }
                ["gone", key] => drop(contents.gone.insert(unhex(key))),
                _ => panic!("not a line of a list: {line}"),
            }
        }
        contents
    }
}

/// The folder of an image.
pub(crate) fn folder(image: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden").join(image)
}

/// The files of an image, unpacked, by their names; and their contents.
pub(crate) fn stored(image: &str) -> (BTreeMap<String, Vec<u8>>, Contents) {
    let mut files = BTreeMap::new();
    let mut contents = None;
    for entry in fs::read_dir(folder(image)).unwrap() {
        let entry = entry.unwrap();
        let (name, bytes) = (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        match name.strip_suffix(".zst") {
            Some(name) => drop(files.insert(name.to_owned(), zstd::decode_all(&bytes[..]).unwrap())),
            None if name == LIST_NAME => {
                contents = Some(Contents::of_text(core::str::from_utf8(&bytes).unwrap()));
            }
            None => panic!("{name} is not of an image"),
        }
    }
    (files, contents.unwrap())
}

/// The only file of an image.
pub(crate) fn stored_file(image: &str) -> (Vec<u8>, Contents) {
    let (files, contents) = stored(image);
    assert_eq!(files.len(), 1, "{image}");
    (files.into_values().next().unwrap(), contents)
}

/// Writes the files of an image and its list, in the place of what was there.
pub(crate) fn store(image: &str, files: &BTreeMap<String, Vec<u8>>, contents: &Contents) {
    let folder = folder(image);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in files {
        let packed = zstd::encode_all(&bytes[..], 19).unwrap();
        fs::write(folder.join(format!("{name}.zst")), packed).unwrap();
    }
    fs::write(folder.join(LIST_NAME), contents.to_text()).unwrap();
}

/// The keys that have a value in an image, each with its expiry.
fn keys_of(image: &Image, now_s: u32) -> BTreeMap<Vec<u8>, Option<u32>> {
    let is_hashed = image.geometry().identity() == Identity::KeyedHash;
    let mut keys = BTreeMap::new();
    for segment in 0..image.geometry().segment_count() {
        let examined = image.examine(segment).unwrap();
        assert_eq!((examined.damage.len(), examined.torn_bytes), (0, 0), "segment {segment}");
        for record in examined.records {
            let may_be_piece = !is_hashed || record.expires_s == Some(PIECE_EXPIRES_S);
            let is_piece = may_be_piece && piece_parts(&record.key).is_some();
            let has_ended = record.expires_s.is_some_and(|at| at <= now_s);
            if record.kind == Kind::Value && record.is_live && !is_piece && !has_ended {
                assert!(keys.insert(record.key, record.expires_s).is_none());
            }
        }
    }
    keys
}

/// Puts the ends of values into the list as the images state them: a tier may round them up by two seconds.
pub(crate) fn state_ends(images: &[Image], contents: &mut Contents) {
    let now_s = contents.now_s;
    for (key, expires_s) in images.iter().flat_map(|image| keys_of(image, now_s)) {
        let live = contents.live.get_mut(&key).unwrap();
        let (asked_s, left_s) = (live.left_s, expires_s.map(|at| at - now_s));
        assert!(left_s == asked_s || left_s.zip(asked_s).is_some_and(|(left, asked)| left - asked <= 2));
        live.left_s = left_s;
    }
}

/// Asserts that the image reader finds exactly the listed contents in the images of all partitions, and that each value expires
/// in the right second.
pub(crate) fn check_images(images: &[Image], contents: &Contents) {
    let now_s = contents.now_s;
    let found = images.iter().flat_map(|image| keys_of(image, now_s));
    let found: BTreeMap<_, _> = found.map(|(key, expires_s)| (hex(&key), expires_s)).collect();
    let listed = |live: &Live| live.left_s.map(|left_s| now_s + left_s);
    let expected: BTreeMap<_, _> = contents.live.iter().map(|(key, live)| (hex(key), listed(live))).collect();
    assert_eq!(found, expected);
    let get = |key: &[u8], at_s| {
        let found = images.iter().filter_map(|image| image.get(key, at_s).unwrap());
        found.collect::<Vec<_>>()
    };
    for (key, live) in &contents.live {
        let [value] = &get(key, now_s)[..] else { panic!("{} is not there once", hex(key)) };
        live.check(key, value);
        if let Some(left_s) = live.left_s {
            assert_eq!(get(key, now_s + left_s - 1), [&value[..]]);
            assert_eq!(get(key, now_s + left_s), [[0; 0]; 0]);
        }
    }
    for key in &contents.gone {
        assert_eq!(get(key, now_s), [[0; 0]; 0], "{}", hex(key));
    }
}

/// Words that repeat, so that every codec gains.
pub(crate) fn text(seed: u32, bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 8] =
        ["kelvin ", "frost ", "cold ", "store ", "segment ", "press ", "winter ", "ice "];
    let mut state = u64::from(seed) << 8 | 1;
    let mut text = Vec::new();
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.extend(WORDS[state as usize % WORDS.len()].as_bytes());
    }
    text.truncate(bytes);
    text
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// FNV-1a with 64 bits: independent of the checksums that are under test.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

#[test]
fn golden_list_written_and_read_is_the_same() {
    let mut contents = Contents { now_s: 7, ..Contents::default() };
    contents.put(b"key", b"hello", Some(900));
    contents.put(b"for good", b"", None);
    contents.put(b"for a while", b"", Some(10));
    contents.remove(b"old");
    contents.pass(10);
    let text = contents.to_text();
    assert!(text.contains("live 6b6579 5 a430d84680aabd0b 890\n"), "{text}");
    assert!(text.starts_with("now 17\n") && text.ends_with("gone 6f6c64\n"), "{text}");
    assert_eq!(contents.gone.len(), 2);
    assert_eq!(Contents::of_text(&text), contents);
}

#[test]
fn golden_images_together_stay_small() {
    let mut bytes = 0;
    for image in fs::read_dir(folder("")).unwrap() {
        for file in fs::read_dir(image.unwrap().path()).unwrap() {
            bytes += file.unwrap().metadata().unwrap().len();
        }
    }
    assert!((1..=STORED_BYTES_MAX).contains(&bytes), "{bytes} bytes");
}
