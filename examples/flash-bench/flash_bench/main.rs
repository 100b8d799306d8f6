//! Measures stores for flash on the same double in the same run: `cargo run --release --example flash_bench [-- --json]`.
//!
//! The flash has 64 sectors of 4 KiB and is programmed in words of 4 bytes. Every key is written once, then keys are
//! overwritten by a law: uniformly, by zipf 0.99, or a tenth of them only. The figures are those of the overwrites, and of
//! uniform gets after them, each of which is checked. They are counts of bytes and operations: they repeat exactly.

mod ekv;
mod emulator;
mod measure;
mod model;
mod ours;
mod overwrites;
mod sequential;
mod small;
mod table;

use core::error::Error;

use clap::Parser;
use coldpress_embedded::flash::buckets_for;
use measure::{Figures, Run, measure};
use overwrites::Law;
use table::Ratio;

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
    /// Runs the small flashes only
    #[arg(long)]
    small: bool,
}

/// The parts of the RAM and the costs of the model are printed for so many keys.
const RAM_KEYS: usize = 2_400;
/// Overwrites of the short run and of the long one.
const OVERWRITES: [u64; 2] = [5_000, 50_000];
/// The most keys of a run: about as many as our flash holds (2,915 with these records), and 88 % of those of
/// sequential-storage.
const KEYS_MOST: usize = 2_880;

/// The rows, and what is made of them.
#[derive(Default)]
struct Printed {
    rows: Vec<Figures>,
    ratios: Vec<Ratio>,
    model: Vec<model::Cost>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if options.small {
        return small::tables().map(drop);
    }
    let mut printed = Printed::default();
    for law in Law::ALL {
        for overwrites in OVERWRITES {
            // The short run shows the first writes of a flash, which are alike under all laws.
            if law == Law::Uniform || overwrites == OVERWRITES[1] {
                tables_of(law, overwrites, &mut printed)?;
            }
        }
    }
    for (law, shapes) in [(Law::Uniform, &model::UNIFORM[..]), (Law::Zipf, &model::SKEWED[..])] {
        let run = Run { keys: u32::try_from(RAM_KEYS)?, overwrites: OVERWRITES[1], law };
        let costs: Vec<model::Cost> = shapes.iter().map(|shape| model::cost(*shape, run)).collect();
        print!("{}", table::model(run, &costs));
        printed.model.extend(costs);
    }
    let small = small::tables()?;
    let counts = emulator::count()?;
    let ram = ours::ram::<{ buckets_for(RAM_KEYS) }>();
    print!("{}", table::ram(RAM_KEYS, &ram, counts.as_ref().ok().and_then(emulator::Counts::ram)));
    match &counts {
        Ok(counts) => print!("{}", emulator::table(counts)),
        Err(missing) => println!("\nSKIPPED what is counted in an emulator: {missing}"),
    }
    if options.json {
        println!(
            "{}",
            table::json(&printed.rows, &printed.ratios, &printed.model, &small, &ram, counts.as_ref().ok())?
        );
    }
    Ok(())
}

/// Runs the stores with few keys, with more, and with as many as fit.
fn tables_of(law: Law, overwrites: u64, printed: &mut Printed) -> Result<(), Box<dyn Error>> {
    table_of::<512, { buckets_for(512) }>(law, overwrites, printed)?;
    table_of::<2400, { buckets_for(2400) }>(law, overwrites, printed)?;
    table_of::<KEYS_MOST, { buckets_for(KEYS_MOST) }>(law, overwrites, printed)
}

/// Runs every store with so many keys, and prints a table of them.
fn table_of<const KEYS: usize, const BUCKETS: usize>(
    law: Law,
    overwrites: u64,
    printed: &mut Printed,
) -> Result<(), Box<dyn Error>> {
    let run = Run { keys: u32::try_from(KEYS)?, overwrites, law };
    print!("{}", table::heading(run));
    let mut add = |row: Figures| {
        print!("{}", table::row(&row));
        printed.rows.push(row);
    };
    let ours = measure(run, &mut ours::mounted(&mut Box::new(ours::Memory::<BUCKETS>::new()))?)?;
    let theirs = measure(run, &mut sequential::cached::<KEYS>())?;
    let ratio = Ratio::of(&ours, &theirs);
    add(ours.clone());
    add(theirs);
    // The long runs would show the same writes, and take a minute for their reads. With the most keys these stores are full.
    if overwrites == OVERWRITES[0] && KEYS < KEYS_MOST {
        add(measure(run, &mut sequential::uncached())?);
        add(measure(run, &mut ekv::one_a_commit()?)?);
        add(measure(run, &mut ekv::many_a_commit()?)?);
    } else if KEYS < KEYS_MOST && law != Law::Uniform {
        add(measure(Run { overwrites: OVERWRITES[0], ..run }, &mut ekv::many_a_commit()?)?);
    }
    print!("{}", table::under(&ours, &ratio));
    printed.ratios.push(ratio);
    Ok(())
}
