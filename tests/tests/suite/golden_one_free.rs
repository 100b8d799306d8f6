//! The golden image of a device that keeps one segment free: it holds batches, typed values and long values.

use coldpress_core::config::ONE_FREE_SEGMENTS_MAX;
use coldpress_core::segments::SegmentState;
use coldpress_embedded::flash::{Batch, Schema, TypedGetError};
use coldpress_std::image::Image;
use coldpress_tests::driver::Driver;
use coldpress_tests::flash::Flash;
use serde::{Deserialize, Serialize};

use crate::golden_census::Census;
use crate::golden_device::{Device, Memory, SECRET, SEGMENTS_OF_DEVICE, START_S, check};
use crate::golden_stored::{Contents, state_ends, text};

/// The image.
pub(crate) const ONE_FREE: &str = "device-one-free";
/// Bytes that are programmed as one.
const UNIT: usize = 8;
/// Bytes of a segment.
const SECTOR: usize = 1024;
/// Rounds of overwriting after which one segment is free.
const ROUNDS_MAX: u32 = 100;
/// The longest typed value, encoded.
const TYPED_BYTES_MAX: usize = 64;

/// The kinds that the image holds.
const KINDS: [&str; 14] = [
    "value",
    "tombstone",
    "freed",
    "time",
    "head",
    "piece",
    "expiry",
    "origin",
    "origin and expiry",
    "origin of a piece",
    "member of a batch",
    "both headers",
    "open segment",
    "erased again",
];

type OneFree<'m> = Device<'m, UNIT, SECTOR>;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Mode {
    Fast,
    Slow(u16),
}

/// Typed values of every kind of encoding: texts, numbers in as many bytes as they need, with and without a sign, and fixed ones.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Settings<'a> {
    name: &'a str,
    min_mv: u16,
    max_mv: u16,
    offset: i32,
    gain: f32,
    is_on: Option<bool>,
    mode: Mode,
}

impl Schema for Settings<'_> {
    const SCHEMA: u16 = 7;
}

/// The form of an earlier firmware.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Level {
    level: u32,
}

impl Schema for Level {
    const SCHEMA: u16 = 0x0102;
}

const SETTINGS: Settings<'_> = Settings {
    name: "attic",
    min_mv: 3_000,
    max_mv: 4_200,
    offset: -40,
    gain: 1.5,
    is_on: Some(true),
    mode: Mode::Slow(300),
};
const LEVEL: Level = Level { level: 70_000 };
/// As they are stored: the mark, the number of the schema, and the fields in their order.
const SETTINGS_BYTES: &[u8] =
    b"\xF5\x63\x07\x00\x05attic\xB8\x17\xE8\x20\x4F\x00\x00\xC0\x3F\x01\x01\x01\xAC\x02";
const LEVEL_BYTES: &[u8] = b"\xF5\x63\x02\x01\xF0\xA2\x04";

/// Puts typed values, one by one.
fn put_typed(device: &mut OneFree<'_>, contents: &mut Contents) {
    let mut buffer = [0; TYPED_BYTES_MAX];
    device.put_typed(b"settings", &SETTINGS, &mut buffer);
    contents.put(b"settings", SETTINGS_BYTES, None);
    device.put_typed(b"level of an earlier firmware", &LEVEL, &mut buffer);
    contents.put(b"level of an earlier firmware", LEVEL_BYTES, None);
}

/// Puts long values, one of which replaces another.
fn put_long(device: &mut OneFree<'_>, contents: &mut Contents) {
    for (key, bytes, left_s) in
        [(&b"long"[..], 700, None), (b"long, ends", 500, Some(2_000_000)), (b"long", 900, None)]
    {
        device.put_in_pieces(key, &text(bytes as u32, bytes), left_s);
        contents.put(key, &text(bytes as u32, bytes), left_s);
    }
}

/// Commits a batch: of every form of key and value, typed ones among them, and a remove.
fn commit(device: &mut OneFree<'_>, contents: &mut Contents, round: u32) {
    let (name, left_s) = (format!("a longer key of batch {}", round % 2), 3_000_000);
    let value = text(round, 60);
    let mut batch = Batch::<4>::new();
    batch.put(b"batched", SETTINGS_BYTES).unwrap();
    batch.put_with_ttl(name.as_bytes(), &value, left_s).unwrap();
    batch.put(b"empty", b"").unwrap();
    batch.remove(b"guest").unwrap();
    device.commit_batch(&batch);
    contents.put(b"batched", SETTINGS_BYTES, None);
    contents.put(name.as_bytes(), &value, Some(left_s));
    contents.put(b"empty", b"", None);
    contents.remove(b"guest");
}

