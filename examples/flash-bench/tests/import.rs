//! `image import-sequential`: maps that sequential-storage itself wrote, carried over to our flash tier.
//!
//! It stands here for its dependencies: the store that writes the maps, and the double of a flash.

use core::fmt::Debug;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::fs;

use clap::Parser as _;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, Now, PutError, buckets_for};
use coldpress_examples::image::Soundness;
use coldpress_image::{
    ImageCommand, ImageJob, ImportError, ImportSequential, MapError, MapShape, Values, import, imported,
    read_map,
};
use coldpress_tests::flash::Flash;
use coldpress_tests::sim::Rng;
use embedded_storage_async::nor_flash::{ErrorType, MultiwriteNorFlash, NorFlash, ReadNorFlash};
use sequential_storage::cache::Cache;
use sequential_storage::map::{Key, MapConfig, MapStorage};

/// Flash in memory, whose units may be programmed twice: a remove of the map does so.
#[derive(Debug, Clone)]
struct Nor<const PAGE: usize, const WRITE: usize, const READ: usize> {
    bytes: Vec<u8>,
    /// The content before each change, and the change.
    tape: Vec<(Vec<u8>, Change)>,
    is_taped: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Program(usize, Vec<u8>),
    Erase(usize, usize),
}

impl Change {
    fn len(&self) -> usize {
        match self {
            Self::Program(_, bytes) => bytes.len(),
            Self::Erase(_, len) => *len,
        }
    }

    /// Makes the change to those of its bytes that `reached` names, by their place in it; of a byte the bits of the mask.
    fn make(&self, flash: &mut [u8], reached: impl Fn(usize) -> u8) {
        let (at, len) = match self {
            Self::Program(at, bytes) => (*at, bytes.len()),
            Self::Erase(at, len) => (*at, *len),
        };
        for (place, byte) in flash[at..at + len].iter_mut().enumerate() {
            let new = match self {
                Self::Program(_, bytes) => *byte & bytes[place],
                Self::Erase(..) => 0xFF,
            };
            let mask = reached(place);
            *byte = *byte & !mask | new & mask;
        }
    }

    /// The flash after each of the ways in which a power cut can end the change.
    fn torn(&self, before: &[u8]) -> Vec<Vec<u8>> {
        let len = self.len();
        let counts: Vec<usize> = match self {
            Self::Program(..) => (0..=len).collect(),
            Self::Erase(..) => {
                let few = [0, 1, 2, 4, 7, 8, 9, 16, 31, 64, len / 4, len / 2];
                few.into_iter().flat_map(|count| [count, len - count]).collect()
            }
        };
        let whole = |is_reached: bool| if is_reached { 0xFF } else { 0 };
        let torn = |reached: &dyn Fn(usize) -> u8| {
            let mut flash = before.to_vec();
            self.make(&mut flash, reached);
            flash
        };
        let mut all: Vec<Vec<u8>> = counts.iter().map(|count| torn(&|place| whole(place < *count))).collect();
        all.extend(counts.iter().map(|count| torn(&|place| whole(place + count >= len))));
        all.extend((1..4).map(|seed| {
            let mut rng = Rng::new(seed);
            let mixed: Vec<u8> = (0..len).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
            torn(&|place| mixed[place])
        }));
        all.sort();
        all.dedup();
        all
    }
}

impl<const PAGE: usize, const WRITE: usize, const READ: usize> Nor<PAGE, WRITE, READ> {
    const SHAPE: MapShape = MapShape { page_bytes: PAGE, write_bytes: WRITE, read_bytes: READ };

    fn new(pages: usize) -> Self {
        Self::with(vec![0xFF; pages * PAGE])
    }

    fn with(bytes: Vec<u8>) -> Self {
        Self { bytes, tape: Vec::new(), is_taped: false }
    }

    fn change(&mut self, change: Change) {
        if self.is_taped {
            self.tape.push((self.bytes.clone(), change.clone()));
        }
        change.make(&mut self.bytes, |_| 0xFF);
    }
}

impl<const PAGE: usize, const WRITE: usize, const READ: usize> ErrorType for Nor<PAGE, WRITE, READ> {
    type Error = core::convert::Infallible;
}

impl<const PAGE: usize, const WRITE: usize, const READ: usize> ReadNorFlash for Nor<PAGE, WRITE, READ> {
    const READ_SIZE: usize = READ;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const PAGE: usize, const WRITE: usize, const READ: usize> NorFlash for Nor<PAGE, WRITE, READ> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.change(Change::Erase(from as usize, (to - from) as usize));
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        assert!((offset as usize).is_multiple_of(WRITE) && bytes.len().is_multiple_of(WRITE));
        self.change(Change::Program(offset as usize, bytes.to_vec()));
        Ok(())
    }
}

