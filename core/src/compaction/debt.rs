//! How short of free segments the log is.

use crate::writer::Log;

/// How far free segments are below the high watermark, in permille; 1,000 when fresh records have to wait.
pub(crate) fn debt_permille(log: &Log<'_>) -> u16 {
    let free = log.free() + log.blocks.to_come();
    let high = log.layout.config().high_watermark_segments.max(1);
    match free.checked_sub(log.free_reserve() + 1) {
        None => 1000,
        Some(above) => {
            let permille = high.saturating_sub(above).saturating_mul(999) / high;
            u16::try_from(permille).unwrap_or(999)
        }
    }
}
