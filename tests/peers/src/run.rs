//! Runs all measurements: for each step every store in turn, each in a process of its own.

use core::time::Duration;
use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use serde::Serialize;

use crate::args::Args;
use crate::cases::{Case, Sizes, cases};
use crate::job::{Job, Outcome, Reply, Step};
use crate::process::settle;
use crate::stores::{Fault, Setup, Variant};

/// A process that takes longer is killed, and its row says so.
const PATIENCE: Duration = Duration::from_secs(300);

/// A step of a store in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) case: String,
    pub(crate) row: String,
    pub(crate) step: Step,
    pub(crate) variant: Variant,
    pub(crate) round: u32,
    /// Keys of the case.
    pub(crate) keys: u64,
    /// The figures, or why there are none.
    pub(crate) outcome: Result<Outcome, String>,
}

/// Runs everything that the arguments ask for. `see` gets all that there is after each case, so a run that is cut short has results.
pub(crate) fn run(
    args: &Args,
    see: impl Fn(&[Measured]) -> Result<(), Fault>,
) -> Result<Vec<Measured>, Fault> {
    let sizes = Sizes::of(args);
    let cases = cases(args);
    let asked = if args.stores.is_empty() { Variant::ALL } else { args.stores.as_slice() };
    let base = base_dir(args)?;
    let mut all = Vec::new();
    for round in 0..sizes.rounds {
        for case in &cases {
            let mut variants: Vec<_> =
                asked.iter().copied().filter(|variant| variant.keeps(case.promise)).collect();
            // The first of a round is the last of the next.
            let shift = round as usize % variants.len().max(1);
            variants.rotate_left(shift);
            let begun = Instant::now();
            all.extend(run_case(args, case, &variants, round, base.path())?);
            see(&all)?;
            eprintln!("round {}: {} ({:.1} s)", round + 1, case.name, begun.elapsed().as_secs_f64());
        }
    }
    Ok(all)
}

/// The folder for the files of the stores: on a disk, where the arguments say nothing beside the results.
fn base_dir(args: &Args) -> Result<tempfile::TempDir, Fault> {
    let parent = args.dir.clone().unwrap_or_else(|| args.out.clone());
    fs::create_dir_all(&parent)?;
    Ok(tempfile::tempdir_in(parent)?)
}

/// Runs a case: each step for all stores, one after the other. A store that fails takes no further step.
fn run_case(
    args: &Args,
    case: &Case,
    variants: &[Variant],
    round: u32,
    base: &Path,
) -> Result<Vec<Measured>, Fault> {
    let mut running: Vec<(Variant, PathBuf)> = Vec::new();
    for variant in variants {
        let dir = base.join(format!("{variant:?}"));
        fs::create_dir(&dir)?;
        running.push((*variant, dir));
    }
    let mut all = Vec::new();
    for (row, step) in &case.steps {
        running.retain(|(variant, dir)| {
            if step.compaction_bytes_per_s().is_some() && !variant.has_compaction_rate() {
                return true;
            }
            let outcome = run_step(args, case, step, *variant, round, dir).map_err(|error| error.to_string());
            let has_failed = outcome.is_err();
            if let Err(error) = &outcome {
                eprintln!("!!! {} {}, {}: {error}", case.name, row.unwrap_or_default(), variant.name());
            }
            if row.is_some() || has_failed {
                all.push(Measured {
                    case: case.name.clone(),
                    row: row.unwrap_or_default().to_owned(),
                    step: step.clone(),
                    variant: *variant,
                    round,
                    keys: case.keys,
                    outcome,
                });
            }
            !has_failed
        });
    }
    for variant in variants {
        let dir = base.join(format!("{variant:?}"));
        fs::remove_dir_all(&dir)?;
        fs::remove_file(dir.with_extension("versions")).or_else(ignore_absent)?;
    }
    Ok(all)
}

fn ignore_absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn run_step(
    args: &Args,
    case: &Case,
    step: &Step,
    variant: Variant,
    round: u32,
    dir: &Path,
) -> Result<Outcome, Fault> {
    let setup = Setup {
        cache_bytes: args.cache_mib << 20,
        capacity_bytes: case.capacity_bytes,
        value_bytes: case.value_bytes,
        promise: case.promise,
        compaction_bytes_per_s: step.compaction_bytes_per_s(),
    };
    let job = Job {
        variant,
        setup,
        dir: dir.to_owned(),
        keys: case.keys,
        value_bytes: case.value_bytes,
        seed: u64::from(round) + 1,
        step: step.clone(),
    };
    settle(dir)?;
    let mut child = Command::new(env::current_exe()?)
        .arg("child")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("the process has no input")?;
    input.write_all(&serde_json::to_vec(&job)?)?;
    drop(input);
    let mut output = child.stdout.take().ok_or("the process has no output")?;
    // Read on a thread: a long reply would fill the pipe, and a process that hangs would never end it. The reply ends with the process,
    // so this one sleeps until then and takes no time from the measured one.
    let (send, reply) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut text = String::new();
        send.send(output.read_to_string(&mut text).map(|_| text))
    });
    let Ok(text) = reply.recv_timeout(PATIENCE) else {
        child.kill()?;
        child.wait()?;
        return Err(format!("not done after {} s", PATIENCE.as_secs()).into());
    };
    child.wait()?;
    let text = text?;
    match serde_json::from_str(&text) {
        Ok(Reply::Done(outcome)) => Ok(*outcome),
        Ok(Reply::Failed(error)) => Err(error.into()),
        Err(_) => Err("the process ended without a reply".into()),
    }
}