impl<const PAGE: usize, const WRITE: usize, const READ: usize> MultiwriteNorFlash for Nor<PAGE, WRITE, READ> {}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a call waits for something"),
    }
}

/// A step of a history: a put of a value, or a remove.
type Step<K> = (K, Option<Vec<u8>>);

/// Puts and removes by the store itself; returns the flash, and the newest values.
fn lived<K: Key, const PAGE: usize, const WRITE: usize, const READ: usize>(
    flash: Nor<PAGE, WRITE, READ>,
    steps: &[Step<K>],
    name: impl Fn(&K) -> Vec<u8>,
) -> (Nor<PAGE, WRITE, READ>, Values) {
    let range = 0..flash.bytes.len() as u32;
    let mut map = MapStorage::<K, _, _>::new(flash, MapConfig::new(range), Cache::new_uncached());
    let (mut buffer, mut values) = ([0; 4096], Values::new());
    for (key, value) in steps {
        match value {
            Some(value) => {
                at_once(map.store_item(&mut buffer, key, &value.as_slice())).unwrap();
                values.insert(name(key), value.clone());
            }
            None => {
                at_once(map.remove_item(&mut buffer, key)).unwrap();
                values.remove(&name(key));
            }
        }
    }
    (map.destroy().0, values)
}

/// The values that the store itself finds on a flash.
fn found<K: Key, const PAGE: usize, const WRITE: usize, const READ: usize>(
    bytes: &[u8],
    keys: &[K],
    name: impl Fn(&K) -> Vec<u8>,
) -> Result<Values, String> {
    let range = 0..bytes.len() as u32;
    let flash = Nor::<PAGE, WRITE, READ>::with(bytes.to_vec());
    let mut map = MapStorage::<K, _, _>::new(flash, MapConfig::new(range), Cache::new_uncached());
    let (mut buffer, mut values) = ([0; 4096], Values::new());
    for key in keys {
        let found =
            at_once(map.fetch_item::<&[u8]>(&mut buffer, key)).map_err(|error| format!("{error:?}"))?;
        if let Some(value) = found {
            values.insert(name(key), value.to_vec());
        }
    }
    Ok(values)
}

/// Overwrites of all keys with values of all lengths up to a limit, and one remove in seven where `removes`.
fn steps<K: Clone>(keys: &[K], count: usize, bytes_max: u64, removes: bool, seed: u64) -> Vec<Step<K>> {
    let mut rng = Rng::new(seed);
    let mut next = |bound| usize::try_from(rng.below(bound)).unwrap();
    let step = |number: usize| {
        let key = keys[next(keys.len() as u64)].clone();
        let is_remove = removes && next(7) == 0;
        let value = vec![number as u8 | 1; next(bytes_max + 1)];
        (key, (!is_remove).then_some(value))
    };
    (0..count).map(step).collect()
}

fn job(options: &str) -> ImportSequential {
    let line = format!("image import-sequential map.bin new.img --secret {} {options}", "5a".repeat(16));
    parsed(&line)
}

fn parsed(line: &str) -> ImportSequential {
    match ImageJob::try_parse_from(line.split_whitespace()) {
        Ok(ImageJob { command: ImageCommand::ImportSequential(job) }) => job,
        other => panic!("{other:?}"),
    }
}

const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };
const RECORD: usize = 160;
type Memory = FlashMemory<16, { buckets_for(200) }, RECORD>;
type Device = Flash<4, 1024>;

/// Mounts an image as a device does, compares every key, and goes on: every value is replaced, and the newest are there.
fn check_mounted(image: &[u8], values: &Values) {
    let (mut memory, flash) = (Memory::new(), Device::with_bytes(image, 0xFF));
    let mut tier = FlashTier::new(FlashConfig::new(1024, 1), &mut memory, NorMedium::new(flash)).unwrap();
    tier.mount(NOW).unwrap();
    assert_eq!(tier.len() as usize, values.len());
    let mut out = [0; RECORD];
    for (key, value) in values {
        assert_eq!(tier.get(NOW, key, &mut out).unwrap(), Some(value.as_slice()), "{}", key.escape_ascii());
    }
    for (key, value) in values {
        let value: Vec<u8> = value.iter().map(|byte| !byte).collect();
        while tier.put(NOW, key, &value) == Err(PutError::NeedsCompaction) {
            let _ = tier.poll(NOW, 16);
        }
        assert_eq!(tier.get(NOW, key, &mut out).unwrap(), Some(value.as_slice()));
    }
}

