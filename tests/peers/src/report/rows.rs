//! Rows of the table: what is taken from the outcome of a step, and how rounds become one cell.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::job::{Outcome, Step};
use crate::measure::Latencies;
use crate::run::Measured;
use crate::stores::Variant;

/// A store that lost more of a thousand reads is no measure for others.
const LOST_PERMILLE_MAX: f64 = 10.0;

/// Whether more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Better {
    /// As of operations a second.
    More,
    /// As of latencies.
    Less,
}

/// The figures of one store in one row, of all rounds.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Cell {
    values: Vec<f64>,
    /// Thousandths of checked reads that found nothing or an older value: the most of any round.
    pub(crate) lost_permille: f64,
    /// Why a round has no figure.
    pub(crate) failure: Option<String>,
}

impl Cell {
    /// The middle of the figures; `None` without one.
    pub(crate) fn median(&self) -> Option<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
        Some((low + high) / 2.0)
    }

    /// The lowest and the highest figure, of several.
    pub(crate) fn spread(&self) -> Option<(f64, f64)> {
        let low = self.values.iter().copied().min_by(f64::total_cmp)?;
        let high = self.values.iter().copied().max_by(f64::total_cmp)?;
        (self.values.len() > 1).then_some((low, high))
    }

    /// Whether the store kept what it was given, and did not fail.
    pub(crate) fn is_comparable(&self) -> bool {
        self.failure.is_none() && self.lost_permille <= LOST_PERMILLE_MAX
    }
}

/// A row of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) cells: BTreeMap<Variant, Cell>,
}

impl Row {
    /// The best of ours and the best of the others, as how many times better ours is.
    pub(crate) fn ahead(&self) -> Option<f64> {
        let best = |is_ours: bool| {
            let of = self.cells.iter().filter(|(variant, _)| variant.is_ours() == is_ours);
            let medians = of.filter(|(_, cell)| cell.is_comparable()).filter_map(|(_, cell)| cell.median());
            match self.better {
                Better::More => medians.max_by(f64::total_cmp),
                Better::Less => medians.min_by(f64::total_cmp),
            }
        };
        let (ours, theirs) = (best(true)?, best(false)?);
        let ratio = match self.better {
            Better::More => ours / theirs,
            Better::Less => theirs / ours,
        };
        ratio.is_finite().then_some(ratio)
    }
}

/// A figure of an outcome: the end of the row's name, its unit, and how it is taken.
type Figure = (&'static str, &'static str, Better, fn(&Outcome) -> f64);

const RATE: Figure = ("", "k/s", Better::More, |o| ratio(o.ops as f64 / 1e3, o.seconds));
const WITH_FLUSH: Figure =
    (", until flushed", "k/s", Better::More, |o| ratio(o.ops as f64 / 1e3, o.seconds + o.flush_seconds));
const P50: Figure = (", median call", "µs", Better::Less, |o| o.latencies.p50_ns as f64 / 1e3);
const P999: Figure = (", p99.9", "µs", Better::Less, |o| o.latencies.p999_ns as f64 / 1e3);
const LONGEST: Figure = (", longest pause", "ms", Better::Less, |o| o.latencies.max_ns as f64 / 1e6);
const CPU: Figure =
    (", processor time", "µs/call", Better::Less, |o| ratio(o.cpu_seconds * 1e6, o.ops as f64));
const WRITTEN: Figure = (", disk writes ÷ bytes put", "×", Better::Less, |o| {
    ratio(o.written_bytes as f64, o.user_bytes as f64)
});
const DISK: Figure =
    (", disk ÷ live", "×", Better::Less, |o| ratio(o.disk_bytes as f64, o.live_bytes as f64));
const DISK_PEAK: Figure =
    (", most disk ÷ live", "×", Better::Less, |o| ratio(o.disk_bytes_peak as f64, o.live_bytes as f64));
const P99: Figure = (", p99", "µs", Better::Less, |o| o.latencies.p99_ns as f64 / 1e3);
const P50_BESIDE: Figure =
    (" while it compacts, median call", "µs", Better::Less, |o| beside(o, |l| l.p50_ns));
const P99_BESIDE: Figure = (" while it compacts, p99", "µs", Better::Less, |o| beside(o, |l| l.p99_ns));
const P999_BESIDE: Figure = (" while it compacts, p99.9", "µs", Better::Less, |o| beside(o, |l| l.p999_ns));
const LONGEST_BESIDE: Figure =
    (" while it compacts, longest pause", "ms", Better::Less, |o| beside(o, |l| l.max_ns) / 1e3);
const BESIDE_TO_IDLE: Figure = (", p99.9 while it compacts ÷ idle", "×", Better::Less, |o| {
    ratio(beside(o, |l| l.p999_ns), o.latencies.p999_ns as f64 / 1e3)
});
const REWRITTEN: Figure = (", compaction meanwhile", "MiB/s", Better::More, |o| {
    o.compacting.map_or(f64::NAN, |c| ratio(c.rewritten_bytes as f64 / f64::from(1 << 20), c.seconds))
});
const OPEN: Figure = (", seconds", "s", Better::Less, |o| o.open_seconds);

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { f64::NAN }
}

/// Microseconds of a call while the store compacted; no number where it did not.
fn beside(outcome: &Outcome, ns: fn(&Latencies) -> u64) -> f64 {
    outcome.compacting.map_or(f64::NAN, |compacting| ns(&compacting.latencies) as f64 / 1e3)
}

