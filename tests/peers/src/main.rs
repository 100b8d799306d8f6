//! Measures Coldpress beside other stores on disk, promise by promise: `cargo run --release --manifest-path
//! tests/peers/Cargo.toml -- --quick`. Its page, `tests/peers/README.md`, says how each store is set up and how to read the table.
#![forbid(unsafe_code)]

mod args;
mod cases;
mod job;
mod measure;
mod pools;
mod process;
mod report;
mod roundtrip;
mod run;
mod stores;
mod versions;
mod work;

use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Args, Command};
use self::cases::Sizes;
use self::stores::Fault;

/// The exit code where something failed.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    match start(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn start(args: &Args) -> Result<(), Fault> {
    match args.command {
        Some(Command::Child) => work::run(),
        Some(Command::Pools { one, round }) => pools::run(one, round),
        Some(Command::Roundtrip) => roundtrip::run(),
        None => {
            let about = about(args);
            let measured = run::run(args, |so_far| report::write(&args.out, &about, so_far).map(drop))?;
            println!("{}", report::write(&args.out, &about, &measured)?);
            eprintln!("written to {}", args.out.display());
            Ok(())
        }
    }
}

/// Says how it was measured.
fn about(args: &Args) -> String {
    let sizes = Sizes::of(args);
    let processors = std::thread::available_parallelism().map_or(0, core::num::NonZero::get);
    format!(
        "{} rounds, {} MiB of keys and values a case, {} s a timed measurement, {} MiB of cache for each store, {processors} processors. Keys have 16 bytes \
         and come in no order. Values are made so that LZ4 halves long ones. Every value that was read was compared, byte for \
         byte.{}",
        sizes.rounds,
        sizes.bytes >> 20,
        sizes.seconds,
        args.cache_mib,
        if sizes.is_quick { " A quick run: its figures show the way, no more." } else { "" },
    )
}
