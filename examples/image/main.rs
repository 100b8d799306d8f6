//! Builds, verifies, dumps, sums up and imports images: files of segments, such as a service's partition or the flash of a device.
//!
//! Ends with 0 where all is well, 1 where an image is damaged, 2 where the job could not be done.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use coldpress_examples::image::{Soundness, failure_line, run};
use coldpress_image::{ImageCommand, ImageJob, import};

/// The image is damaged.
const DAMAGED: u8 = 1;
/// Could not be carried out.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let job = ImageJob::parse();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = match &job.command {
        ImageCommand::Image(command) => {
            run(command, &mut out, &mut io::stderr()).map_err(|error| failure_line(command, error.as_ref()))
        }
        ImageCommand::ImportSequential(job) => {
            import(job, &mut out).map_err(|error| format!("{}: {error}", job.file.display()))
        }
    };
    match done {
        Ok(Soundness::Sound) => ExitCode::SUCCESS,
        Ok(Soundness::Damaged) => ExitCode::from(DAMAGED),
        Err(failure) => {
            eprintln!("image: {failure}");
            ExitCode::from(FAILED)
        }
    }
}
