//! Carrying out the jobs of the `image` program.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use coldpress_std::FileError;
use coldpress_std::image::{Image, convert, convert_tier};

use super::fill::{InputError, filled};
use super::options::{Build, Command};
use super::show::{dump_json, dump_line, records, stats, stats_table, verify};

/// The finding of a job that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    /// All is well.
    Sound,
    /// Something is damaged.
    Damaged,
}

impl Soundness {
    /// Of so many places damaged.
    #[must_use]
    pub const fn of(damaged: u64) -> Self {
        if damaged == 0 { Self::Sound } else { Self::Damaged }
    }
}

/// The outcome of a job.
pub type Done = Result<Soundness, Box<dyn core::error::Error>>;

/// Carries out a job. A reader that closes the pipe ends it early, and is no failure.
///
/// # Errors
/// The reason, without the path of the image where that is the file of the job.
pub fn run(command: &Command, out: &mut impl Write, warnings: &mut impl Write) -> Done {
    let done = match command {
        Command::Build(build) => make(out, build),
        Command::Verify { file } => check(out, file),
        Command::Convert { file, to } => carry_over(out, file, to),
        Command::Dump { file, live, json } => dump(out, warnings, file, *live, *json),
        Command::Stats { file, json } => sum_up(out, file, *json),
    };
    let flushed = out.flush();
    match (done, flushed) {
        // A reader that takes only the beginning, as `head` does, has all it wanted.
        (Err(error), _) if is_closed_pipe(error.as_ref()) => Ok(Soundness::Sound),
        (Ok(done), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(done),
        (Ok(_), Err(error)) => Err(error.into()),
        (done, _) => done,
    }
}

/// The line that reports the failure of a job on a file.
#[must_use]
pub fn failure_line(command: &Command, error: &(dyn core::error::Error + 'static)) -> String {
    // A refusal of the system names the path itself.
    let names_file =
        core::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<FileError>());
    if names_file { error.to_string() } else { format!("{}: {error}", command.file().display()) }
}

fn is_closed_pipe(error: &(dyn core::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn make(out: &mut impl Write, build: &Build) -> Done {
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
    let mut file = create(&build.file)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    let image = Image::read_from(bytes)?;
    writeln!(out, "{}: {} keys in {}", build.file.display(), image.len(), stats(&image)?.shape)?;
    Ok(Soundness::Sound)
}

/// Makes the file of a new image. An existing one may be somebody's only copy. An image holds all values, so only its owner may read
/// it.
///
/// # Errors
/// Those of the system, where the file is there among them.
pub fn create(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn check(out: &mut impl Write, file: &Path) -> Done {
    let image = Image::open(file)?;
    let found = verify(&image)?;
    for line in &found.damage {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{}", found.summary())?;
    Ok(Soundness::of(found.damage.len() as u64))
}

fn carry_over(out: &mut impl Write, from: &Path, to: &Path) -> Done {
    let done = if from.is_dir() { convert_tier(from, to)? } else { convert(from, to, None)? };
    writeln!(out, "{}: {} records, {} places damaged", to.display(), done.records, done.damaged)?;
    Ok(Soundness::of(done.damaged))
}

fn dump(out: &mut impl Write, warnings: &mut impl Write, file: &Path, live: bool, json: bool) -> Done {
    let image = Image::open(file)?;
    let found = verify(&image)?;
    for record in records(&image).filter(|record| record.as_ref().map_or(true, |r| r.is_live || !live)) {
        let record = record?;
        let line = if json { dump_json(None, &record)? } else { dump_line(&record) };
        writeln!(out, "{line}")?;
    }
    for line in &found.damage {
        writeln!(warnings, "image: {line}")?;
    }
    Ok(Soundness::of(found.damage.len() as u64))
}

fn sum_up(out: &mut impl Write, file: &Path, json: bool) -> Done {
    let found = stats(&Image::open(file)?)?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
    } else {
        write!(out, "{}", stats_table(&found))?;
    }
    Ok(Soundness::of(found.damage as u64))
}
