//! The figures for people, and for programs.

use coldpress_examples::figures::count;
use serde::Serialize;

use crate::emulator::Counts;
use crate::measure::{Figures, Run, SECTOR_BYTES, SECTORS, Spent, Worst};
use crate::model::Cost;
use crate::ours::Ram;
use crate::overwrites::Law;
use crate::small::Held;

/// Writes the heading of a table, and its columns.
pub(crate) fn heading(run: Run) -> String {
    let title = format!(
        "{} keys, {} {}, {SECTORS} sectors of {SECTOR_BYTES} bytes",
        count(run.keys.into()),
        count(run.overwrites),
        run.law
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

/// Our figures beside those of sequential-storage with a cache, in the same run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Ratio {
    law: Law,
    keys: u32,
    overwrites: u64,
    write_amplification: f64,
    erases: f64,
}

impl Ratio {
    /// Ours divided by theirs.
    pub(crate) fn of(ours: &Figures, theirs: &Figures) -> Self {
        Self {
            law: ours.law,
            keys: ours.keys,
            overwrites: ours.overwrites,
            write_amplification: ours.write_amplification / theirs.write_amplification,
            erases: ours.erases_per_1000_puts / theirs.erases_per_1000_puts,
        }
    }
}

/// Writes the line under a table: our figures divided by theirs, and where our bytes went.
pub(crate) fn under(ours: &Figures, ratio: &Ratio) -> String {
    let Ratio { write_amplification, erases, .. } = ratio;
    let mut text = format!(
        "  coldpress ÷ sequential-storage: write amplification {write_amplification:.2}, erases {erases:.2}"
    );
    if let Some(Spent { fresh_bytes, relocated_bytes, own_bytes }) = ours.spent_per_put {
        text.push_str(&format!(
            "; bytes a put: {fresh_bytes:.0} the record, {relocated_bytes:.0} relocated, {own_bytes:.0} headers and erase intents"
        ));
    }
    text.push('\n');
    text
}

/// Writes the costs of the model.
pub(crate) fn model(run: Run, costs: &[Cost]) -> String {
    let title =
        format!("a model of a log: {} keys, {} {}", count(run.keys.into()), count(run.overwrites), run.law);
    let mut text = format!("\n{title:<78}{:>10}{:>14}\n", "write", "erases /");
    text.push_str(&format!("{:<78}{:>10}{:>14}\n", "", "amplif.", "1000 puts"));
    for Cost { name, write_amplification, erases_per_1000_puts, .. } in costs {
        text.push_str(&format!("  {name:<76}{write_amplification:>10.2}{erases_per_1000_puts:>14.1}\n"));
    }
    text
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

/// Writes the parts of the RAM of the tier: here, and on a Cortex-M3 where there is an emulator.
pub(crate) fn ram(keys: usize, here: &Ram, device: Option<&Ram>) -> String {
    let title = format!("coldpress, {} keys: bytes of RAM", count(keys as u64));
    let mut text = format!("\n{title:<42}{:>12}{:>12}\n", "here", "Cortex-M3");
    let mut line = |name: &str, of: &dyn Fn(&Ram) -> String| {
        let device = device.map_or_else(|| "-".to_owned(), of);
        text.push_str(&format!("  {name:<40}{:>12}{device:>12}\n", of(here)));
    };
    line("index", &|ram| count(ram.index_bytes));
    line("segment table", &|ram| count(ram.segment_table_bytes));
    line("open segment and read buffers", &|ram| count(ram.buffer_bytes));
    line("tasks", &|ram| count(ram.task_bytes));
    line("the tier itself", &|ram| count(ram.tier_bytes));
    line("all of it, a key", &|ram| format!("{:.1}", ram.bytes() as f64 / keys as f64));
    text
}

/// Writes all rows as one JSON object.
pub(crate) fn json(
    rows: &[Figures],
    ratios: &[Ratio],
    model: &[Cost],
    small: &[Held],
    ram: &Ram,
    emulator: Option<&Counts>,
) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct All<'a> {
        sectors: usize,
        sector_bytes: usize,
        rows: &'a [Figures],
        ratios: &'a [Ratio],
        model: &'a [Cost],
        small: &'a [Held],
        ram: &'a Ram,
        emulator: Option<&'a Counts>,
    }
    serde_json::to_string(&All {
        sectors: SECTORS,
        sector_bytes: SECTOR_BYTES,
        rows,
        ratios,
        model,
        small,
        ram,
        emulator,
    })
}
