//! The figures of a pool, and their row in the table.

use serde::{Deserialize, Serialize};

/// The figures of one candidate in one round.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Figures {
    /// Nanoseconds of a call that allocates and writes an object, on average.
    pub(super) allocate_ns: f64,
    /// The same after objects were freed.
    pub(super) allocate_again_ns: f64,
    /// Nanoseconds of a call that frees an object, on average.
    pub(super) free_ns: f64,
    /// Bytes held by bytes used, after the fill.
    pub(super) full: Memory,
    /// After most objects were freed at random.
    pub(super) scattered: Memory,
    /// After tidying up.
    pub(super) tidy: Memory,
    /// Milliseconds of tidying up, all calls together.
    pub(super) tidy_ms: f64,
    /// Microseconds of its longest call; 0 for a pool that can't.
    pub(super) tidy_longest_us: f64,
    /// Microseconds of the longest call that allocates or frees.
    pub(super) longest_us: f64,
}

/// Memory held, by the bytes of live objects.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// By the pool's own count.
    pub(super) committed: f64,
    /// By that of the system.
    pub(super) process: f64,
}

type Column = (&'static str, fn(&Figures) -> f64);

const COLUMNS: [Column; 12] = [
    ("allocate ns", |f| f.allocate_ns),
    ("again ns", |f| f.allocate_again_ns),
    ("free ns", |f| f.free_ns),
    ("full: committed ÷ used", |f| f.full.committed),
    ("process", |f| f.full.process),
    ("scattered: committed ÷ used", |f| f.scattered.committed),
    ("process", |f| f.scattered.process),
    ("tidy: committed ÷ used", |f| f.tidy.committed),
    ("process", |f| f.tidy.process),
    ("tidying ms", |f| f.tidy_ms),
    ("its longest call µs", |f| f.tidy_longest_us),
    ("longest allocate or free µs", |f| f.longest_us),
];

pub(super) fn print_head() {
    let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
    println!("| pool | {} |\n|---|{}", names.join(" | "), "---:|".repeat(COLUMNS.len()));
}

pub(super) fn print(name: &str, rounds: &[Figures]) {
    let cells: Vec<_> = COLUMNS.iter().map(|(_, of)| format!("{:.2}", median(rounds, *of))).collect();
    println!("| {name} | {} |", cells.join(" | "));
}

fn median(rounds: &[Figures], of: fn(&Figures) -> f64) -> f64 {
    let mut all: Vec<f64> = rounds.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
