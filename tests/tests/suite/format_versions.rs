//! Version 1 of the format: refused untouched by both adapters, and converted without a loss.
//!
//! `tests/data/version-1` holds files that the last build of that version wrote: the two partitions of a service, copied while
//! it was open, and the flash of a device.

use std::fs;
use std::path::{Path, PathBuf};

use coldpress_core::drive::Now;
use coldpress_core::format::{Format, HeaderError};
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashMountError, FlashTier, NorMedium, buckets_for,
};
use coldpress_std::clock::ManualClock;
use coldpress_std::image::{ConvertError, Image, convert, convert_tier};
use coldpress_std::inspect::{InspectError, PartitionLog, TierFacts};
use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{ColdTier, ColdTierConfig, MountError, OpenError};
use coldpress_tests::flash::Flash;

/// When the service's files were left, in seconds.
const LEFT_S: u32 = 1_700_000_100;
const DEVICE_S: u32 = 1_700_000_000;

static CLOCK: ManualClock = ManualClock::new(LEFT_S);

fn stored(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/version-1").join(name);
    zstd::decode_all(&fs::read(path).unwrap()[..]).unwrap()
}

fn pools() -> (AllocationManager, PoolCoordinator) {
    AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap()
}

fn service() -> ColdTierConfig {
    let builder = ColdTierConfig::builder().capacity_bytes(2 * 16 * 4096).segment_bytes(4096).partitions(2);
    builder.value_bytes_max(512).clock(&CLOCK).build().unwrap()
}

fn part(base: &Path, partition: u16) -> PathBuf {
    base.join("v1").join(format!("part-{partition:03}.cold"))
}

/// The directory of the service, with its files of version 1.
fn old_directory() -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("v1")).unwrap();
    for partition in 0..2 {
        fs::write(part(base.path(), partition), stored(&format!("part-{partition:03}.cold.zst"))).unwrap();
    }
    base
}

/// The values that the service had put, and did not remove or overwrite.
fn service_value(key: u32) -> Option<String> {
    match key % 3 {
        0 => None,
        1 => Some(format!("newer {}", key / 3)),
        _ => Some(format!("value of key {key}: {}", "cold ".repeat(key as usize % 40))),
    }
}

#[test]
fn service_of_version_1_is_refused_untouched() {
    let (_manager, pools) = pools();
    let base = old_directory();
    let before = fs::read(part(base.path(), 0)).unwrap();
    let refused = ColdTier::open(base.path(), "v1", service(), pools);
    let error = match refused {
        Err(error @ OpenError::Mount(MountError::Header(HeaderError::Version(1)))) => error,
        other => panic!("{other:?}"),
    };
    assert!(error.to_string().contains("convert"), "{error}");
    assert!(fs::read(part(base.path(), 0)).unwrap() == before);
}

#[test]
fn converted_service_has_every_value_and_expiry() {
    let (_manager, pools) = pools();
    let old = old_directory();
    let new = tempfile::tempdir().unwrap();
    fs::create_dir(new.path().join("v1")).unwrap();
    let mut records = 0;
    for partition in 0..2 {
        let (from, to) = (part(old.path(), partition), part(new.path(), partition));
        assert_eq!(Image::open(&from).unwrap().geometry().format(), Format::One);
        let done = convert(&from, &to, None).unwrap();
        assert_eq!(done.damaged, 0);
        records += done.records;
        assert_eq!(Image::open(&to).unwrap().geometry().format(), Format::Two);
        assert!(convert(&from, &to, None).is_err(), "what is there is never overwritten");
    }
    assert_eq!(records, 40 + 10);
    let tier = ColdTier::open(new.path(), "v1", service(), pools).unwrap();
    for key in 0..60 {
        let found = tier.get(format!("key-{key}").as_bytes()).unwrap();
        assert_eq!(found.map(|value| String::from_utf8(value).unwrap()), service_value(key), "key {key}");
    }
    for key in 0..10 {
        let name = format!("ttl-{key}");
        let expected = Some(format!("expires {key}").into_bytes());
        assert_eq!(tier.get(name.as_bytes()).unwrap(), expected, "{name}");
        let image = (0..2).map(|partition| Image::open(&part(new.path(), partition)).unwrap());
        let expires_s = 1_700_000_000 + 1_000 + key;
        let is_there = image.into_iter().any(|image| {
            image.get(name.as_bytes(), expires_s - 1).unwrap().is_some()
                && image.get(name.as_bytes(), expires_s).unwrap().is_none()
        });
        assert!(is_there, "{name} expires when it did");
    }
    tier.put(b"key-0", b"goes on").unwrap();
    tier.close().unwrap();
}

