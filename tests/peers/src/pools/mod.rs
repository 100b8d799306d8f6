//! Pools beside `slab`, `heapless::pool` and the allocator of the system: speed, memory kept, and pauses.
//!
//! Every candidate fills with objects of one length, frees 70 % of them at random, tidies up as far as it can, frees the rest and fills again.
//! Each runs in a process of its own, so that the memory of the process is its own.

mod candidates;
mod row;

use std::env;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use self::row::Figures;
use crate::stores::Fault;

/// Bytes of an object.
const OBJECT_BYTES: usize = 512;

/// Objects of a fill: 32 MiB of them.
const OBJECTS: usize = 65_536;

/// The objects freed at random, in thousandths.
const FREED_PERMILLE: u64 = 700;

/// How often each candidate takes its turn.
const ROUNDS: u64 = 3;

/// A pool that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Candidate {
    /// `coldpress_core::pool::Pool`, owned by one thread.
    Core,
    /// The hot pools of `coldpress_std`: keyed, locked, with a worker that tidies.
    Hot,
    /// `slab::Slab`.
    Slab,
    /// `heapless::pool::boxed`.
    Heapless,
    /// `Box`, from the allocator of the system.
    System,
}

impl Candidate {
    const ALL: [Self; 5] = [Self::Core, Self::Hot, Self::Slab, Self::Heapless, Self::System];

    const fn name(self) -> &'static str {
        match self {
            Self::Core => "coldpress_core::pool",
            Self::Hot => "coldpress_std hot pools",
            Self::Slab => "slab",
            Self::Heapless => "heapless::pool",
            Self::System => "Box, system allocator",
        }
    }
}

/// Measures one candidate in this process, or each in a process of its own.
pub(crate) fn run(one: Option<Candidate>, round: u64) -> Result<(), Fault> {
    if let Some(candidate) = one {
        let figures = candidates::measure(candidate, round)?;
        serde_json::to_writer(io::stdout().lock(), &figures)?;
        return Ok(io::stdout().flush()?);
    }
    let mut all: Vec<Vec<Figures>> = Candidate::ALL.iter().map(|_| Vec::new()).collect();
    for round in 1..=ROUNDS {
        for (candidate, figures) in Candidate::ALL.iter().zip(&mut all) {
            figures.push(in_process(*candidate, round)?);
        }
    }
    println!(
        "{OBJECTS} objects of {OBJECT_BYTES} bytes, {} % freed at random; medians of {ROUNDS} rounds, each in a process of its own\n",
        FREED_PERMILLE / 10
    );
    row::print_head();
    for (candidate, figures) in Candidate::ALL.iter().zip(&all) {
        row::print(candidate.name(), figures);
    }
    println!(
        "\ncommitted ÷ used: bytes that the pool holds by its own count, by the bytes of live objects. process: memory of the process that \
         no file backs, less that before the pool was made, by the same. longest: the longest single call. `slab` tidies by one call that moves \
         objects to other keys; its caller has to follow each. `heapless::pool` and `Box` can't move objects."
    );
    Ok(())
}

fn in_process(candidate: Candidate, round: u64) -> Result<Figures, Fault> {
    use clap::ValueEnum as _;
    let value = candidate.to_possible_value().ok_or("a candidate without a name")?;
    let output = Command::new(env::current_exe()?)
        .args(["pools", "--one", value.get_name(), "--round", &round.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{} failed", candidate.name()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
