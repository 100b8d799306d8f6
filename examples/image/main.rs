//! Builds, verifies, dumps and sums up images: files of segments, such as a service's partition or the flash of a device.
//!
//! Ends with 0 where all is well, 1 where an image is damaged, 2 where the job could not be done.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use coldpress_examples::image::{Job, Soundness, failure_line, run};

/// The image is damaged.
const DAMAGED: u8 = 1;
/// Could not be carried out.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let job = Job::parse();
    match run(&job.command, &mut io::BufWriter::new(io::stdout().lock()), &mut io::stderr()) {
        Ok(Soundness::Sound) => ExitCode::SUCCESS,
        Ok(Soundness::Damaged) => ExitCode::from(DAMAGED),
        Err(error) => {
            eprintln!("image: {}", failure_line(&job.command, error.as_ref()));
            ExitCode::from(FAILED)
        }
    }
}
