//! Builds the firmware examples, runs them in an emulator and reads their logs.
//!
//! A firmware logs through defmt over semihosting, so its output is decoded with its own ELF file, and ends the emulator with
//! its exit code. A figure is a word `name=number` of a log line. A firmware that this machine can't build or run is
//! [`Missing`], with the reason and the packages to install.

mod elf;
mod emulator;
mod stores;

use core::fmt;
use std::collections::BTreeMap;
use std::env;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use elf::{Sizes, blank_statics, sizes, statics};
pub use stores::{STORES, StoreSize, store_sizes};

/// The exit code by which `.ci/bare-metal` says that it has no compiler for the target.
const SKIPPED: i32 = 77;

/// One firmware example and the emulated board it is for.
#[derive(Debug, Clone, Copy)]
pub struct Firmware {
    /// Its folder below `examples`.
    pub folder: &'static str,
    /// The compiler's name of the processor.
    pub target: &'static str,
    /// The program that emulates it.
    pub emulator: &'static str,
    /// The emulator's name of the board.
    pub machine: &'static str,
    /// Further options of the emulator for the board.
    pub options: &'static [&'static str],
    /// The emulator counts instructions, and each takes 2 to the power of this many nanoseconds, so that runs are alike.
    pub shift: u8,
}

/// A Cortex-M3 with much RAM.
pub const CORTEX_M: Firmware = Firmware {
    folder: "firmware-cortex-m",
    target: "thumbv7m-none-eabi",
    emulator: "qemu-system-arm",
    machine: "mps2-an385",
    options: &[],
    shift: 5,
};

/// The same board under an async executor.
pub const EMBASSY: Firmware = Firmware { folder: "firmware-embassy", ..CORTEX_M };

/// The same at a pace at which its timer counts every instruction, and a long call still fits: for its program
/// [`INSTRUCTIONS`].
pub const CORTEX_M_COUNTED: Firmware = Firmware { shift: 7, ..CORTEX_M };

/// The program of [`CORTEX_M_COUNTED`] that counts the instructions of calls of a flash tier.
pub const INSTRUCTIONS: &str = "instructions";

/// A Cortex-M0 without compare-and-swap, with the flash controller of its part.
pub const MICROBIT: Firmware = Firmware {
    folder: "firmware-microbit",
    target: "thumbv6m-none-eabi",
    emulator: "qemu-system-arm",
    machine: "microbit",
    // The part with 32 KiB of RAM, where the board itself has the one with 16.
    options: &["-global", "nrf51-soc.sram-size=32768"],
    shift: 6,
};

/// A RISC-V with multiplication and compressed instructions, but no atomics.
pub const RISCV: Firmware = Firmware {
    folder: "firmware-riscv",
    target: "riscv32imc-unknown-none-elf",
    emulator: "qemu-system-riscv32",
    machine: "sifive_e",
    options: &[],
    shift: 6,
};

/// Why a firmware can't be built or run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    /// The firmware's exit code; `None` when it was stopped after its time.
    pub code: Option<i32>,
    /// Its decoded log, one line an entry, the level first.
    pub log: Vec<String>,
}

impl Run {
    /// Every word `name=number` of the log; the last of a name counts.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<&str, u64> {
        self.rows().into_iter().flatten().collect()
    }

    /// The words `name=number` of each line of the log.
    #[must_use]
    pub fn rows(&self) -> Vec<BTreeMap<&str, u64>> {
        self.log.iter().map(|line| Self::row(line)).collect()
    }

    fn row(line: &str) -> BTreeMap<&str, u64> {
        let words = line.split(' ');
        words
            .filter_map(|word| word.split_once('='))
            .filter_map(|(n, v)| Some((n, v.parse().ok()?)))
            .collect()
    }
}

impl Firmware {
    /// Builds a program of it and returns its ELF file, or tells what is missing.
    ///
    /// # Errors
    /// When the build itself fails, with the compiler's output.
    pub fn build(&self, program: &str) -> io::Result<Result<PathBuf, Missing>> {
        let root = root();
        let mut build = Command::new("bash");
        build.arg(root.join(".ci/bare-metal")).args([
            "build",
            self.target,
            "--release",
            "--locked",
            "--bin",
            program,
        ]);
        // Cargo sets these for the process of a test, not for another compiler.
        build.env_remove("LD_LIBRARY_PATH").env_remove("CARGO_ENCODED_RUSTFLAGS");
        let output =
            build.current_dir(root.join("examples").join(self.folder)).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {
                let built =
                    target_folder().join("bare-metal").join(self.target).join("release").join(program);
                Ok(Ok(built.canonicalize()?))
            }
            Some(SKIPPED) => Ok(Err(Missing(format!(
                "{}: install a target (rustup target add {}) or, on Debian, rustc-web cargo-web rust-web-src lld",
                said.trim(),
                self.target
            )))),
            code => Err(io::Error::other(format!("{}: {program}: exit code {code:?}\n{said}", self.folder))),
        }
    }

    /// Runs an ELF file in the emulator with `folder` as its working directory, or tells what is missing.
    ///
    /// # Errors
    /// When the emulator can't be started, or its output is no log.
    pub fn run(&self, elf: &Path, folder: &Path) -> io::Result<Result<Run, Missing>> {
        if !self.has_emulator() {
            let package = if self.emulator == "qemu-system-arm" { self.emulator } else { "qemu-system-misc" };
            return Ok(Err(Missing(format!("no {}: install it (Debian: {package})", self.emulator))));
        }
        let (code, bytes) = emulator::run(self, elf, folder)?;
        Ok(Ok(Run { code, log: elf::decode(elf, &bytes)? }))
    }

    fn has_emulator(&self) -> bool {
        let version = Command::new(self.emulator).arg("--version").stdin(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The target folder, which `.ci/bare-metal` uses, too.
fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