/// A history in keys of a type, imported and mounted.
fn import_of<K: Key + Debug>(option: &str, keys: &[K], name: impl Fn(&K) -> Vec<u8>) {
    for removes in [false, true] {
        let steps = steps(keys, 400, 60, removes, 7);
        let (flash, values) = lived(Nor::<1024, 4, 1>::new(4), &steps, name_of(&name));
        let closed = flash.bytes.chunks_exact(1024).filter(|page| page[1020..] == [0; 4]).count();
        assert!(closed >= 2, "pages are full: {closed}");
        let options = format!(
            "--key {option} --page-bytes 1024 --segment-bytes 1024 --segments 16 --record-bytes {RECORD}"
        );
        let imported = imported(&job(&options), &flash.bytes).unwrap();
        assert_eq!(imported.map.values, values, "{option}");
        assert_eq!(imported.map.survey.removed > 0, removes);
        assert_eq!(imported.map.survey.skipped, 0);
        check_mounted(&imported.bytes, &values);
    }
}

fn name_of<K>(name: &impl Fn(&K) -> Vec<u8>) -> impl Fn(&K) -> Vec<u8> + '_ {
    move |key| name(key)
}

#[test]
fn maps_with_keys_of_every_kind_are_carried_over() {
    let numbers: Vec<u8> = (1..30).collect();
    import_of("u8", &numbers, |key| vec![*key]);
    let of = |number: &u8| u16::from(*number) * 300;
    import_of("u16", &numbers.iter().map(of).collect::<Vec<u16>>(), |key| key.to_le_bytes().to_vec());
    let of = |number: &u8| -i32::from(*number) * 70_000;
    import_of("i32", &numbers.iter().map(of).collect::<Vec<i32>>(), |key| key.to_le_bytes().to_vec());
    let of = |number: &u8| u64::MAX / u64::from(*number);
    import_of("u64", &numbers.iter().map(of).collect::<Vec<u64>>(), |key| key.to_le_bytes().to_vec());
    let of = |number: &u8| u128::MAX / u128::from(*number);
    import_of("u128", &numbers.iter().map(of).collect::<Vec<u128>>(), |key| key.to_le_bytes().to_vec());
    let of = |number: &u8| [*number, 0, 0xFF, 3, *number];
    import_of("bytes:5", &numbers.iter().map(of).collect::<Vec<[u8; 5]>>(), |key| key.to_vec());
    let of = |number: &u8| "ä".repeat(usize::from(*number % 20)) + &number.to_string();
    import_of("string", &numbers.iter().map(of).collect::<Vec<String>>(), |key| key.clone().into_bytes());
    let of = |number: &u8| vec![*number; 1 + usize::from(*number % 20)];
    import_of("vec", &numbers.iter().map(of).collect::<Vec<Vec<u8>>>(), Clone::clone);
}

/// Of so many maps that were cut, one is mounted as an image.
const MOUNTED_EVERY: usize = 29;

/// Cuts a history at every change, in every way. The import has the values that the store itself finds.
fn cut_everywhere<const PAGE: usize, const WRITE: usize, const READ: usize>(pages: usize, removes: bool) {
    let keys: Vec<u32> = (1..8).map(|key| key * 1_000).collect();
    let steps = steps(&keys, 90 * PAGE / 256, 40, removes, 3);
    let taped = Nor::<PAGE, WRITE, READ> { is_taped: true, ..Nor::new(pages) };
    let name = |key: &u32| key.to_le_bytes().to_vec();
    let (flash, _) = lived(taped, &steps, name);
    let erases = flash.tape.iter().filter(|(_, change)| matches!(change, Change::Erase(..))).count();
    assert!(erases > 3, "{erases}");
    let (mut cuts, mut mounted, mut damaged) = (0, 0, 0);
    for (number, (before, change)) in flash.tape.iter().enumerate() {
        for bytes in change.torn(before) {
            let expected = found::<u32, PAGE, WRITE, READ>(&bytes, &keys, name);
            let read = read_map(&bytes, &Nor::<PAGE, WRITE, READ>::SHAPE, "u32".parse().unwrap());
            cuts += 1;
            match (expected, read) {
                (Ok(expected), Ok(read)) => {
                    assert_eq!(read.values, expected, "change {number}: {change:?}");
                    if cuts % MOUNTED_EVERY == 0 && !expected.is_empty() {
                        let options = format!(
                            "--key u32 --page-bytes {PAGE} --map-write-bytes {WRITE} --map-read-bytes {READ} {SHAPE}"
                        );
                        check_mounted(&imported(&job(&options), &bytes).unwrap().bytes, &expected);
                        mounted += 1;
                    }
                }
                (Ok(expected), Err(MapError::Blank)) => assert!(expected.is_empty()),
                (Err(_), Err(_)) => damaged += 1,
                (expected, read) => panic!("change {number}: {change:?}: {expected:?}, {read:?}"),
            }
        }
    }
    println!("{PAGE} {WRITE} {READ}: {cuts} cuts, {mounted} mounted, {damaged} that the store can't read");
    assert!(cuts > 1_000 && mounted > 30, "{cuts}, {mounted}");
}

