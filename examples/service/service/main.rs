//! Serves a cache over HTTP and the Redis protocol, with a live page: `cargo run --release --example service`.

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use coldpress_service::{Options, run};

fn main() -> ExitCode {
    // Output that nobody reads any more ends no service.
    let ended = run(Options::parse(), |ready| drop(writeln!(stdout(), "{ready}")));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(stderr(), "{error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
