//! The wait between passes that no client asked for.

/// The longest wait, in intervals.
const TIMES_MAX: u32 = 64;

/// Decides when a pass of background work is worth another try.
///
/// After a pass that freed nothing the wait doubles, up to 64 intervals. A pass that frees something makes it one interval again. A
/// change by a client makes a pass due at once: `changes` is any number that differs then. The caller keeps the interval itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PassBackoff {
    times: u32,
    /// When the last pass began, and the changes up to then.
    last_ms: u64,
    changes: Option<u64>,
}

impl PassBackoff {
    pub(crate) const fn new() -> Self {
        Self { times: 1, last_ms: 0, changes: None }
    }

    /// Tells whether a pass may begin now.
    pub(crate) fn is_due(&mut self, now_ms: u64, interval_ms: u64, changes: u64) -> bool {
        if self.changes != Some(changes) {
            self.times = 1;
            return true;
        }
        self.times == 1 || now_ms >= self.due_ms(interval_ms)
    }

    /// When the next pass may begin if nothing changes.
    pub(crate) const fn due_ms(&self, interval_ms: u64) -> u64 {
        self.last_ms.saturating_add(interval_ms.saturating_mul(self.times as u64))
    }

    /// A pass begins.
    pub(crate) const fn begin(&mut self, now_ms: u64, changes: u64) {
        self.last_ms = now_ms;
        self.changes = Some(changes);
    }

    /// A pass ended.
    pub(crate) fn end(&mut self, has_freed: bool) {
        self.times = if has_freed { 1 } else { (self.times * 2).min(TIMES_MAX) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vain_passes_double_the_wait_up_to_64_intervals() {
        let mut passes = PassBackoff::new();
        let mut begun = Vec::new();
        for now_ms in (0..=35_000).step_by(100) {
            if passes.is_due(now_ms, 100, 7) {
                begun.push(now_ms);
                passes.begin(now_ms, 7);
                passes.end(false);
            }
        }
        let waits: Vec<_> = begun.windows(2).map(|pair| (pair[1] - pair[0]) / 100).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 64, 64, 64]);
    }

    #[test]
    fn change_or_gain_makes_the_wait_one_interval_again() {
        let mut passes = PassBackoff::new();
        for now_ms in [0, 1_000, 2_000] {
            assert!(passes.is_due(now_ms, 100, 1));
            passes.begin(now_ms, 1);
            passes.end(false);
        }
        assert!(!passes.is_due(2_100, 100, 1) && passes.is_due(2_100, 100, 2), "a client wrote");
        passes.begin(2_100, 2);
        passes.end(false);
        assert!(!passes.is_due(2_200, 100, 2));
        passes.begin(2_300, 2);
        passes.end(true);
        assert!(passes.is_due(2_400, 100, 2), "it freed something");
    }
}
