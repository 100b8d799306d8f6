//! The work of a device's processor: instructions counted in an emulator, and the size of the firmware examples.

use core::error::Error;
use core::fmt::Write as _;
use std::io;

use coldpress_tests::firmware::{
    CORTEX_M, CORTEX_M_COUNTED, Firmware, INSTRUCTIONS, MICROBIT, Missing, STORES, StoreSize, sizes,
    store_sizes,
};
use serde::Serialize;

use crate::ours::Ram;

/// The counts.
#[derive(Debug, Serialize)]
pub(crate) struct Counts {
    instructions: Vec<Row>,
    ram: Option<Ram>,
    firmware: Vec<Size>,
    stores: Vec<StoreSizes>,
}

/// The most instructions that any one call took with so many keys.
#[derive(Debug, Serialize)]
struct Row {
    keys: u64,
    poll: u64,
    /// A poll while the tier is mounted.
    mount: u64,
    put: u64,
    get: u64,
}

/// The bytes that a firmware takes of its part.
#[derive(Debug, Serialize)]
struct Size {
    firmware: &'static str,
    target: &'static str,
    flash_bytes: u64,
    static_ram_bytes: u64,
}

/// The flash that programs with a store take on a part.
#[derive(Debug, Serialize)]
struct StoreSizes {
    target: &'static str,
    programs: Vec<StoreSize>,
}

impl Counts {
    /// The RAM of a tier on a processor of 32 bits.
    pub(crate) const fn ram(&self) -> Option<&Ram> {
        self.ram.as_ref()
    }
}

/// Counts in the emulator, or tells what is missing here.
pub(crate) fn count() -> Result<Result<Counts, Missing>, Box<dyn Error>> {
    let elf = match CORTEX_M_COUNTED.build(INSTRUCTIONS)? {
        Ok(elf) => elf,
        Err(missing) => return Ok(Err(missing)),
    };
    let folder = tempfile::tempdir()?;
    let run = match CORTEX_M_COUNTED.run(&elf, folder.path())? {
        Ok(run) => run,
        Err(missing) => return Ok(Err(missing)),
    };
    if run.code != Some(0) {
        return Err(
            io::Error::other(format!("the firmware ended with {:?}: {:#?}", run.code, run.log)).into()
        );
    }
    let polls = ["poll", "compact", "rebuild", "expire", "sample"];
    let figures = run.stats();
    let figure = |name| figures.get(name).copied();
    let ram = figure("ram_index").map(|index_bytes| Ram {
        index_bytes,
        segment_table_bytes: figure("ram_table").unwrap_or(0),
        task_bytes: figure("ram_tasks").unwrap_or(0),
        buffer_bytes: figure("ram_buffers").unwrap_or(0),
        tier_bytes: figure("ram_tier").unwrap_or(0),
    });
    let rows = run.rows().into_iter().filter(|row| row.contains_key("keys")).map(|row| {
        let figure = |name| row.get(name).copied().unwrap_or(0);
        let poll = polls.into_iter().map(figure).max().unwrap_or(0);
        Row { keys: figure("keys"), poll, mount: figure("mount"), put: figure("put"), get: figure("get") }
    });
    let instructions = rows.collect();
    let mut firmware = Vec::new();
    for (of, program) in
        [(CORTEX_M, "coldpress-firmware-cortex-m"), (MICROBIT, "coldpress-firmware-microbit")]
    {
        firmware.extend(size(&of, program)?);
    }
    let mut stores = Vec::new();
    for of in STORES {
        stores.extend(store_sizes(&of)?.ok().map(|programs| StoreSizes { target: of.target, programs }));
    }
    Ok(Ok(Counts { instructions, ram, firmware, stores }))
}

fn size(of: &Firmware, program: &str) -> io::Result<Option<Size>> {
    let Ok(elf) = of.build(program)? else { return Ok(None) };
    let sizes = sizes(&elf)?;
    let (flash_bytes, static_ram_bytes) = (sizes.flash_bytes, sizes.ram_bytes);
    Ok(Some(Size { firmware: of.folder, target: of.target, flash_bytes, static_ram_bytes }))
}

/// Writes tables of the counts.
pub(crate) fn table(counts: &Counts) -> String {
    let mut text =
        "\nCortex-M3 in an emulator: the most instructions of any one call, values of 64 bytes\n".to_owned();
    let _ = writeln!(text, "{:>8}{:>12}{:>12}{:>12}{:>12}", "keys", "poll", "mount", "put", "get");
    for row in &counts.instructions {
        let Row { keys, poll, mount, put, get } = row;
        let _ = writeln!(text, "{keys:>8}{poll:>12}{mount:>12}{put:>12}{get:>12}");
    }
    text.push_str(
        "\nfirmware examples, bytes: code and constants; statics (the first with its flash in RAM)\n",
    );
    for size in &counts.firmware {
        let Size { firmware, target, flash_bytes, static_ram_bytes } = size;
        let _ = writeln!(text, "  {firmware:<20}{target:<22}{flash_bytes:>10}{static_ram_bytes:>10}");
    }
    text.push_str(
        "\nflash that a store takes, bytes: code and constants beyond those of a program without one\n",
    );
    for StoreSizes { target, programs } in &counts.stores {
        for StoreSize { store, calls, flash_bytes } in programs {
            let _ = writeln!(text, "  {target:<22}{store:<20}{calls:<26}{flash_bytes:>10}");
        }
    }
    text
}