#[test]
fn map_cut_at_every_change_has_what_its_own_store_finds() {
    cut_everywhere::<256, 4, 1>(4, false);
    cut_everywhere::<256, 4, 4>(4, true);
    cut_everywhere::<256, 1, 1>(3, true);
    cut_everywhere::<512, 8, 1>(4, true);
    cut_everywhere::<512, 2, 1>(2, true);
    cut_everywhere::<1024, 32, 1>(3, false);
}

/// A map of 20 keys of four bytes on four pages of 1024 bytes.
fn map() -> (Vec<u8>, Values) {
    let keys: Vec<u32> = (1..=20).map(|key| key * 1_000).collect();
    let steps = steps(&keys, 300, 60, false, 1);
    let (flash, values) = lived(Nor::<1024, 4, 1>::new(4), &steps, |key| key.to_le_bytes().to_vec());
    (flash.bytes, values)
}

const SHAPE: &str = "--segment-bytes 1024 --segments 16 --record-bytes 160";

#[test]
fn range_of_a_map_inside_a_flash_is_read_alone() {
    let (map, values) = map();
    let flash = [vec![0x77; 3000], map, vec![0; 500]].concat();
    let imported =
        imported(&job(&format!("--key u32 --page-bytes 1024 --start 3000 --bytes 4096 {SHAPE}")), &flash);
    assert_eq!(imported.unwrap().map.values, values);
}

#[test]
fn wrong_input_is_refused_with_its_reason() {
    let (map, _) = map();
    let refused = |options: &str, map: &[u8]| match imported(&job(&format!("{options} {SHAPE}")), map) {
        Err(error) => error,
        Ok(imported) => panic!("{options}: {}", imported.summary()),
    };
    let of_map = |options: &str, map: &[u8]| match refused(options, map) {
        ImportError::Map(error) => error,
        error => panic!("{options}: {error}"),
    };
    // Pages and words that the firmware does not have.
    for bytes in [256, 512, 2048] {
        let options = format!("--key u32 --page-bytes {bytes}");
        assert_eq!(of_map(&options, &map), MapError::PageBytes(bytes), "{options}");
    }
    let options = "--key u32 --page-bytes 1024 --map-write-bytes";
    for bytes in [8, 16, 32] {
        let error = of_map(&format!("{options} {bytes}"), &map);
        assert!(matches!(error, MapError::WordBytes { .. } | MapError::PageBytes(_)), "{bytes}: {error}");
    }
    assert!(matches!(of_map(&format!("{options} 64"), &map), MapError::Shape(_)));
    assert!(matches!(of_map("--key u32 --page-bytes 1000", &map), MapError::Shape(_)));
    // A file that was cut short, and a range beyond it.
    let options = "--key u32 --page-bytes 1024";
    let pages = |found| MapError::Pages { page_bytes: 1024, found };
    assert_eq!(of_map(options, &map[..4000]), pages(4000));
    assert_eq!(of_map(options, &map[..1024]), pages(1024));
    assert_eq!(of_map(options, &[]), pages(0));
    for range in ["--start 1024 --bytes 4096", "--start 4097", "--start 18446744073709551615 --bytes 2"] {
        assert!(matches!(refused(&format!("{options} {range}"), &map), ImportError::Range(4096)), "{range}");
    }
    // Keys of another type, where an item shows it.
    assert!(matches!(of_map("--key bytes:30 --page-bytes 1024", &map), MapError::Key(..)));
    assert!(matches!(of_map("--key string --page-bytes 1024", &map), MapError::Key(..)));
    // Nothing, or something else.
    assert_eq!(of_map(options, &[0xFF; 4096]), MapError::Blank);
    let mut rng = Rng::new(5);
    let noise: Vec<u8> = (0..4096).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
    assert_eq!(of_map(options, &noise), MapError::PageBytes(1024));
    assert!(matches!(of_map(options, &[0; 4096]), MapError::PageBytes(1024) | MapError::WordBytes { .. }));
}