fn figures(step: &Step) -> &'static [Figure] {
    match step {
        Step::Load { .. } | Step::LoadAndDie { .. } => &[RATE, WITH_FLUSH, P999, LONGEST, CPU, WRITTEN],
        Step::Get { .. } => &[RATE, P50, P999, CPU],
        Step::Mix { .. } | Step::Remove { .. } => &[RATE, P999, LONGEST, CPU],
        Step::Overwrite { .. } => &[RATE, WITH_FLUSH, P999, LONGEST, CPU, WRITTEN, DISK, DISK_PEAK],
        Step::Beside { .. } => &[
            P50,
            P50_BESIDE,
            P99,
            P99_BESIDE,
            P999,
            P999_BESIDE,
            BESIDE_TO_IDLE,
            LONGEST,
            LONGEST_BESIDE,
            REWRITTEN,
        ],
        Step::Commit { .. } => &[RATE, P50, P999],
        Step::Replay(_) => &[RATE, P999, LONGEST, CPU, WRITTEN],
        Step::Open => &[OPEN],
    }
}

/// Makes the rows, in the order of the cases.
pub(crate) fn rows(measured: &[Measured]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for one in measured {
        let name = if one.row.is_empty() { one.case.clone() } else { format!("{}: {}", one.case, one.row) };
        for (end, unit, better, figure) in figures(&one.step) {
            let cell = cell(&mut rows, format!("{name}{end}"), unit, *better, one.variant);
            add(cell, one, *figure);
        }
        if matches!(one.step, Step::Open) {
            let cell = cell(&mut rows, format!("{name}, records"), "M/s", Better::More, one.variant);
            let keys = one.keys as f64;
            add(cell, one, |outcome| ratio(keys / 1e6, outcome.open_seconds));
        }
    }
    rows.extend(memory(measured));
    // A picture of nothing but failures tells nothing.
    rows.retain(|row| row.cells.values().any(|cell| cell.median().is_some()));
    rows
}

fn cell<'a>(
    rows: &'a mut Vec<Row>,
    name: String,
    unit: &'static str,
    better: Better,
    variant: Variant,
) -> &'a mut Cell {
    let at = rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
        rows.push(Row { name, unit, better, cells: BTreeMap::new() });
        rows.len() - 1
    });
    rows[at].cells.entry(variant).or_default()
}

fn add(cell: &mut Cell, one: &Measured, figure: impl Fn(&Outcome) -> f64) {
    match &one.outcome {
        Ok(outcome) => {
            let value = figure(outcome);
            if value.is_finite() {
                cell.values.push(value);
            }
            let lost = outcome.missing + outcome.stale;
            let permille = lost as f64 * 1000.0 / (outcome.checked + lost).max(1) as f64;
            cell.lost_permille = cell.lost_permille.max(permille);
        }
        Err(error) => cell.failure = Some(error.clone()),
    }
}

/// Memory a key: the difference between a store of all keys and one of a quarter, by the difference of the keys.
fn memory(measured: &[Measured]) -> Option<Row> {
    let is_close = |one: &&Measured| matches!(one.step, Step::Open) && one.case.contains("close");
    let mut cells: BTreeMap<Variant, Cell> = BTreeMap::new();
    for large in measured.iter().filter(is_close).filter(|one| !one.case.contains("quarter")) {
        let small = measured.iter().filter(is_close).find(|one| {
            one.case.contains("quarter") && one.variant == large.variant && one.round == large.round
        });
        let Some(small) = small else { continue };
        let (Ok(most), Ok(least)) = (&large.outcome, &small.outcome) else { continue };
        let bytes = most.memory_bytes as f64 - least.memory_bytes as f64;
        let keys = (large.keys - small.keys).max(1) as f64;
        cells.entry(large.variant).or_default().values.push(bytes / keys);
    }
    let name = "memory a key after an open, by two sizes".to_owned();
    (!cells.is_empty()).then_some(Row { name, unit: "B", better: Better::Less, cells })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell_of(values: &[f64]) -> Cell {
        Cell { values: values.to_vec(), ..Cell::default() }
    }

    #[test]
    fn cell_gives_median_and_spread() {
        assert_eq!(cell_of(&[]).median(), None);
        assert_eq!(cell_of(&[3.0]).median(), Some(3.0));
        assert_eq!(cell_of(&[3.0]).spread(), None);
        assert_eq!(cell_of(&[5.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(cell_of(&[4.0, 1.0]).median(), Some(2.5));
        assert_eq!(cell_of(&[5.0, 1.0, 2.0]).spread(), Some((1.0, 5.0)));
    }

    #[test]
    fn row_compares_best_with_best_of_those_that_kept_values() {
        let mut cells = BTreeMap::new();
        cells.insert(Variant::ColdpressRaw, cell_of(&[10.0]));
        cells.insert(Variant::ColdpressLz4, cell_of(&[30.0]));
        cells.insert(Variant::Foyer, Cell { lost_permille: 500.0, ..cell_of(&[90.0]) });
        cells.insert(Variant::Fjall, cell_of(&[20.0]));
        let row = |better| Row { name: String::new(), unit: "k/s", better, cells: cells.clone() };
        assert_eq!(row(Better::More).ahead(), Some(1.5));
        assert_eq!(row(Better::Less).ahead(), Some(2.0));
    }
}
