//! Builds each firmware example, runs it in an emulator and checks its log.

use core::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use coldpress_core::codec::CodecId;
use coldpress_core::format::{Geometry, Identity};
use coldpress_firmware_exercise::model::{Model, TTL_S, Write, key_bytes, value_of};
use coldpress_std::image::{Image, build_for};
use coldpress_tests::firmware::{
    self, CORTEX_M, CORTEX_M_COUNTED, EMBASSY, Firmware, INSTRUCTIONS, MICROBIT, Missing, RISCV, Run, STORES,
    StoreSize,
};

/// Prints a text that a passing run shows too: written past the test's capture.
fn say(text: &str) {
    io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

fn skipped(firmware: &Firmware, missing: &Missing) {
    say(&format!("!!! SKIPPED {}: {missing}", firmware.folder));
}

/// Builds a program; says loudly where it can't be.
fn built(firmware: &Firmware, program: &str) -> Option<PathBuf> {
    firmware.build(program).unwrap().map_err(|missing| skipped(firmware, &missing)).ok()
}

/// Builds and runs a program in a folder; says loudly where it can't be, and fails where it does not end with 0.
fn ran(firmware: &Firmware, program: &str, folder: &Path) -> Option<(PathBuf, Run)> {
    let elf = built(firmware, program)?;
    let run = firmware.run(&elf, folder).unwrap();
    let run = run.map_err(|missing| skipped(firmware, &missing)).ok()?;
    let mut report = format!("{}: {:?}\n", firmware.folder, firmware::sizes(&elf).unwrap());
    for line in &run.log {
        let _ = writeln!(report, "  {line}");
    }
    say(&report);
    assert_eq!(run.code, Some(0), "{report}");
    Some((elf, run))
}

/// Checks the last life. Every tier call stayed within one erase and one segment of programming. Of 1,000 keys 143 expired, or
/// as many of 200. Compaction had six of the pool's eight pages of 128 bytes given back.
fn assert_life(run: &Run, keys: u64, expired: u64, segment_bytes: u64) {
    let figures = run.stats();
    assert_eq!((figures["life"], figures["keys"], figures["expired"]), (2, keys, expired));
    assert!(figures["worst_erases"] <= 1 && figures["worst_programmed"] <= segment_bytes);
    assert_eq!(figures["log_pool_bytes"], 768);
    assert!(figures["log_bytes"] > 0 && figures["erases"] > 100);
    assert_eq!(
        run.log.iter().filter(|line| line.contains("life=")).count(),
        2,
        "a reset is between the lives"
    );
}

/// The host reads the image that the firmware left, and finds the content of the history, key by key.
fn assert_image<const KEYS: usize, const VALUE: usize>(path: &Path, overwrites: u32) {
    let image = Image::open(path).unwrap();
    assert_eq!(image.mount_report().damaged_records, 0);
    let mut model = Model::<KEYS>::new();
    model.recall(overwrites);
    let expired = model.expire() as usize;
    for (key, version) in model.iter() {
        let wanted = version.map(|version| value_of::<VALUE>(key, version).to_vec());
        assert_eq!(image.get(&key_bytes(key), image.clock_s()).unwrap(), wanted, "key {key}");
    }
    // And the key that counts the lives. A mount counts expired values whose segments were not cleaned since.
    let keys = model.len() + 1;
    assert!((keys..=keys + expired).contains(&image.len()), "{} keys, expected {keys}", image.len());
}

#[test]
fn cortex_m3_lives_twice_driven_by_its_interrupt() {
    let folder = tempfile::tempdir().unwrap();
    let Some((elf, run)) = ran(&CORTEX_M, "coldpress-firmware-cortex-m", folder.path()) else { return };
    assert_life(&run, 1_000 - 2 * 143 + 1, 143, 4_096);
    assert_eq!(run.stats()["flash_refused"], 0);
    assert!(run.stats()["contended"] > 0, "the interrupt met the store held, and passed by");
    assert_image::<1_000, 64>(&folder.path().join("flash.img"), 5_000);
    // The linked memory equals the budget with which the firmware was compiled.
    let linked =
        ["MEMORY", "STORE"].map(|name| firmware::statics(&elf, &["firmware_cortex_m", name]).unwrap());
    assert_eq!(run.stats()["store_ram_bytes"], linked.iter().sum::<u64>());
    // Memory and pages of zeros take no space in the image.
    for name in [["firmware_cortex_m", "MEMORY"], ["firmware_exercise", "REGION"]] {
        assert_eq!(
            firmware::blank_statics(&elf, &name).unwrap(),
            firmware::statics(&elf, &name).unwrap(),
            "{name:?}"
        );
    }
}

#[test]
fn cortex_m0_lives_twice_on_its_own_flash() {
    let folder = tempfile::tempdir().unwrap();
    let Some((elf, run)) = ran(&MICROBIT, "coldpress-firmware-microbit", folder.path()) else { return };
    assert_life(&run, 200 - 2 * 29 + 1, 29, 1_024);
    assert_image::<200, 24>(&folder.path().join("flash.img"), 2_000);
    let linked = firmware::statics(&elf, &["firmware_microbit", "MEMORY"]).unwrap();
    assert_eq!(run.stats()["store_ram_bytes"], linked);
}

#[test]
fn cortex_m3_lives_twice_under_an_async_executor() {
    let folder = tempfile::tempdir().unwrap();
    let Some((elf, run)) = ran(&EMBASSY, "coldpress-firmware-embassy", folder.path()) else { return };
    let lives: Vec<_> = run.rows().into_iter().filter(|row| row.contains_key("life")).collect();
    let other_tasks: Vec<_> = run.rows().into_iter().filter(|row| row.contains_key("blinks")).collect();
    assert_eq!((lives.len(), other_tasks.len()), (2, 2), "a reset is between the lives");
    // Of 200 keys 29 are removed, and as many expire; one key counts the lives. Of 1,200 puts one in four was dropped.
    assert_eq!((lives[0]["keys"], lives[0]["dropped"]), (200 - 29 + 1, 300));
    assert_eq!((lives[1]["life"], lives[1]["keys"], lives[1]["expired"]), (2, 200 - 2 * 29 + 1, 29));
    assert!(lives[1]["erases"] > 100, "{lives:?}");
    // The other tasks ran while the flash worked: one blinked, one used the flash in between.
    assert!(other_tasks[0]["blinks"] > 1_000 && other_tasks[0]["looks"] > 50, "{other_tasks:?}");
    assert_eq!(run.stats()["flash_refused"], 0);
    assert_image::<200, 64>(&folder.path().join("flash.img"), 1_000);
    let linked = firmware::statics(&elf, &["firmware_embassy", "MEMORY"]).unwrap();
    assert_eq!(run.stats()["store_ram_bytes"], linked);
}

/// An image with the history of a first life, as a host builds it for a device: of 64 sectors of 4 KiB, programmed in words.
fn host_built() -> Vec<u8> {
    let geometry = Geometry::new(4_096, 64, 4, 0xFF, Identity::KeyBytes).unwrap();
    let store = coldpress_core::format::Store { id: 7, hash_key: [0; 16], partition: 0, partitions: 1 };
    // The longest records that the firmware takes.
    let built = build_for(geometry, store, 88, 1_000_000, |image| {
        Model::<1_000>::new().play(5_000, |write, key, version| {
            let (key_bytes, value) = (key_bytes(key), value_of::<64>(key, version));
            match write {
                Write::Put => image.put(&key_bytes, &value, CodecId::Raw, None),
                Write::PutWithTtl => image.put(&key_bytes, &value, CodecId::Raw, Some(1_000_000 + TTL_S)),
                Write::Remove => image.remove(&key_bytes),
            }
        })?;
        image.put(b"lives", &[1], CodecId::Raw, None)
    });
    built.unwrap()
}

#[test]
fn cortex_m3_lives_on_with_an_image_built_on_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flash.img");
    fs::write(&path, host_built()).unwrap();
    let Some((_, run)) = ran(&CORTEX_M, "coldpress-firmware-cortex-m", folder.path()) else { return };
    let figures = run.stats();
    assert_eq!((figures["life"], figures["keys"], figures["expired"]), (2, 1_000 - 2 * 143 + 1, 143));
    assert_eq!(run.log.iter().filter(|line| line.contains("life=")).count(), 1, "there was no first life");
    assert_image::<1_000, 64>(&path, 5_000);
}