#[test]
fn map_that_the_device_can_not_hold_is_refused() {
    let (map, values) = map();
    let options = "--key u32 --page-bytes 1024 --segment-bytes 512 --segments 6";
    let error = imported(&job(&format!("{options} --record-bytes 160")), &map).unwrap_err();
    let ImportError::Record { fit: (fit, keys), .. } = &error else { panic!("{error}") };
    assert!(*fit > 0 && fit < keys && *keys == values.len(), "{error}");
    assert!(error.to_string().contains(" keys fit, not "), "{error}");
    let error = imported(&job(&format!("{options} --record-bytes 52")), &map).unwrap_err();
    assert!(matches!(error, ImportError::Record { .. }), "{error}");
    let error = imported(&job("--key u32 --page-bytes 1024 --segments 1"), &map).unwrap_err();
    assert!(matches!(error, ImportError::Geometry(_)), "{error}");

    let steps = [([0xFF, 0x63, 0x70, 0], Some(vec![1])), ([1; 4], Some(vec![2]))];
    let (flash, _) = lived(Nor::<1024, 4, 1>::new(2), &steps, |key| key.to_vec());
    let error = imported(&job("--key bytes:4 --page-bytes 1024"), &flash.bytes).unwrap_err();
    assert!(matches!(&error, ImportError::Reserved(key) if key[..] == [0xFF, 0x63, 0x70, 0]), "{error}");
    let (flash, _) = lived(Nor::<1024, 4, 1>::new(2), &[(Vec::new(), Some(vec![1]))], Clone::clone);
    let error = imported(&job("--key vec --page-bytes 1024"), &flash.bytes).unwrap_err();
    assert!(matches!(&error, ImportError::Record { key, .. } if key.is_empty()), "{error}");
}

#[test]
fn map_without_a_value_is_refused() {
    let steps = [(7_u32, Some(vec![1])), (7, None)];
    let (flash, _) = lived(Nor::<1024, 4, 1>::new(2), &steps, |key| key.to_le_bytes().to_vec());
    let error = imported(&job("--key u32 --page-bytes 1024"), &flash.bytes).unwrap_err();
    assert!(matches!(error, ImportError::Empty), "{error}");
}

#[test]
fn image_that_is_full_is_mounted_and_goes_on() {
    let import_of = |keys: u16| {
        let steps: Vec<Step<u16>> = (1..=keys).map(|key| (key, Some(vec![key as u8; 56]))).collect();
        let (flash, values) = lived(Nor::<1024, 4, 1>::new(16), &steps, |key| key.to_le_bytes().to_vec());
        imported(&job(&format!("--key u16 --page-bytes 1024 {SHAPE}")), &flash.bytes)
            .map(|imported| (imported, values))
    };
    let keys = (1..200).find(|keys| import_of(keys + 1).is_err()).unwrap();
    assert!(keys > 80, "{keys}");
    let (imported, values) = import_of(keys).unwrap();
    check_mounted(&imported.bytes, &values);
    let error = import_of(keys + 1).unwrap_err();
    assert!(
        matches!(error, ImportError::Record { fit: (fit, _), .. } if fit == usize::from(keys)),
        "{error}"
    );
}

#[test]
fn program_writes_an_image_once_and_nothing_on_a_failure() {
    let (map, values) = map();
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("map.bin"), dir.path().join("new.img"));
    fs::write(&from, &map).unwrap();
    let run = |options: &str| {
        let line = format!("image import-sequential {} {} {options} {SHAPE}", from.display(), to.display());
        let job = parsed(&line);
        let mut out = Vec::new();
        let done = import(&job, &mut out);
        done.map(|soundness| (soundness, String::from_utf8(out).unwrap())).map_err(|error| error.to_string())
    };
    for options in ["--key bytes:30 --page-bytes 1024", "--key u32 --page-bytes 512", "--key u32 --start 1"] {
        assert!(run(options).is_err(), "{options}");
        assert!(!to.exists(), "{options}");
    }
    let (soundness, out) = run("--key u32 --page-bytes 1024").unwrap();
    assert_eq!(soundness, Soundness::Sound);
    assert!(out.contains(": 20 keys of 4 to 4 bytes, values of "), "{out}");
    let image = fs::read(&to).unwrap();
    check_mounted(&image, &values);
    // An image that is there is left alone, and so is the map.
    assert!(run("--key u32 --page-bytes 1024").unwrap_err().contains("new.img: "));
    assert_eq!((fs::read(&to).unwrap(), fs::read(&from).unwrap()), (image, map));
}
