//! Golden images: this build reads the files of an earlier one to the last byte, and writes the same.
//!
//! `tests/data/golden` holds, packed, the files of two tiers of a service and the flash of four devices, each beside a list of its
//! contents:
//!
//! | image | shape |
//! |---|---|
//! | `service` | two partitions of 24 segments of 4 KiB, origins of 6 bytes, as it was left open |
//! | `service-large` | one partition of 14 segments of 128 KiB, origins of 8 bytes, long lengths, as it was left open |
//! | `device` | 20 sectors of 1 KiB, units of 4 bytes, origins of 4 bytes, with a secret |
//! | `device-open` | 20 sectors of 4 KiB, units of 1 byte, origins of 6 bytes, without a secret |
//! | `device-built` | as a host builds it for a device, with encoded values |
//! | `device-one-free` | 20 sectors of 1 KiB, units of 8 bytes, one of them free: batches, typed values and long values |
//!
//! # Making them anew
//!
//! Images are made anew for a new version of the format, and for no other reason: a test that fails here shows a change of the
//! format. `COLDPRESS_GOLDEN=write cargo test --release -p coldpress-tests --test suite made_anew` writes all of them. Without
//! the variable these tests make such images and check them, so that the code that makes them keeps working. Clocks are set by
//! hand. The secret and the id of a service are random, and its threads run as they like, so no two images of a service are the
//! same.
//!
//! Nothing in the image of a device is left to chance. `COLDPRESS_GOLDEN=same` asserts that the same calls still write the same
//! bytes. A change of the choice of victims may break that, and is no change of the format. A change of the code's structure
//! must not break it.

use coldpress_std::CompactionTask;
use coldpress_std::image::{Identity, Image};
use coldpress_tests::driver::Driver;
use coldpress_tests::flash::Flash;

use crate::golden_census::{CODECS, Census, FOOTERS};
use crate::golden_device::{
    BUILT, Device, Memory, SECRET, WITH_SECRET, WITHOUT_SECRET, check, check_built, kinds, make_built,
};
use crate::golden_one_free::{ONE_FREE, check_one_free};
use crate::golden_service::{
    Files, LARGE, PATIENCE, SMALL, Shape, census, check_files, clock_at, images, open, pools, unpack,
};
use crate::golden_stored::{Contents, store, stored, stored_file, text};
use crate::{golden_device, golden_one_free, golden_service};

/// The treatment of images that were made anew, besides the checks: none, `write` or `same`.
fn mode() -> Option<String> {
    let mode = std::env::var("COLDPRESS_GOLDEN").ok();
    let is_known = mode.as_deref().is_none_or(|mode| ["write", "same"].contains(&mode));
    assert!(is_known, "COLDPRESS_GOLDEN is write or same");
    mode
}

fn flash(bytes: Vec<u8>) -> Files {
    Files::from([("flash".to_owned(), bytes)])
}

#[test]
fn service_image_holds_exactly_its_contents() {
    for shape in [SMALL, LARGE] {
        let (files, contents) = stored(shape.image);
        assert!(files.contains_key("LOCK") && files.contains_key("tier.meta"));
        check_files(&shape, &files, &contents);
    }
}

#[test]
fn service_image_holds_every_kind() {
    for shape in [SMALL, LARGE] {
        let (files, _) = stored(shape.image);
        assert_eq!(census(&files).lacks(&shape.kinds()), [""; 0], "{}", shape.image);
        for image in images(&files) {
            assert_eq!(image.geometry().identity(), Identity::KeyedHash);
            assert!(image.store().hash_key != [0; 16], "its hashes have a key");
        }
    }
    let origin_bytes = |shape: Shape| images(&stored(shape.image).0)[0].geometry().origin_bytes();
    assert_eq!((origin_bytes(SMALL), origin_bytes(LARGE)), (6, 8));
}

#[test]
fn service_image_opened_and_written_goes_on() {
    for shape in [SMALL, LARGE] {
        let (files, mut contents) = stored(shape.image);
        let (_manager, pools) = pools();
        let base = unpack(&files);
        let clock = clock_at(contents.now_s);
        let config = || shape.config(clock).build().unwrap();
        for life in 0..3 {
            let tier = open(base.path(), config(), &pools);
            golden_service::check(&tier, &contents);
            let keys = contents.keys();
            for key in keys.iter().skip(life).step_by(7) {
                assert!(tier.remove(key).unwrap());
                contents.remove(key);
            }
            for n in 0..60 {
                let (key, value) = (format!("often {}", n % 30), text(n + life as u32, 500));
                tier.put(key.as_bytes(), &value).unwrap();
                contents.put(key.as_bytes(), &value, None);
            }
            let (key, value) = (format!("long of life {life}"), text(life as u32, 10_000));
            tier.put(key.as_bytes(), &value).unwrap();
            contents.put(key.as_bytes(), &value, None);
            for task in [CompactionTask::CompactData, CompactionTask::RebuildIndex] {
                let report = tier.compaction().run_compaction(task, PATIENCE).unwrap();
                assert_eq!(report.damaged_records, 0, "{task}");
            }
            golden_service::check(&tier, &contents);
            tier.close().unwrap();
        }
        let end_s = contents.live.values().filter_map(|live| live.left_s).max().unwrap();
        clock.advance_s(end_s);
        contents.pass(end_s);
        let tier = open(base.path(), config(), &pools);
        golden_service::check(&tier, &contents);
        tier.close().unwrap();
    }
}