#[test]
fn riscv_loop_defragments_its_static_pool() {
    let folder = tempfile::tempdir().unwrap();
    let Some((elf, run)) = ran(&RISCV, "coldpress-firmware-riscv", folder.path()) else { return };
    let figures = run.stats();
    // Six of eight pages of 128 bytes (I-POOL-2); a step met the pool held and passed by; the RAM is as compiled.
    assert_eq!((figures["pool_pages"], figures["pool_bytes"]), (6, 768));
    assert!(figures["pool_contended"] >= 1);
    assert_eq!(figures["pool_ram_bytes"], firmware::statics(&elf, &["firmware_exercise", "pool"]).unwrap());
}

#[test]
fn cortex_m3_polls_take_as_many_instructions_however_many_keys() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_, run)) = ran(&CORTEX_M_COUNTED, INSTRUCTIONS, folder.path()) else { return };
    let Some((_, again)) = ran(&CORTEX_M_COUNTED, INSTRUCTIONS, folder.path()) else { return };
    assert_eq!(run.log, again.log, "counts of instructions repeat exactly");
    let kinds = ["poll", "compact", "rebuild", "expire", "sample"];
    let rows: Vec<_> = run.rows().into_iter().filter(|row| row.contains_key("keys")).collect();
    let most: Vec<_> =
        rows.iter().map(|row| (row["keys"], kinds.iter().map(|kind| row[kind]).max().unwrap())).collect();
    say(&format!("keys and the most instructions in one poll: {most:?}"));
    assert_eq!(most.iter().map(|(keys, _)| *keys).collect::<Vec<_>>(), [100, 500, 1_000, 2_000]);
    // Twenty times the keys, and sixty segments in use for three: a pass over their table costs little.
    assert!(most[3].1 * 3 < most[0].1 * 4, "{most:?}");
    // A mount also searches for places where the index is full of keys, removed ones included.
    let mount = rows.iter().map(|row| row["mount"]).max().unwrap();
    say(&format!("the most instructions in one step of a mount: {mount}"));
    assert!(mount < most[0].1 * 3, "{mount}, {most:?}");
}

/// The flash that each store takes, call by call. The RAM of the tier is held when its program is compiled.
#[test]
fn flash_of_a_store_grows_with_its_calls_and_is_bounded() {
    for firmware in STORES {
        let sizes = match firmware::store_sizes(&firmware).unwrap() {
            Ok(sizes) => sizes,
            Err(missing) => return skipped(&firmware, &missing),
        };
        let mut report = format!("flash of a store, {}\n", firmware.target);
        for StoreSize { store, calls, flash_bytes } in &sizes {
            let _ = writeln!(report, "  {store:<20}{calls:<26}{flash_bytes:>8}");
        }
        say(&report);
        let of = |store: &str| -> Vec<u64> {
            sizes.iter().filter(|size| size.store == store).map(|size| size.flash_bytes).collect()
        };
        // Each program makes the calls of the one before it, and one more.
        assert!(sizes.iter().all(|size| size.flash_bytes > 0) && of("coldpress").is_sorted(), "{report}");
        assert!(of("sequential-storage").is_sorted(), "{report}");
        assert!(of("coldpress").iter().all(|bytes| *bytes < 97 << 10), "{report}");
    }
}
