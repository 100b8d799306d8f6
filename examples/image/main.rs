//! Builds, verifies, dumps and sums up images: files of segments, such as a service's partition or the flash of a device.
//!
//! Ends with 0 where all is well, 1 where an image is damaged, 2 where the job could not be done.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use coldpress_examples::image::{
    Build, Command, InputError, Job, dump_json, dump_line, filled, records, stats, stats_table, verify,
};
use coldpress_std::FileError;
use coldpress_std::image::{Image, convert, convert_tier};

/// The image is damaged.
const DAMAGED: u8 = 1;
/// Could not be carried out.
const FAILED: u8 = 2;

type Outcome = Result<ExitCode, Box<dyn core::error::Error>>;

fn main() -> ExitCode {
    let job = Job::parse();
    match run(&job) {
        Ok(code) => code,
        Err(error) => {
            if names_file(error.as_ref()) {
                eprintln!("image: {error}");
            } else {
                eprintln!("image: {}: {error}", job.file().display());
            }
            ExitCode::from(FAILED)
        }
    }
}

/// Whether the error came of a refusal of the system, which names the path.
fn names_file(error: &(dyn core::error::Error + 'static)) -> bool {
    core::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<FileError>())
}

fn run(job: &Job) -> Outcome {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let code = match &job.command {
        Command::Build(build) => make(&mut out, build),
        Command::Verify { file } => check(&mut out, file),
        Command::Convert { file, to } => carry_over(&mut out, file, to),
        Command::Dump { file, live, json } => dump(&mut out, file, *live, *json),
        Command::Stats { file, json } => sum_up(&mut out, file, *json),
    };
    let flushed = out.flush();
    match (code, flushed) {
        // A reader that takes only the beginning, as `head` does, has all it wanted.
        (Err(error), _) if is_closed_pipe(error.as_ref()) => Ok(ExitCode::SUCCESS),
        (Ok(code), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(code),
        (Ok(_), Err(error)) => Err(error.into()),
        (code, _) => code,
    }
}

fn is_closed_pipe(error: &(dyn core::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn make(out: &mut impl Write, build: &Build) -> Outcome {
    let input = match build.input.as_deref() {
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            Some(text)
        }
        Some(path) => Some(fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?),
        None => None,
    };
    let bytes = filled(build, input.as_deref()).map_err(|error| match (&build.input, error) {
        (Some(path), InputError::Line(_) | InputError::Record(..)) => format!("{}: {error}", path.display()),
        (_, error) => error.to_string(),
    })?;
    // An existing file may be somebody's only copy. An image holds all values, so only its owner may read it.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&build.file)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    let image = Image::read_from(bytes)?;
    writeln!(out, "{}: {} keys in {}", build.file.display(), image.len(), stats(&image)?.shape)?;
    Ok(ExitCode::SUCCESS)
}

fn check(out: &mut impl Write, file: &Path) -> Outcome {
    let image = Image::open(file)?;
    let found = verify(&image)?;
    for line in &found.damage {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{}", found.summary())?;
    Ok(if found.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

fn carry_over(out: &mut impl Write, from: &Path, to: &Path) -> Outcome {
    let done = if from.is_dir() { convert_tier(from, to)? } else { convert(from, to, None)? };
    writeln!(out, "{}: {} records, {} places damaged", to.display(), done.records, done.damaged)?;
    Ok(if done.damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

fn dump(out: &mut impl Write, file: &Path, live: bool, json: bool) -> Outcome {
    let image = Image::open(file)?;
    let found = verify(&image)?;
    for record in records(&image).filter(|record| record.as_ref().map_or(true, |r| r.is_live || !live)) {
        let record = record?;
        let line = if json { dump_json(&record)? } else { dump_line(&record) };
        writeln!(out, "{line}")?;
    }
    for line in &found.damage {
        eprintln!("image: {line}");
    }
    Ok(if found.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

fn sum_up(out: &mut impl Write, file: &Path, json: bool) -> Outcome {
    let found = stats(&Image::open(file)?)?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
    } else {
        write!(out, "{}", stats_table(&found))?;
    }
    Ok(if found.damage == 0 { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}
