//! Both adapters give the same answers to the same histories, and read each other's images. A device mounts by both drivers in turn.

use coldpress_core::codec::CodecId;
use coldpress_core::format::{Geometry, Identity, Store};
use coldpress_core::recovery::MountError;
use coldpress_embedded::flash::{FlashMountError, PutError};
use coldpress_std::clock::ManualClock;
use coldpress_std::image::{Image, build, build_for};
use coldpress_tests::conform::{Adapter, DEVICE_RECORD_MAX, DeviceTier, History, HostTier, Model, time};
use coldpress_tests::driver::Driver;
use coldpress_tests::flash::Flash;
use coldpress_tests::sim::{Rng, mixed};

const STORE: Store = Store { id: 7, hash_key: [0; 16], partition: 0, partitions: 1 };

fn clock() -> &'static ManualClock {
    Box::leak(Box::new(ManualClock::new(1_000_000)))
}

/// Small enough that no adapter is ever full, long enough that each compacts many times.
const fn history(seed: u64) -> History {
    History { seed, keys: 60, value_bytes_max: 120, steps: 3_000 }
}

type Word = DeviceTier<4, 4096, 16>;
type Byte = DeviceTier<1, 1024, 40>;
type Wide = DeviceTier<32, 8192, 14>;

#[test]
fn same_histories_on_both_adapters_get_the_same_answers() {
    for seed in 1..=3 {
        let clock = clock();
        let mut model = Model::default();
        let mut host = HostTier::new(16 << 10, 20, clock);
        // The driver of the first life.
        let first = Driver::of_seed(seed);
        let (mut word, mut byte, mut wide) = (
            Word::new(0xFF, first, clock),
            Byte::new(0xFF, first.other(), clock),
            Wide::new(0x00, first, clock),
        );
        let adapters: &mut [&mut dyn Adapter] = &mut [&mut host, &mut word, &mut byte, &mut wide];
        history(seed).run(adapters, clock, &mut model);
        for adapter in adapters {
            let image = Image::read_from(adapter.image()).unwrap();
            let why = format!("seed {seed}, {}", adapter.name());
            model.check_image(&image, history(seed).all_keys(), time(clock), &why);
            assert!(image.segments().iter().any(|segment| segment.erases > 1), "{why}: never compacted");
        }
    }
}

/// An image that was built on the host opens on a device, which goes on with it. The image of that device opens on the host.
fn cross<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(erase_value: u8, seed: u64) {
    let clock = clock();
    let history = History { steps: 1_500, ..history(seed) };
    let shape = [SECTOR, SEGMENTS, UNIT].map(|number| u32::try_from(number).unwrap());
    let geometry = Geometry::new(shape[0], shape[1], shape[2], erase_value, Identity::KeyBytes).unwrap();
    let mut model = Model::default();
    let record_bytes_max = (geometry.usable_bytes() / 4).min(u32::try_from(DEVICE_RECORD_MAX).unwrap());
    let built = build_for(geometry, STORE, record_bytes_max, time(clock), |image| {
        let mut rng = Rng::new(seed);
        for _ in 0..1_200 {
            let key = history.key(rng.below(history.keys));
            if rng.permille(150) {
                model.remove(&key, 0);
                image.remove(&key)?;
                continue;
            }
            let value = mixed(rng.next_u64()).to_le_bytes().repeat(1 + rng.index(12));
            let until_s =
                rng.permille(200).then(|| time(clock) + 500 + 1_000 * u32::try_from(rng.below(9)).unwrap());
            model.put(&key, &value, until_s);
            image.put(&key, &value, CodecId::Raw, until_s)?;
        }
        Ok::<(), coldpress_std::image::BuildError>(())
    });
    let built = built.unwrap();
    let image = Image::read_from(built.clone()).unwrap();
    model.check_image(&image, history.all_keys(), time(clock), "built on the host");

    clock.advance_s(3_000);
    let mut device: DeviceTier<UNIT, SECTOR, SEGMENTS> =
        DeviceTier::with_image(&built, erase_value, Driver::of_seed(seed), clock).unwrap();
    history.compare(&mut [&mut device], clock, &model);
    history.run(&mut [&mut device], clock, &mut model);
    let image = Image::read_from(device.image()).unwrap();
    assert_eq!(image.geometry(), &geometry);
    model.check_image(&image, history.all_keys(), time(clock), "left by the device");
}

#[test]
fn images_cross_both_ways_for_every_shape() {
    cross::<4, 4096, 16>(0xFF, 11);
    cross::<1, 1024, 40>(0xFF, 12);
    cross::<2, 2048, 24>(0xFF, 13);
    cross::<8, 2048, 32>(0xFF, 14);
    cross::<16, 4096, 20>(0xFF, 15);
    cross::<32, 8192, 14>(0x00, 16);
    cross::<4, 4096, 16>(0x00, 17);
}

