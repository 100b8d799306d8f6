//! The tier's time, compared with the clocks (rule 11): it goes on when they do, never back, and ahead only within the bound or
//! when confirmed.

use super::world::World;

/// How long a confirmation holds, in milliseconds.
const CONFIRMED_MS: u64 = 60_000;
/// The part of the time, as a divisor, that may be lost to a monotonic clock that runs too fast.
const SLEW: u64 = 64;

/// The observations of the tier's time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Watch {
    /// The monotonic clock and the tier's time at the last look, in milliseconds.
    last: Option<(u64, u64)>,
    /// Whether a confirmation may be taken from the next look on.
    is_confirmed: bool,
    /// The end of that confirmation, by the monotonic clock.
    confirmed_ms: Option<u64>,
}

impl World<'_> {
    /// Confirms the wall clock.
    pub fn confirm(&mut self) {
        self.tier.confirm_clock();
        self.watch.is_confirmed = true;
    }

    /// Whether the look that was just made may have taken a confirmation.
    fn is_confirmed(&mut self) -> bool {
        if core::mem::take(&mut self.watch.is_confirmed) {
            self.watch.confirmed_ms = Some(self.lasting.now.monotonic_ms + CONFIRMED_MS);
        }
        self.watch.confirmed_ms.is_some_and(|end_ms| self.lasting.now.monotonic_ms <= end_ms)
    }

    /// Notes by how much the tier's time may be ahead of the wall clock for good.
    fn note_ahead(&mut self, clock_s: u32) {
        if self.is_confirmed() && self.lasting.now.wall_s > 0 {
            // The time may have been slowed down in the same look.
            let ahead_s = (clock_s + 1).saturating_sub(self.lasting.now.wall_s);
            self.lasting.ahead_s = self.lasting.ahead_s.max(ahead_s);
        }
    }

    /// Looks at the tier's time after the clocks went on, and compares it with the last look.
    ///
    /// # Panics
    /// Where it went back, stood still, or went further than it may.
    pub(super) fn watch_time(&mut self) {
        let (now, clock_ms) = (self.lasting.now, self.tier.clock_ms());
        self.note_ahead(self.tier.clock_s());
        let Some((before_ms, was_ms)) = self.watch.last.replace((now.monotonic_ms, clock_ms)) else { return };
        let passed_ms = now.monotonic_ms - before_ms;
        let why = format!("{passed_ms} ms have passed; {was_ms} ms are now {clock_ms} ms; {now:?}");
        assert!(clock_ms + 1 >= was_ms + passed_ms - passed_ms / SLEW, "rule 11: it stands still: {why}");
        if clock_ms > was_ms + passed_ms + 1 {
            let clock_s = clock_ms / 1_000;
            let wall_s = u64::from(now.wall_s);
            let is_wall = clock_s == wall_s || clock_s < wall_s + u64::from(self.lasting.ahead_s);
            let bound_ms = was_ms + passed_ms + 1_000 * (u64::from(self.config().clock_jump_s_max) + 1);
            assert!(is_wall && now.wall_s > 0, "rule 11: it is ahead of the wall clock: {why}");
            assert!(clock_ms <= bound_ms || self.is_confirmed(), "rule 11: nobody confirmed this: {why}");
        }
    }

    /// The time at which a mount ended.
    ///
    /// # Panics
    /// Where it is earlier than was promised, or later than the clocks allow.
    pub(super) fn check_start(&mut self) {
        let (clock_s, now) = (self.tier.clock_s(), self.lasting.now);
        self.note_ahead(clock_s);
        let (promised_s, newest_s) = (self.lasting.promised_s, self.lasting.newest_s);
        let why = format!(
            "rule 11: the time starts at {clock_s} s; {promised_s} s were promised, {newest_s} s the newest; {now:?}"
        );
        assert!(clock_s >= promised_s, "{why}");
        let by_wall_s = now.wall_s.saturating_add(self.lasting.ahead_s);
        assert!(clock_s <= newest_s.max(by_wall_s), "{why}");
        let bound_s = newest_s.saturating_add(self.config().clock_jump_s_max);
        let is_blank = newest_s == 0;
        assert!(clock_s <= bound_s || is_blank || self.is_confirmed(), "{why}; nobody confirmed it");
    }
}
