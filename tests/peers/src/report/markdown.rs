//! The table, as Markdown.

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet};

use super::rows::{Better, Cell, Row};
use crate::run::Measured;
use crate::stores::Variant;

/// Makes the page: how it was measured, the table, and the settings.
pub(crate) fn table(about: &str, rows: &[Row], measured: &[Measured]) -> String {
    let variants: BTreeSet<Variant> = rows.iter().flat_map(|row| row.cells.keys().copied()).collect();
    let mut page = format!("# Coldpress beside other stores\n\n{about}\n\n");
    page.push_str("| row | unit |");
    for variant in &variants {
        let _ = write!(page, " {} |", variant.name());
    }
    page.push_str(" ahead |\n|---|---|");
    page.push_str(&"---:|".repeat(variants.len() + 1));
    page.push('\n');
    for row in rows {
        let sign = if row.better == Better::More { "↑" } else { "↓" };
        let _ = write!(page, "| {} | {} {sign} |", row.name, row.unit);
        for variant in &variants {
            let _ = write!(page, " {} |", row.cells.get(variant).map_or("–".to_owned(), text));
        }
        let ahead = row.ahead().map_or("–".to_owned(), |ratio| {
            if ratio >= 1.0 { format!("**{}**", short(ratio)) } else { short(ratio) }
        });
        let _ = writeln!(page, " {ahead} |");
    }
    page.push_str(
        "\nMore is better in rows with ↑, less in those with ↓. A cell is the median of the rounds, with the lowest and the highest. `ahead`: how many \
         times better the best of ours is than the best of the others; below 1 it is behind. A cell with “lost” has values that were \
         acknowledged and not found, or older ones; such a store is not the measure of `ahead`. “–”: the store does not make this promise, or \
         has no figure.\n",
    );
    page.push_str("\n## Settings\n\n");
    for (case, settings) in settings(measured) {
        let _ = writeln!(page, "- {case}: {settings}");
    }
    page
}

fn text(cell: &Cell) -> String {
    let mut text = cell.median().map_or_else(|| "–".to_owned(), short);
    if let Some((low, high)) = cell.spread() {
        let _ = write!(text, " ({}–{})", short(low), short(high));
    }
    if cell.lost_permille > 0.0 {
        let _ = write!(text, " lost {} %", short(cell.lost_permille / 10.0));
    }
    if let Some(failure) = &cell.failure {
        let _ = write!(text, " failed: {}", failure.replace('|', "/"));
    }
    text
}

/// Three digits of a figure.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The settings of each store, once each, with the first row that has them.
fn settings(measured: &[Measured]) -> Vec<(String, String)> {
    let mut first: BTreeMap<&str, String> = BTreeMap::new();
    let mut all = Vec::new();
    for one in measured {
        let Ok(outcome) = &one.outcome else { continue };
        if first.insert(&outcome.settings, one.case.clone()).is_none() {
            all.push((format!("{} ({})", one.variant.name(), one.case), outcome.settings.clone()));
        }
    }
    all.sort();
    all
}
