//! The operators' tool: lists, checks, reads, compacts, exports, imports and backs up the caches of a directory.
//!
//! `README.md` beside it is its page.
#![forbid(unsafe_code)]

mod archive;
mod archive_place;
mod caches;
mod entries;
mod export;
mod failure;
mod import;
mod line;
mod list;
mod options;
mod output;
mod stats;
mod tasks;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use coldpress_examples::image::{Soundness, failure_line, run};

use crate::failure::{Failure, Verdict};
use crate::options::{Command, Invocation};
use crate::output::Output;

fn main() -> ExitCode {
    let mut out = Output::new();
    let done = carry_out(Invocation::parse(), &mut out);
    let done = match (done, out.flush()) {
        (Ok(_), Err(error)) => Err(error.into()),
        (done, _) => done,
    };
    match done {
        Ok(verdict) => ExitCode::from(verdict.code()),
        Err(failure) => {
            if !failure.is_closed_pipe() {
                out.warn(&failure);
            }
            ExitCode::from(failure.code())
        }
    }
}

fn carry_out(invocation: Invocation, out: &mut Output) -> Result<Verdict, Failure> {
    let Some(command) = invocation.command else {
        return match &invocation.list {
            Some(list) => list::list(list, out),
            None => Err(Failure::Use("it takes a command or a directory; see --help".to_owned())),
        };
    };
    match &command {
        Command::List(place) => list::list(place, out),
        Command::Stats(place) => stats::stats(place, out),
        Command::Verify { place, rewrite } => verify::verify(place, *rewrite, out),
        Command::Keys(place) => entries::keys(place, out),
        Command::Get(get) => entries::get(get, out),
        Command::Dump { place, live } => entries::dump(place, *live, out),
        Command::Compact(place) => tasks::run(place, tasks::COMPACT, out),
        Command::RebuildIndex(place) => tasks::run(place, tasks::REBUILD_INDEX, out),
        Command::Optimise(place) => tasks::run(place, tasks::OPTIMISE, out),
        Command::EvictExpired(place) => tasks::run(place, tasks::EVICT_EXPIRED, out),
        Command::Export(export) => export::export(export, out),
        Command::Import(import) => import::import(import, out),
        Command::Backup { place, archive } => archive::backup(place, archive, out),
        Command::Restore(restore) => archive::restore(restore, out),
        Command::Archive { job } => archive::run(job, out),
        Command::Image { job } => {
            let mut warnings = Vec::new();
            let done = run(job, out, &mut warnings);
            out.warn_bytes(&warnings);
            match done {
                Ok(Soundness::Sound) => Ok(Verdict::Fine),
                Ok(Soundness::Damaged) => Ok(Verdict::Found),
                Err(error) => Err(Failure::Unreadable(failure_line(job, error.as_ref()))),
            }
        }
    }
}
