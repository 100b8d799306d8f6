//! The standard output, warnings, and the bar that shows progress.

use core::fmt::Display;
use core::time::Duration;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// The standard output, locked and buffered, and the standard error.
#[derive(Debug)]
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    bar: ProgressBar,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::new(io::stdout().lock()), bar: ProgressBar::hidden() }
    }

    /// Writes one JSON object in a line.
    pub(crate) fn json(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(object)?;
        Ok(writeln!(self.out, "{line}")?)
    }

    /// Writes a warning, or the reason of a failure, in one line.
    pub(crate) fn warn(&self, warning: &impl Display) {
        self.warn_bytes(format!("coldpress: {warning}\n").as_bytes());
    }

    /// Writes lines of warnings as they are.
    pub(crate) fn warn_bytes(&self, lines: &[u8]) {
        // Nobody is left to hear of a standard error that can't be written.
        self.bar.suspend(|| drop(io::stderr().write_all(lines)));
    }

    /// Shows a bar of thousandths on a terminal. With `streams` the output is written meanwhile, and goes elsewhere.
    pub(crate) fn begin(&mut self, title: &'static str, streams: bool) {
        if streams && io::stdout().is_terminal() {
            return;
        }
        // Hidden by itself where the standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {percent}% {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(title);
        self.bar = bar;
    }

    pub(crate) fn show(&self, permille: u64) {
        self.bar.set_position(permille.min(1000));
    }

    /// The bar, for another thread that has the progress.
    pub(crate) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    pub(crate) fn end(&mut self) {
        self.bar.finish_and_clear();
        self.bar = ProgressBar::hidden();
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A number of bytes as a person reads it.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A time as a person reads it.
pub(crate) fn time(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
