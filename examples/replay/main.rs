//! Replays a trace or a generated workload through a cold tier, checks every answer, and shows the results.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use coldpress_examples::check::Mismatch;
use coldpress_examples::memory::Memory;
use coldpress_examples::options::Options;
use coldpress_examples::picture::page;
use coldpress_examples::plan::{Plan, PlanError, plan};
use coldpress_examples::replay::{Replayed, Watch, replay};
use coldpress_examples::table::table;
use coldpress_examples::tier::TierFiles;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Ended with wrong answers or a failed task.
const UNSOUND: u8 = 1;
/// Could not be carried out.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(UNSOUND),
        Err(error) => {
            eprintln!("replay: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Carries out a replay and says whether every answer was right and every task ended well.
fn run(options: &Options) -> Result<bool, Box<dyn core::error::Error>> {
    let mut plan = plan(options).map_err(|error| named(options, error))?;
    let mut bar = Bar::default();
    let replayed = if options.memory {
        plan.title.push_str(", on a map in memory");
        replay(&plan, &Memory::new(plan.capacity_bytes), &mut bar)?
    } else {
        // Dropped at the end of this block, which removes the files of the replay.
        let temporary = tempfile::tempdir()?;
        let dir = options.dir.clone().unwrap_or_else(|| temporary.path().join("tier"));
        replay(&plan, &TierFiles::new(&plan, &dir)?, &mut bar)?
    };
    show(options, &plan, &replayed)?;
    let mismatches = replayed.figures.mismatches + replayed.figures.reopen_mismatches;
    Ok(mismatches == 0 && !replayed.has_failed_tasks())
}

/// An error of the trace begins with the path of the file.
fn named(options: &Options, error: PlanError) -> Box<dyn core::error::Error> {
    match (&options.trace, error) {
        (Some(path), PlanError::Trace(error)) => format!("{}: {error}", path.display()).into(),
        (_, error) => error.into(),
    }
}

fn show(options: &Options, plan: &Plan, replayed: &Replayed) -> Result<(), Box<dyn core::error::Error>> {
    let picture = options.picture.clone().unwrap_or_else(|| PathBuf::from("replay.html"));
    // A picture that cannot be written must not cost the figures of a long run.
    let drawn = std::fs::write(&picture, page(plan, replayed));
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", table(plan, replayed))?;
    match &drawn {
        Ok(()) => writeln!(out, "Picture: {}", picture.display())?,
        Err(error) => eprintln!("replay: the picture {} is not written: {error}", picture.display()),
    }
    let wrong = [&replayed.counts, &replayed.checked, &replayed.rechecked];
    for Mismatch { key, version, fault } in wrong.iter().flat_map(|counts| &counts.examples) {
        writeln!(out, "Mismatch: key {key:#x}, version {version}: {fault:?}")?;
    }
    if options.json {
        writeln!(out, "{}", serde_json::to_string(&replayed.figures)?)?;
    }
    Ok(())
}

/// A progress bar on the terminal, and nothing where there is none.
#[derive(Default)]
struct Bar(Option<ProgressBar>);

impl Watch for Bar {
    fn phase(&mut self, name: &str, total: u64) {
        let is_shown = std::io::stderr().is_terminal();
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_message(name.to_owned());
        let style = ProgressStyle::with_template("{msg:<32} [{bar:36}] {percent:>3} % {elapsed}");
        self.0 = Some(style.map_or(bar.clone(), |style| bar.with_style(style.progress_chars("█▓░"))));
    }

    fn at(&mut self, done: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(done);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