/// Overwrites keys, until segments must be cleaned for more.
fn churn(device: &mut OneFree<'_>, contents: &mut Contents, round: u32) {
    device.pass(20);
    contents.pass(20);
    for n in 0..10 {
        let (key, value) = (format!("often {n}"), vec![round as u8; 60]);
        device.put(key.as_bytes(), &value, None);
        contents.put(key.as_bytes(), &value, None);
    }
    device.put(b"guest", &round.to_le_bytes(), None);
    contents.put(b"guest", &round.to_le_bytes(), None);
}

/// The segments of an image that hold nothing.
fn free_segments(image: &Image) -> usize {
    image.segments().iter().filter(|segment| segment.state() == SegmentState::Free).count()
}

/// Makes the flash. The last batch lies as it was written; the records of earlier ones were relocated.
pub(crate) fn make() -> (Vec<u8>, Contents) {
    let mut contents = Contents { now_s: START_S, ..Contents::default() };
    let (mut memory, mut flash) = (Memory::new(), Flash::new(SEGMENTS_OF_DEVICE, 0xFF));
    for round in 0..ROUNDS_MAX {
        // Drivers take turns.
        let driver = Driver::of_seed(round.into());
        let mut device = OneFree::mount(&mut memory, driver, flash, Some(SECRET), contents.now_s);
        if round == 0 {
            put_typed(&mut device, &mut contents);
            put_long(&mut device, &mut contents);
        }
        churn(&mut device, &mut contents, round);
        commit(&mut device, &mut contents, round);
        flash = device.into_flash();
        let image = Image::read_from(flash.bytes().to_vec()).unwrap();
        if free_segments(&image) == 1 && Census::of(flash.bytes()).lacks(&KINDS).is_empty() {
            state_ends(&[image], &mut contents);
            return (flash.bytes().to_vec(), contents);
        }
    }
    panic!("after {ROUNDS_MAX} rounds {:?}", Census::of(flash.bytes()));
}

/// Asserts that the image has one free segment, every kind and exactly the listed contents, to a host and to both drivers of a device.
pub(crate) fn check_one_free(bytes: &[u8], contents: &Contents) {
    let image = Image::read_from(bytes.to_vec()).unwrap();
    let segments = image.geometry().segment_count();
    assert!(segments <= ONE_FREE_SEGMENTS_MAX, "{segments} segments");
    assert_eq!((free_segments(&image), image.geometry().write_unit()), (1, UNIT as u32));
    let census = Census::of(bytes);
    assert_eq!(census.lacks(&KINDS), [""; 0]);
    // With one free segment every record of a key has its version.
    let without = ["value without origin", "tombstone without origin"];
    assert_eq!(census.lacks(&without), without);
    check::<UNIT, SECTOR>(bytes, contents);
    for key in [&b"settings"[..], b"batched"] {
        assert_eq!(image.get(key, contents.now_s), Ok(Some(SETTINGS_BYTES.to_vec())));
    }
    for driver in Driver::BOTH {
        let (mut memory, mut buffer) = (Memory::new(), [0; TYPED_BYTES_MAX]);
        let flash = Flash::with_bytes(bytes, 0xFF);
        let mut device = OneFree::mount(&mut memory, driver, flash, None, contents.now_s);
        for key in [&b"settings"[..], b"batched"] {
            assert_eq!(device.get_typed::<Settings<'_>>(key, &mut buffer), Ok(Some(SETTINGS)));
        }
        let level = b"level of an earlier firmware";
        let changed = TypedGetError::SchemaChanged { stored: Level::SCHEMA, expected: Settings::SCHEMA };
        assert_eq!(device.get_typed::<Settings<'_>>(level, &mut buffer), Err(changed));
        assert_eq!(device.get_typed::<Level>(level, &mut buffer), Ok(Some(LEVEL)));
        assert_eq!(device.get_typed::<Level>(b"often 1", &mut buffer), Err(TypedGetError::Untyped));
    }
}
