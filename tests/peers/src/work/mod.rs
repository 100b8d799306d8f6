//! The measured process: opens one store, makes the calls of one step, and tells their figures.

mod clients;
mod replay;
mod steps;
mod watch;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::{Signal, getpid, kill_process};

use self::watch::Watch;
use crate::job::{Job, Outcome, Reply, Step};
use crate::measure::Tally;
use crate::process::{anonymous_bytes, cpu_seconds, disk_bytes, drop_page_cache, written_bytes};
use crate::stores::{self, Fault, Store};
use crate::versions::{KEY_BYTES, Versions};

/// Runs the job that standard input has, and prints the reply.
pub(crate) fn run() -> Result<(), Fault> {
    let job: Job = serde_json::from_reader(io::stdin().lock())?;
    let reply = match measure(&job) {
        Ok(outcome) => Reply::Done(Box::new(outcome)),
        Err(error) => Reply::Failed(error.to_string()),
    };
    // Not through `println`: the process may be killed before its end, and the line has to be out.
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &reply)?;
    out.flush()?;
    if matches!((&job.step, &reply), (Step::LoadAndDie { .. }, Reply::Done(_))) {
        kill_process(getpid(), Signal::KILL)?;
    }
    Ok(())
}

/// The file with the versions of the keys, beside the folder of the store.
fn versions_path(dir: &Path) -> PathBuf {
    dir.with_extension("versions")
}

fn measure(job: &Job) -> Result<Outcome, Fault> {
    if matches!(job.step, Step::Get { is_cold: true, .. }) {
        drop_page_cache(&job.dir)?;
    }
    let is_first = matches!(job.step, Step::Load { .. } | Step::LoadAndDie { .. } | Step::Replay(_));
    let versions = if is_first {
        Versions::new(job.seed, job.keys)
    } else {
        Versions::load(job.seed, &versions_path(&job.dir))?
    };
    let (memory, written) = (anonymous_bytes()?, written_bytes()?);
    let begun = Instant::now();
    let opened = stores::open(job.variant, &job.dir, &job.setup)?;
    let open_seconds = begun.elapsed().as_secs_f64();
    let store = &*opened.store;
    let mut outcome = Outcome { settings: opened.settings, open_seconds, ..Outcome::default() };
    call(job, store, &versions, &mut outcome)?;
    outcome.memory_bytes = anonymous_bytes()?.saturating_sub(memory);
    if outcome.live_bytes == 0 {
        outcome.live_bytes = versions.live() * (KEY_BYTES as u64 + u64::from(job.value_bytes));
    }
    versions.save(&versions_path(&job.dir))?;
    if matches!(job.step, Step::LoadAndDie { .. }) {
        outcome.written_bytes = written_bytes()? - written;
        // Neither closed nor dropped: the process ends while the store is open.
        core::mem::forget(opened.store);
    } else {
        let begun = Instant::now();
        opened.store.close()?;
        outcome.close_seconds = begun.elapsed().as_secs_f64();
        outcome.written_bytes = written_bytes()? - written;
    }
    outcome.disk_bytes = disk_bytes(&job.dir)?;
    Ok(outcome)
}

/// Makes the calls, flushes, and notes the figures of both.
fn call(job: &Job, store: &dyn Store, versions: &Versions, outcome: &mut Outcome) -> Result<(), Fault> {
    if let Step::Get { warms: true, .. } = job.step {
        steps::read_all(job, store, versions, &mut Tally::new(Instant::now())?)?;
    }
    let watch = Watch::new(store, &job.dir);
    let cpu = cpu_seconds()?;
    let begun = Instant::now();
    let (tally, watched) = watch.during(|| match &job.step {
        Step::Replay(replayed) => replay::run(job, store, replayed, outcome),
        step => steps::run(job, step, store, versions, begun),
    })?;
    outcome.seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    store.flush()?;
    outcome.flush_seconds = begun.elapsed().as_secs_f64();
    outcome.cpu_seconds = cpu_seconds()? - cpu;
    let mut after = Tally::new(Instant::now())?;
    if matches!(job.step, Step::Overwrite { .. } | Step::Remove { .. }) {
        steps::read_all(job, store, versions, &mut after)?;
    }
    if matches!(job.step, Step::Load { .. } | Step::LoadAndDie { .. }) {
        steps::read_sample(job, store, versions, &mut after)?;
    }
    outcome.ops = tally.ops;
    outcome.latencies = tally.latencies();
    outcome.user_bytes = tally.user_bytes;
    outcome.checked = tally.checked + after.checked;
    outcome.missing = tally.missing + after.missing;
    outcome.stale = tally.stale + after.stale;
    outcome.disk_bytes_peak = watched.disk_bytes_peak;
    if matches!(job.step, Step::Overwrite { .. }) {
        outcome.ticks = tally.ticks(&watched.compacts);
    }
    if !job.variant.may_forget() && outcome.missing + outcome.stale > 0 {
        return Err(format!("{} values are missing and {} are stale", outcome.missing, outcome.stale).into());
    }
    Ok(())
}
