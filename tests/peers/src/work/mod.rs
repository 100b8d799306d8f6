//! The measured process: opens one store, makes the calls of one step, and tells their figures.

mod beside;
mod clients;
mod replay;
mod steps;
mod watch;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::{Signal, getpid, kill_process};

use self::steps::Part;
use self::watch::{Watch, Watched};
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
    if matches!(job.step, Step::Get { warms: true, .. } | Step::Mix { .. } | Step::Beside { .. }) {
        steps::read_all(job, store, versions, &mut Tally::new(Instant::now())?)?;
    }
    let watch = Watch::new(store, &job.dir);
    let cpu = cpu_seconds()?;
    let begun = Instant::now();
    let (tally, watched) = match &job.step {
        // A thread that watches would take a processor from the client or from the compaction.
        Step::Beside { seconds, law, .. } => {
            let part = Part { job, store, versions, begun };
            (beside::run(part, *seconds, *law, outcome)?, Watched::none())
        }
        Step::Replay(replayed) => watch.during(|| replay::run(job, store, replayed, outcome))?,
        step => watch.during(|| steps::run(job, step, store, versions, begun))?,
    };
    outcome.seconds = watched.ended.duration_since(begun).as_secs_f64();
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

#[cfg(test)]
mod tests {
    use coldpress_examples::published::BUILT_IN;

    use super::*;
    use crate::job::{Law, Replayed};
    use crate::stores::{Promise, Setup, Variant};

    fn job(variant: Variant, dir: &Path, step: Step) -> Job {
        let promise = Promise::Buffered;
        let setup = Setup {
            cache_bytes: 8 << 20,
            capacity_bytes: 64 << 20,
            value_bytes: 1024,
            promise,
            compaction_bytes_per_s: step.compaction_bytes_per_s(),
        };
        Job { variant, setup, dir: dir.to_owned(), keys: 500, value_bytes: 1024, seed: 3, step }
    }

    #[test]
    fn steps_of_every_store_check_what_they_read() {
        let (clients, seconds, law) = (2, 0.05, Law::Zipf(0.99));
        let steps = [
            (Step::Load { clients }, 500),
            (Step::Open, 500),
            (Step::Get { clients, seconds, law, warms: false, is_cold: true }, 1),
            (Step::Mix { clients, seconds, law, read_permille: 500 }, 1),
            (Step::Overwrite { clients, law, times_live: 2 }, 500),
            (Step::Beside { seconds, law, bytes_per_s: None }, 500),
            (Step::Remove { clients }, 250),
        ];
        for &variant in Variant::ALL {
            let base = tempfile::tempdir().unwrap();
            let dir = base.path().join("store");
            std::fs::create_dir(&dir).unwrap();
            for (step, checked_min) in &steps {
                let outcome = measure(&job(variant, &dir, step.clone())).unwrap();
                let forgotten = outcome.missing + outcome.stale;
                assert!(
                    outcome.ops > 0 && outcome.checked + forgotten >= *checked_min,
                    "{variant:?} {step:?}"
                );
                assert!(
                    outcome.checked > 0 && (forgotten == 0 || variant.may_forget()),
                    "{variant:?} {step:?}"
                );
                let live = if matches!(step, Step::Remove { .. }) { 250 } else { 500 };
                assert_eq!(outcome.live_bytes, live * 1040, "{variant:?} {step:?}");
            }
        }
    }

    #[test]
    fn replays_with_lifetimes_run_on_stores_with_and_without_them() {
        let base = tempfile::tempdir().unwrap();
        let table = base.path().join("clusters.csv");
        std::fs::write(&table, BUILT_IN).unwrap();
        for variant in [Variant::ColdpressLz4, Variant::Foyer, Variant::Sled] {
            let dir = base.path().join(format!("{variant:?}"));
            std::fs::create_dir(&dir).unwrap();
            let table = table.clone();
            let replayed = Replayed::Cluster { table, number: 52, live_bytes: 1 << 20, requests: 5_000 };
            let outcome = measure(&job(variant, &dir, Step::Replay(replayed))).unwrap();
            assert!(outcome.ops >= 5_000 && outcome.checked > 100, "{variant:?}");
            assert_eq!((outcome.missing, outcome.stale), (0, 0), "{variant:?}");
            assert!(outcome.user_bytes > 0 && outcome.live_bytes > 0, "{variant:?}");
        }
    }

    /// A store that gives this answer to every get.
    struct Liar(Option<Vec<u8>>);

    impl Store for Liar {
        fn put(&self, _key: &[u8], _value: &[u8]) -> Result<(), Fault> {
            Ok(())
        }

        fn get(
            &self,
            _key: &[u8],
            _scratch: &mut Vec<u8>,
            see: &mut dyn FnMut(&[u8]),
        ) -> Result<bool, Fault> {
            self.0.iter().for_each(|value| see(value));
            Ok(self.0.is_some())
        }

        fn remove(&self, _key: &[u8]) -> Result<(), Fault> {
            Ok(())
        }

        fn flush(&self) -> Result<(), Fault> {
            Ok(())
        }

        fn close(self: Box<Self>) -> Result<(), Fault> {
            Ok(())
        }
    }

    fn load_into(store: &dyn Store) -> Result<(), Fault> {
        let base = tempfile::tempdir()?;
        let job = job(Variant::Sled, base.path(), Step::Load { clients: 1 });
        call(&job, store, &Versions::new(job.seed, job.keys), &mut Outcome::default())
    }

    #[test]
    fn store_that_loses_or_alters_values_fails() {
        let lost = load_into(&Liar(None)).unwrap_err().to_string();
        assert_eq!(lost, "500 values are missing and 0 are stale");
        for len in [1023, 1024] {
            let altered = load_into(&Liar(Some(vec![7; len]))).unwrap_err().to_string();
            assert_eq!(altered, "key 0 has bytes that were never put");
        }
    }
}
