//! Measures stores for flash on the same double in the same run: `cargo run --release --example flash_bench [-- --json]`.
//!
//! The flash has 64 sectors of 4 KiB and is programmed in words of 4 bytes. Every key is written once, then keys drawn
//! uniformly are overwritten; the figures are those of the overwrites, and of uniform gets after them, each of which is
//! checked. They are counts of bytes and operations: they repeat exactly.

mod ekv;
mod emulator;
mod measure;
mod ours;
mod sequential;
mod table;

use core::error::Error;

use clap::Parser;
use coldpress_embedded::flash::buckets_for;
use measure::{Figures, Run, measure};

/// Measures stores for flash beside each other, on the same flash in memory: Coldpress, sequential-storage and ekv.
///
/// Needs no input. Figures are counts and repeat exactly. Instructions are counted in an emulator, where this machine has
/// one and a toolchain for the firmware; else it says what is missing.
#[derive(Debug, Parser)]
#[command(name = "flash_bench", version)]
struct Options {
    /// Prints one JSON object as the last line
    #[arg(long)]
    json: bool,
}

/// The parts of the RAM are printed for so many keys.
const RAM_KEYS: usize = 2_400;
/// Overwrites of the short run and of the long one.
const OVERWRITES: [u64; 2] = [5_000, 50_000];

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let mut rows = Vec::new();
    for overwrites in OVERWRITES {
        rows_of::<512, { buckets_for(512) }>(overwrites, &mut rows)?;
        rows_of::<2400, { buckets_for(2400) }>(overwrites, &mut rows)?;
    }
    let counts = emulator::count()?;
    let ram = ours::ram::<{ buckets_for(RAM_KEYS) }>();
    print!("{}", table::ram(RAM_KEYS, &ram, counts.as_ref().ok().and_then(emulator::Counts::ram)));
    match &counts {
        Ok(counts) => print!("{}", emulator::table(counts)),
        Err(missing) => println!("\nSKIPPED what is counted in an emulator: {missing}"),
    }
    if options.json {
        println!("{}", table::json(&rows, &ram, counts.as_ref().ok())?);
    }
    Ok(())
}

/// Runs every store with so many keys, and prints a table of them.
fn rows_of<const KEYS: usize, const BUCKETS: usize>(
    overwrites: u64,
    rows: &mut Vec<Figures>,
) -> Result<(), Box<dyn Error>> {
    let run = Run { keys: u32::try_from(KEYS)?, overwrites };
    print!("{}", table::heading(run));
    let mut add = |row: Figures| {
        print!("{}", table::row(&row));
        rows.push(row);
    };
    add(measure(run, &mut ours::mounted(&mut Box::new(ours::Memory::<BUCKETS>::new()))?)?);
    add(measure(run, &mut sequential::cached::<KEYS>())?);
    if overwrites == OVERWRITES[0] {
        // The long run would show the same writes, and take a minute for its reads.
        add(measure(run, &mut sequential::uncached())?);
    }
    add(measure(run, &mut ekv::one_a_commit()?)?);
    add(measure(run, &mut ekv::many_a_commit()?)?);
    Ok(())
}
