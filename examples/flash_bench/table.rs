//! The figures for people, and for programs.

use coldpress_examples::figures::count;
use serde::Serialize;

use crate::emulator::Counts;
use crate::measure::{Figures, Run, SECTOR_BYTES, SECTORS, Worst};

/// Writes what a table shows, and its columns.
pub(crate) fn heading(run: Run) -> String {
    let title = format!(
        "{} keys, {} uniform overwrites, {SECTORS} sectors of {SECTOR_BYTES} bytes",
        count(run.keys.into()),
        count(run.overwrites)
    );
    let first = columns(["", "", "write", "erases /", "worst call", "", "", "read /", "index", "RAM"]);
    let second = columns([
        "",
        "",
        "amplif.",
        "1000 puts",
        "erases",
        "programs B",
        "reads B",
        "get B",
        "B / key",
        "B / key",
    ]);
    format!("\n{title}\n{first}{second}")
}

/// Writes a row.
pub(crate) fn row(figures: &Figures) -> String {
    let Worst { erases, programmed_bytes, read_bytes } = figures.worst_call;
    columns([
        figures.store,
        figures.configuration,
        &format!("{:.2}", figures.write_amplification),
        &format!("{:.1}", figures.erases_per_1000_puts),
        &count(erases),
        &count(programmed_bytes),
        &count(read_bytes),
        &format!("{:.0}", figures.read_bytes_per_get),
        &format!("{:.1}", figures.index_bytes_per_key),
        &format!("{:.1}", figures.ram_bytes_per_key),
    ])
}

fn columns(cells: [&str; 10]) -> String {
    let [store, configuration, numbers @ ..] = cells;
    let widths = [9, 10, 8, 12, 13, 10, 9, 9];
    let mut text = format!("  {store:<26}{configuration:<22}");
    for (number, width) in numbers.iter().zip(widths) {
        text.push_str(&format!("{number:>width$}"));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Writes all rows as one JSON object.
pub(crate) fn json(rows: &[Figures], emulator: Option<&Counts>) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct All<'a> {
        sectors: usize,
        sector_bytes: usize,
        rows: &'a [Figures],
        emulator: Option<&'a Counts>,
    }
    serde_json::to_string(&All { sectors: SECTORS, sector_bytes: SECTOR_BYTES, rows, emulator })
}
