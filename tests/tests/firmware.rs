//! Builds each firmware example, runs it in an emulator and checks what it says.

use core::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use coldpress_tests::firmware::{self, CORTEX_M, Firmware, MICROBIT, Missing, RISCV, Run};

/// Says something that a passing run shows too: written past the test's capture.
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

/// Builds and runs a program; says loudly where it can't be, and fails where it does not end with 0.
fn ran(firmware: &Firmware, program: &str) -> Option<(PathBuf, Run)> {
    let elf = built(firmware, program)?;
    let folder = tempfile::tempdir().unwrap();
    let run = firmware.run(&elf, folder.path()).unwrap();
    let run = run.map_err(|missing| skipped(firmware, &missing)).ok()?;
    let mut report = format!("{}: {:?}\n", firmware.folder, firmware::sizes(&elf).unwrap());
    for line in &run.log {
        let _ = writeln!(report, "  {line}");
    }
    say(&report);
    assert_eq!(run.code, Some(0), "{report}");
    Some((elf, run))
}

/// The pool gave six of its eight pages of 128 bytes back (I-POOL-2), a step met it held and passed by, and the RAM that
/// it was compiled to take is what was linked.
fn assert_pool(elf: &Path, run: &Run) {
    let figures = run.figures();
    assert_eq!((figures["pool_pages"], figures["pool_bytes"]), (6, 768));
    assert!(figures["pool_contended"] >= 1);
    assert_eq!(figures["pool_ram_bytes"], firmware::statics(elf, &["firmware_exercise", "pool"]).unwrap());
}

#[test]
fn cortex_m3_interrupt_defragments_its_static_pool() {
    let Some((elf, run)) = ran(&CORTEX_M, "coldpress-firmware-cortex-m") else { return };
    assert_pool(&elf, &run);
}

#[test]
fn cortex_m0_flash_survives_a_reset_and_its_interrupt_defragments() {
    let Some((elf, run)) = ran(&MICROBIT, "coldpress-firmware-microbit") else { return };
    assert_pool(&elf, &run);
    // Before the reset, and after it.
    assert_eq!(run.log.iter().filter(|line| line.contains("resets after")).count(), 1);
    assert!(run.log.contains(&"info flash_survived=true".to_owned()));
}

#[test]
fn riscv_loop_defragments_its_static_pool() {
    let Some((elf, run)) = ran(&RISCV, "coldpress-firmware-riscv") else { return };
    assert_pool(&elf, &run);
}
