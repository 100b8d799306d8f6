//! Gets of one client beside a compaction.
//!
//! One round after the other: a quarter of the keys are overwritten, which makes stale data; the store compacts on a thread of its own, and
//! the client reads until that is over; then the store rests, and the client reads for as long again. So both have the same data, the
//! same memory and the same moment, and one client beside one compaction takes two processors.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use super::steps::{Choice, Part};
use crate::job::{Compacting, Law, Outcome};
use crate::measure::{TICK, Tally, Tick};
use crate::stores::Fault;

/// One key in so many is overwritten before a compaction.
const KEYS_PER_OVERWRITE: u64 = 4;

/// Rounds after which it ends, however little time the compactions took.
const ROUNDS_MAX: u32 = 200;

/// The most that it waits for a store to rest.
const RESTS_WITHIN: Duration = Duration::from_secs(5);

/// A store rests once it has not compacted for so many ticks.
const TICKS_AT_REST: u32 = 5;

/// The two kinds of gets, and the rest that is checked.
struct Tallies {
    idle: Tally,
    compacting: Tally,
    others: Tally,
}

/// Measures gets for so long beside compactions, and for as long at rest. Returns those at rest; the others go to the outcome.
pub(super) fn run(part: Part<'_>, seconds: f64, law: Law, outcome: &mut Outcome) -> Result<Tally, Fault> {
    let until = Duration::from_secs_f64(seconds);
    let tally = || Tally::new(part.begun);
    let mut tallies = Tallies { idle: tally()?, compacting: tally()?, others: tally()? };
    let (mut reads, mut writes) = (part.choice(0, law), part.choice(1, Law::Uniform));
    let (mut took, mut rewritten_bytes, mut compacts) = (Duration::ZERO, 0, true);
    for _ in 0..ROUNDS_MAX {
        overwrite(part, &mut writes, &mut tallies.others)?;
        let begun = Instant::now();
        let rewritten = beside(part, &mut reads, &mut tallies.compacting)?;
        let window = begun.elapsed();
        compacts = rewritten.is_some();
        rewritten_bytes += rewritten.unwrap_or(0);
        rest(part);
        read_for(part, &mut reads, if compacts { window } else { until }, &mut tallies.idle)?;
        took += window;
        if took >= until || !compacts {
            break;
        }
    }
    if compacts && rewritten_bytes == 0 {
        return Err("the compactions wrote nothing".into());
    }
    let Tallies { mut idle, compacting, others } = tallies;
    idle.add_checks(&compacting);
    idle.add_checks(&others);
    outcome.compacting = compacts.then(|| Compacting {
        ops: compacting.ops,
        seconds: took.as_secs_f64(),
        latencies: compacting.latencies(),
        rewritten_bytes,
    });
    outcome.ticks = if compacts { ticks(&idle, &compacting)? } else { Vec::new() };
    Ok(idle)
}

/// Makes stale data, and hands it to the system.
fn overwrite(part: Part<'_>, writes: &mut Choice, tally: &mut Tally) -> Result<(), Fault> {
    let mut value = vec![0; part.job.value_bytes as usize];
    (0..part.versions.len() / KEYS_PER_OVERWRITE)
        .try_for_each(|_| part.put(writes.any(), &mut value, tally))?;
    part.store.flush()
}

/// Reads while the store compacts. Where it can't, it reads nothing.
fn beside(part: Part<'_>, reads: &mut Choice, tally: &mut Tally) -> Result<Option<u64>, Fault> {
    let is_over = AtomicBool::new(false);
    let mut scratch = Vec::new();
    thread::scope(|scope| {
        let compacting = scope.spawn(|| {
            let rewritten = part.store.compact();
            is_over.store(true, Relaxed);
            rewritten
        });
        while !is_over.load(Relaxed) {
            part.get(reads.any(), &mut scratch, tally)?;
        }
        compacting.join().map_err(|_| "the compaction has panicked")?
    })
}

/// Waits until the store does nothing more by itself, as far as it says.
fn rest(part: Part<'_>) {
    let (begun, mut ticks) = (Instant::now(), 0);
    while ticks < TICKS_AT_REST && begun.elapsed() < RESTS_WITHIN {
        ticks = if part.store.has_compacted() == Some(true) { 0 } else { ticks + 1 };
        thread::sleep(TICK);
    }
}

fn read_for(part: Part<'_>, reads: &mut Choice, time: Duration, tally: &mut Tally) -> Result<(), Fault> {
    let (begun, mut scratch) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        part.get(reads.any(), &mut scratch, tally)?;
    }
    Ok(())
}

/// The ticks of both, those beside a compaction marked.
fn ticks(idle: &Tally, compacting: &Tally) -> Result<Vec<Tick>, Fault> {
    let marks: Vec<_> = compacting.busy_ticks().map(Some).collect();
    let mut both = Tally::new(compacting.begun())?;
    both.add(idle)?;
    both.add(compacting)?;
    Ok(both.ticks(&marks))
}