#[test]
fn device_image_holds_exactly_its_contents() {
    let (bytes, contents) = stored_file(WITH_SECRET);
    check::<4, 1024>(&bytes, &contents);
    let (bytes, contents) = stored_file(WITHOUT_SECRET);
    check::<1, 4096>(&bytes, &contents);
    let (bytes, contents) = stored_file(BUILT);
    check_built(&bytes, &contents);
    let (bytes, contents) = stored_file(ONE_FREE);
    check_one_free(&bytes, &contents);
}

#[test]
fn device_image_holds_every_kind() {
    for (name, secret, origin_bytes) in [(WITH_SECRET, SECRET, 4), (WITHOUT_SECRET, [0; 16], 6)] {
        let (bytes, _) = stored_file(name);
        let census = Census::of(&bytes);
        assert_eq!(census.lacks(&kinds()), [""; 0], "{name}");
        assert_eq!(census.lacks(&FOOTERS).len(), FOOTERS.len(), "a device writes no footers");
        let image = Image::read_from(bytes).unwrap();
        let geometry = image.geometry();
        assert_eq!((geometry.identity(), geometry.origin_bytes()), (Identity::KeyBytes, origin_bytes));
        assert_eq!((geometry.erase_value(), image.store().hash_key), (0xFF, secret));
    }
    let census = Census::of(&stored_file(BUILT).0);
    assert_eq!(census.lacks(&["codec 1", CODECS[0], CODECS[1], "tombstone", "expiry"]), [""; 0]);
}

/// Writes to the flash of an image in three lives.
fn go_on<const UNIT: usize, const SECTOR: usize>(bytes: &[u8], mut contents: Contents) {
    let mut memory = Memory::new();
    let mut flash = Flash::<UNIT, SECTOR>::with_bytes(bytes, 0xFF);
    for life in 0..3 {
        // The drivers take turns.
        let driver = Driver::of_seed(life as u64);
        let mut device = Device::mount(&mut memory, driver, flash, None, contents.now_s);
        device.check(&contents);
        let keys = contents.keys();
        for key in keys.iter().skip(life).step_by(7) {
            assert!(device.remove(key));
            contents.remove(key);
        }
        for n in 0..60 {
            let (key, value) = (format!("often {}", n % 20), text(n + life as u32, 70));
            device.put(key.as_bytes(), &value, None);
            contents.put(key.as_bytes(), &value, None);
        }
        device.put_in_pieces(b"long", &text(life as u32, 700), None);
        contents.put(b"long", &text(life as u32, 700), None);
        device.compact();
        device.check(&contents);
        flash = device.into_flash();
    }
    let end_s = contents.live.values().filter_map(|live| live.left_s).max().unwrap();
    contents.pass(end_s);
    Device::mount(&mut memory, Driver::Async, flash, None, contents.now_s).check(&contents);
}

#[test]
fn device_image_mounted_and_written_goes_on() {
    let (bytes, contents) = stored_file(WITH_SECRET);
    go_on::<4, 1024>(&bytes, contents);
    let (bytes, contents) = stored_file(WITHOUT_SECRET);
    go_on::<1, 4096>(&bytes, contents);
    let (bytes, contents) = stored_file(ONE_FREE);
    go_on::<8, 1024>(&bytes, contents);
}

fn service_made_anew(shape: &Shape) {
    let (files, contents) = shape.make();
    check_files(shape, &files, &contents);
    if mode().as_deref() == Some("write") {
        store(shape.image, &files, &contents);
    }
}

#[test]
fn golden_service_made_anew_holds_every_kind() {
    service_made_anew(&SMALL);
}

#[test]
fn golden_large_service_made_anew_holds_every_kind() {
    service_made_anew(&LARGE);
}

/// Takes the image of a device that was made now: stores it, or compares it with the stored one, where that is asked for.
fn device_made_anew(image: &str, bytes: Vec<u8>, contents: &Contents) {
    match mode().as_deref() {
        Some("write") => store(image, &flash(bytes), contents),
        Some("same") => {
            let stored = stored_file(image);
            assert_eq!(contents, &stored.1, "{image}");
            assert!(bytes == stored.0, "{image}: the same calls write other bytes");
        }
        _ => {}
    }
}

#[test]
fn golden_devices_made_anew_hold_every_kind() {
    let (bytes, contents) = golden_device::make::<4, 1024>(Some(SECRET));
    check::<4, 1024>(&bytes, &contents);
    device_made_anew(WITH_SECRET, bytes, &contents);
    let (bytes, contents) = golden_device::make::<1, 4096>(None);
    check::<1, 4096>(&bytes, &contents);
    device_made_anew(WITHOUT_SECRET, bytes, &contents);
    let (bytes, contents) = make_built();
    check_built(&bytes, &contents);
    device_made_anew(BUILT, bytes, &contents);
}

#[test]
fn golden_one_free_device_made_anew_holds_every_kind() {
    let (bytes, contents) = golden_one_free::make();
    check_one_free(&bytes, &contents);
    device_made_anew(ONE_FREE, bytes, &contents);
}