#[test]
fn directory_is_converted_whole_and_keeps_its_schema() {
    let (_manager, pools) = pools();
    let old = old_directory();
    let new = tempfile::tempdir().unwrap();
    let (from, to) = (old.path().join("v1"), new.path().join("v1"));
    let done = convert_tier(&from, &to).unwrap();
    assert_eq!((done.records, done.damaged), (50, 0));
    assert!(convert_tier(&from, &to).is_err(), "what is there is never overwritten");
    let builder =
        || ColdTierConfig::builder().capacity_bytes(2 * 16 * 4096).segment_bytes(4096).partitions(2);
    let config =
        builder().value_bytes_max(512).clock(&CLOCK).schema("words").adopt_schema(true).build().unwrap();
    let tier = ColdTier::open(new.path(), "v1", config, pools.clone()).unwrap();
    assert_eq!(tier.len(), Ok(50));
    let again = new.path().join("again");
    assert!(matches!(convert_tier(&to, &again), Err(ConvertError::Open)));
    tier.close().unwrap();
    assert_eq!(convert_tier(&to, &again).unwrap().records, 50);
    let refused = ColdTier::open(new.path(), "again", service(), pools);
    assert!(matches!(refused, Err(OpenError::Schema { .. })), "{refused:?}");
}

type Memory = FlashMemory<16, { buckets_for(100) }, 128>;

#[test]
fn device_of_version_1_is_refused_and_converted() {
    let bytes = stored("device.flash.zst");
    let now = Now { monotonic_ms: 0, wall_s: DEVICE_S };
    let mut memory = Memory::new();
    let medium = |bytes: &[u8]| NorMedium::new(Flash::<4, 1024>::with_bytes(bytes, 0xFF));
    let mut tier = FlashTier::new(FlashConfig::new(1024, 1), &mut memory, medium(&bytes)).unwrap();
    let expected = MountError::Header(HeaderError::Version(1));
    assert_eq!(tier.mount(now), Err(FlashMountError::Mount(expected)));
    assert!(tier.into_medium().flash().bytes() == bytes, "it is left as it is");

    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("old"), dir.path().join("new"));
    fs::write(&from, &bytes).unwrap();
    let secret = [0x5A; 16];
    let done = convert(&from, &to, Some(secret)).unwrap();
    assert_eq!(done.damaged, 0);
    let converted = fs::read(&to).unwrap();
    assert_eq!(Image::open(&to).unwrap().store().hash_key, secret);
    let mut memory = Memory::new();
    let mut tier = FlashTier::new(FlashConfig::new(1024, 1), &mut memory, medium(&converted)).unwrap();
    tier.mount(now).unwrap();
    let mut out = [0; 128];
    for key in 0..40 {
        let expected = match key % 3 {
            0 if key < 39 => None,
            1 if key < 39 => Some(format!("newer {}", key / 3)),
            _ => Some(format!("device value {key}")),
        };
        let found = tier.get(now, format!("key-{key}").as_bytes(), &mut out).unwrap();
        assert_eq!(found, expected.as_deref().map(str::as_bytes), "key {key}");
    }
    for key in 0..10 {
        let found = tier.get(now, format!("ttl-{key}").as_bytes(), &mut out).unwrap();
        assert_eq!(found, Some(&b"expires"[..]));
    }
    let image = Image::open(&to).unwrap();
    let long: Vec<u8> = (0..4).flat_map(|piece| [piece; 70]).collect();
    assert_eq!(image.get(b"long", DEVICE_S).unwrap(), Some(long));
    assert_eq!(image.get(b"ttl-3", DEVICE_S + 1_003).unwrap(), None);
}

#[test]
fn inspection_of_an_old_tier_names_the_conversion() {
    let base = old_directory();
    let facts = TierFacts::read(&base.path().join("v1")).unwrap();
    assert_eq!((facts.format_version(), facts.partitions.len()), (Some(1), 2));
    let refusals =
        [facts.check().unwrap_err(), facts.config().unwrap_err(), PartitionLog::open(&facts, 0).unwrap_err()];
    for refused in refusals {
        assert!(matches!(&refused, InspectError::Format { version: 1, .. }), "{refused:?}");
        assert!(refused.to_string().contains("coldpress image convert"), "{refused}");
    }
}
