//! A bit of a device's flash turns over, anywhere, and the mount succeeds. Every key reads as a value that was written to it or
//! as damaged. A wrong value is reported, the other keys read as before, and the host reads the same from the image.

use std::collections::BTreeMap;

use coldpress_core::compaction::CompactionTask;
use coldpress_embedded::flash::GetError;
use coldpress_std::clock::ManualClock;
use coldpress_std::image::Image;
use coldpress_tests::conform::{Adapter, DeviceTier, History, Model};
use coldpress_tests::driver::Driver;
use coldpress_tests::flash::Flash;
use coldpress_tests::sim::{Rng, STRIDE, mixed};

const HISTORY: History = History { seed: 1, keys: 60, value_bytes_max: 120, steps: 0 };
/// Bits turned over, one at a time, for each shape.
const FLIPS: u64 = 3_000;

/// The values that were written to each key, absence included.
type Written = BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>>;

fn fill(device: &mut dyn Adapter) -> (Model, Written) {
    let (mut rng, mut model, mut written) = (Rng::new(1), Model::default(), Written::new());
    for _ in 0..2_000 {
        let key = HISTORY.key(rng.below(HISTORY.keys));
        if rng.permille(150) {
            model.remove(&key, 0);
            device.remove(&key);
        } else {
            let value = mixed(rng.next_u64()).to_le_bytes().repeat(1 + rng.index(12));
            model.put(&key, &value, None);
            device.put(&key, &value, None);
        }
        let states = written.entry(key.clone()).or_insert_with(|| vec![None]);
        states.push(model.get(&key, 0).map(<[u8]>::to_vec));
    }
    (model, written)
}

#[derive(Debug, Default)]
struct Seen {
    reported: u32,
    older: u32,
    damaged: u32,
}

fn flip_everywhere<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(erase_value: u8) -> Seen {
    type Device<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> =
        DeviceTier<UNIT, SECTOR, SEGMENTS>;
    let clock: &'static ManualClock = Box::leak(Box::new(ManualClock::new(1_000_000)));
    let mut device: Device<UNIT, SECTOR, SEGMENTS> = Device::new(erase_value, Driver::Blocking, clock);
    let (model, written) = fill(&mut device);
    let bytes = device.into_flash().bytes().to_vec();
    let mut seen = Seen::default();
    for flip in (0..FLIPS).step_by(STRIDE) {
        let mut rng = Rng::new(mixed(flip));
        let (at, bit) = (rng.index(bytes.len()), u8::try_from(rng.below(8)).unwrap());
        let why = format!("bit {bit} at {} of segment {}", at % SECTOR, at / SECTOR);
        let mut flash: Flash<UNIT, SECTOR> = Flash::with_bytes(&bytes, erase_value);
        flash.flip(at, bit);
        let image = Image::read_from(flash.bytes().to_vec()).unwrap_or_else(|error| panic!("{why}: {error}"));
        let mut device: Device<UNIT, SECTOR, SEGMENTS> =
            Device::on(flash, Driver::of_seed(flip), clock).unwrap_or_else(|error| panic!("{why}: {error}"));
        let report = device.mount_report();
        let is_reported = report.damaged_records + report.quarantined_segments + report.torn_records > 0;
        seen.reported += u32::from(is_reported);
        for key in HISTORY.all_keys() {
            let found = device.try_get(&key);
            match (&found, image.get(&key, 0)) {
                (Ok(device), Ok(host)) => assert_eq!(*device, host, "{why}: key {}", key.escape_ascii()),
                (Err(GetError::Damaged), Err(_)) => seen.damaged += 1,
                (device, host) => panic!("{why}: the device says {device:?}, the host {host:?}"),
            }
            let Ok(value) = found else { continue };
            if value.as_deref() == model.get(&key, 0) {
                continue;
            }
            assert!(is_reported, "rule 8, {why}: key {} is lost without a report", key.escape_ascii());
            let states = written.get(&key).is_some_and(|states| states.contains(&value));
            assert!(states, "I-LOG-2, {why}: key {} reads {value:?}", key.escape_ascii());
            seen.older += 1;
        }
        // The tier goes on.
        device.put(b"after", b"v", None);
        device.run(CompactionTask::CompactData);
        assert_eq!(device.try_get(b"after"), Ok(Some(b"v".to_vec())), "{why}");
    }
    seen
}

#[test]
fn any_bit_of_a_flash_turned_over_is_never_a_silent_loss() {
    let seen = [
        flip_everywhere::<4, 4096, 16>(0xFF),
        flip_everywhere::<1, 1024, 40>(0x00),
        flip_everywhere::<16, 2048, 24>(0xFF),
    ];
    println!("{seen:?}");
    for seen in seen {
        assert!(seen.reported > 20 && seen.older + seen.damaged > 0, "{seen:?}");
    }
}