/// The flash of a device after a cut reads the same on the host as on the device, and holds all acknowledged writes.
#[test]
fn flash_after_a_power_cut_reads_the_same_on_host_and_device() {
    let clock = clock();
    let history = history(21);
    let mut torn = 0;
    for seed in 0..150 {
        let mut rng = Rng::new(mixed(seed));
        let mut model = Model::default();
        let mut flash: Flash<4, 4096> = Flash::new(16, 0xFF);
        flash.cut_after(2 + rng.below(1_500), seed);
        let driver = Driver::of_seed(seed);
        let mut device: DeviceTier<4, 4096, 16> = DeviceTier::on(flash, driver, clock).unwrap();
        let unsure = loop {
            let key = history.key(rng.below(history.keys));
            let value = rng.next_u64().to_le_bytes().repeat(1 + rng.index(10));
            let (before, is_put) = (model.clone(), !rng.permille(150));
            let outcome = if is_put {
                model.put(&key, &value, None);
                device.try_put(&key, &value, None)
            } else {
                model.remove(&key, 0);
                device.try_remove(&key).map(drop)
            };
            match outcome {
                Ok(()) => {}
                Err(PutError::Medium(_)) => break (key, before),
                Err(error) => panic!("seed {seed}: {error}"),
            }
        };
        let mut flash = device.into_flash();
        flash.power_on();
        let image = Image::read_from(flash.bytes().to_vec()).unwrap();
        torn += u32::from((0..16).any(|segment| image.examine(segment).unwrap().torn_bytes > 0));
        let mut device: DeviceTier<4, 4096, 16> = DeviceTier::on(flash, driver.other(), clock).unwrap();
        let (key, before) = unsure;
        for other in history.all_keys() {
            let found = image.get(&other, 0).unwrap();
            assert_eq!(device.get(&other), found, "seed {seed}: key {}", other.escape_ascii());
            let allowed = [model.get(&other, 0), before.get(&other, 0)];
            let is_allowed =
                found.as_deref() == allowed[0] || (other == key && found.as_deref() == allowed[1]);
            assert!(is_allowed, "I-LOG-4: seed {seed}: key {}", other.escape_ascii());
        }
    }
    assert!(torn > 10, "{torn} of the cuts tore a record");
}

fn long_values(driver: Driver) {
    let clock = clock();
    let mut device = Word::new(0xFF, driver, clock);
    let long =
        |version: u64| -> Vec<u8> { (0..250).flat_map(|at| mixed(version ^ at).to_le_bytes()).collect() };
    device.put(b"short", b"v", None);
    device.put_in_pieces(b"long", &long(1), 300).unwrap();
    device.put_in_pieces(b"a name longer than seven bytes", &long(2), 127).unwrap();
    device.put_in_pieces(b"long", &long(3), 200).unwrap();
    let image = Image::read_from(device.image()).unwrap();
    assert_eq!(image.get(b"short", 0), Ok(Some(b"v".to_vec())));
    assert_eq!(image.get(b"long", 0), Ok(Some(long(3))));
    assert_eq!(image.get(b"a name longer than seven bytes", 0), Ok(Some(long(2))));
    assert_eq!((image.len(), device.len()), (3, 3));
    device.remove(b"long");
    let image = Image::read_from(device.image()).unwrap();
    assert_eq!((image.get(b"long", 0), image.len()), (Ok(None), 2));
}

#[test]
fn long_values_in_pieces_of_a_device_open_whole_on_the_host() {
    Driver::BOTH.into_iter().for_each(long_values);
}

#[test]
fn image_of_the_other_adapter_is_refused_by_both() {
    let clock = clock();
    let geometry = Geometry::new(4096, 16, 4, 0xFF, Identity::KeyedHash).unwrap();
    let store = Store { hash_key: [3; 16], ..STORE };
    let image = build(geometry, store, time(clock), |image| image.put(b"key", b"v", CodecId::Raw, None));
    let image = image.unwrap();
    for driver in Driver::BOTH {
        let refused = Word::with_image(&image, 0xFF, driver, clock).unwrap_err();
        assert!(matches!(refused, FlashMountError::Mount(MountError::Header(_))), "{refused:?}");
    }

    // An image of the right length, but written by a device.
    let geometry = Geometry::new(16 << 10, 20, 1, 0x00, Identity::KeyBytes).unwrap();
    let image = build(geometry, STORE, time(clock), |image| image.put(b"key", b"v", CodecId::Raw, None));
    let (dir, image) = (tempfile::tempdir().unwrap(), image.unwrap());
    let place = dir.path().join("conform");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("LOCK"), "").unwrap();
    std::fs::write(place.join("part-000.cold"), &image).unwrap();
    let (_manager, pools) = coldpress_std::pool::AllocationManager::new(
        &coldpress_std::pool::PoolConfig::builder().build().unwrap(),
    )
    .unwrap();
    let config = coldpress_std::ColdTierConfig::builder()
        .capacity_bytes(320 << 10)
        .segment_bytes(16 << 10)
        .clock(clock)
        .build()
        .unwrap();
    let refused = coldpress_std::ColdTier::open(dir.path(), "conform", config, pools);
    assert!(matches!(refused, Err(coldpress_std::OpenError::Mount(MountError::Header(_)))), "{refused:?}");
    assert_eq!(std::fs::read(place.join("part-000.cold")).unwrap(), image, "it is untouched");
}
