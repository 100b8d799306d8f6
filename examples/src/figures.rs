//! The figures of a replay, for a program to read and for a person.

use serde::Serialize;

use crate::latency::CallFigures;
use crate::store::{PageView, SegmentView, Store};

/// The figures of a replay; one JSON object with these names. Bytes are bytes, shares are 0 to 1.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// Requests that were carried out.
    pub requests: u64,
    /// Values that were stored.
    pub puts: u64,
    /// Reads among the requests.
    pub gets: u64,
    /// Reads that found a value.
    pub hits: u64,
    /// Wrong answers, while the requests ran and in the check of every key before closing.
    pub mismatches: u64,
    /// Keys and values as they were put.
    pub bytes_put: u64,
    /// Fresh records as they were written.
    pub bytes_encoded: u64,
    /// All that was written.
    pub bytes_written: u64,
    /// `bytes_written` ÷ `bytes_encoded`.
    pub write_amplification: f64,
    /// The same of the second half of the requests; `None` where too little was written.
    pub write_amplification_late: Option<f64>,
    /// All that was written in that half ÷ keys and values as they were put in it.
    pub written_per_byte_put_late: Option<f64>,
    /// The limit of the tier.
    pub capacity_bytes: u64,
    /// The most that the tier ever took.
    pub peak_bytes: u64,
    /// How often it was looked how many bytes of the disk the files have, while the requests ran.
    pub disk_looks: u64,
    /// How often these were more than the limit and 64 KiB, for what a tier has beside its log.
    pub disk_looks_above: u64,
    /// The most that was seen.
    pub disk_peak_bytes: u64,
    /// Live bytes ÷ capacity when the requests were done.
    pub live_share: f64,
    /// Compactions.
    pub compactions: u64,
    /// Bytes of log segments that were freed.
    pub log_bytes_reclaimed: u64,
    /// Bytes of pool pages that went back to the operating system.
    pub pool_bytes_reclaimed: u64,
    /// External fragmentation of the pools before the defragmentation.
    pub fragmentation_before: f64,
    /// The same after it.
    pub fragmentation_after: f64,
    /// Bytes that the emergency cleanup gave back.
    pub emergency_bytes: u64,
    /// Records that the reopened tier found.
    pub recovered_records: u64,
    /// Milliseconds that reopening took, recovery included.
    pub recovery_ms: u64,
    /// Wrong answers after reopening.
    pub reopen_mismatches: u64,
    /// Bytes of index for each key.
    pub index_bytes_per_key: f64,
    /// Microseconds of puts.
    pub put_us: CallFigures,
    /// Microseconds of gets.
    pub get_us: CallFigures,
    /// Milliseconds from the first opening to the end of the last check.
    pub elapsed_ms: u64,
}

/// Segments and pages at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The segments in order.
    pub segments: Vec<SegmentView>,
    /// The pages of the pools.
    pub pages: Vec<PageView>,
    /// External fragmentation of the pools, in thousandths.
    pub fragmentation_permille: u32,
}

impl Snapshot {
    /// Looks at a store.
    #[must_use]
    pub fn take<S: Store>(store: &S) -> Self {
        Self {
            segments: store.segments(),
            pages: store.pages(),
            fragmentation_permille: store.fragmentation_permille(),
        }
    }
}

/// Writes a count of bytes with a unit, to three digits.
#[must_use]
pub fn bytes(count: u64) -> String {
    let mut number = count as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].iter();
    let mut unit = units.next();
    while number >= 999.5 {
        let Some(next) = units.next() else { break };
        number /= 1024.0;
        unit = Some(next);
    }
    let unit = unit.unwrap_or(&"B");
    match number {
        _ if *unit == "B" => format!("{count} B"),
        _ if number < 10.0 => format!("{number:.2} {unit}"),
        _ if number < 100.0 => format!("{number:.1} {unit}"),
        _ => format!("{number:.0} {unit}"),
    }
}

/// Writes a count with its thousands apart.
#[must_use]
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a time in microseconds with a unit, or a dash.
#[must_use]
pub fn micros(us: Option<f64>) -> String {
    match us {
        None => "–".to_owned(),
        Some(us) if us < 9.95 => format!("{us:.1} µs"),
        Some(us) if us < 999.5 => format!("{us:.0} µs"),
        Some(us) if us < 99_950.0 => format!("{:.1} ms", us / 1000.0),
        Some(us) if us < 999_500.0 => format!("{:.0} ms", us / 1000.0),
        Some(us) => format!("{:.1} s", us / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [0, 999, 1000, 1 << 20, 1_183_132_672].map(bytes),
            ["0 B", "999 B", "0.98 KiB", "1.00 MiB", "1.10 GiB"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let times = [None, Some(0.94), Some(12.3), Some(1500.0), Some(150_000.0), Some(2_500_000.0)];
        assert_eq!(times.map(micros), ["–", "0.9 µs", "12 µs", "1.5 ms", "150 ms", "2.5 s"]);
    }
}
