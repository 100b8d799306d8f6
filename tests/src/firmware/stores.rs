//! The flash that a store takes: of programs that differ in their store and its calls alone.

use std::io;

use serde::Serialize;

use super::{CORTEX_M, Firmware, MICROBIT, Missing, sizes};

const FOLDER: &str = "firmware-sizes";

/// The programs, for a Cortex-M3 and a Cortex-M0.
pub const STORES: [Firmware; 2] =
    [Firmware { folder: FOLDER, ..CORTEX_M }, Firmware { folder: FOLDER, ..MICROBIT }];

/// The program without a store.
const NOTHING: &str = "size-nothing";

/// Programs, each with its store and the calls that it makes.
const PROGRAMS: [(&str, &str, &str); 6] = [
    ("size-coldpress-mount", "coldpress", "mount"),
    ("size-coldpress-get", "coldpress", "mount, get"),
    ("size-coldpress-put", "coldpress", "mount, get, put"),
    ("size-coldpress-poll", "coldpress", "mount, get, put, poll"),
    ("size-sequential-get", "sequential-storage", "get"),
    ("size-sequential-put", "sequential-storage", "get, put"),
];

/// The flash that a store takes for some calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StoreSize {
    /// The store.
    pub store: &'static str,
    /// The calls that the program makes.
    pub calls: &'static str,
    /// Code, constants and initial values of statics, beyond those of the program without a store.
    pub flash_bytes: u64,
}

/// Builds the programs of [`STORES`] for a part and measures them, or tells what is missing.
///
/// # Errors
/// When a build fails, or an ELF file can't be read.
pub fn store_sizes(firmware: &Firmware) -> io::Result<Result<Vec<StoreSize>, Missing>> {
    let nothing = match firmware.build(NOTHING)? {
        Ok(elf) => sizes(&elf)?.flash_bytes,
        Err(missing) => return Ok(Err(missing)),
    };
    let mut found = Vec::new();
    for (program, store, calls) in PROGRAMS {
        match firmware.build(program)? {
            Ok(elf) => {
                let flash_bytes = sizes(&elf)?.flash_bytes.saturating_sub(nothing);
                found.push(StoreSize { store, calls, flash_bytes });
            }
            Err(missing) => return Ok(Err(missing)),
        }
    }
    Ok(Ok(found))
}
