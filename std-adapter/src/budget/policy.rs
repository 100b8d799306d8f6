//! The kind of work that may go on, and when: a pure function of a state and a time.
//!
//! **One slice at a time.** Work of all kinds takes turns, so its stalls never add up. After a slice the budget rests for as long
//! as the slice took. So work in slices has at most half of one core. A client that met one slice does not meet a second one at
//! once, however long the first was. A rest of fixed length would let slices on a slow disk take nearly all the time.
//!
//! **A byte rate.** Bytes that were relocated are paid for by time: `paid_at` is when all of them are. Time that was not used
//! is kept for one slice at most, which is the burst. A slice that relocated more than that is paid for by those behind it.
//!
//! **Turns.** The kind that waits longest goes first. It loses its turn if it does not ask again within [`GRACE`] of the moment at
//! which it was to do so.

use core::time::Duration;

use super::config::BudgetConfig;
use super::stats::BudgetStats;

/// A kind of background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkKind {
    /// Values in the pools are moved together.
    Defragmentation,
    /// Segments of a log are cleaned, and tasks run.
    Compaction,
    /// Values of a cache go to a lower tier.
    Demotion,
    /// Codecs are measured on live records.
    Recompression,
}

impl WorkKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Defragmentation, Self::Compaction, Self::Demotion, Self::Recompression];

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Defragmentation => 0,
            Self::Compaction => 1,
            Self::Demotion => 2,
            Self::Recompression => 3,
        }
    }
}

/// How long a turn is kept for a kind that does not ask again: longer than a thread takes to wake up.
pub(super) const GRACE: Duration = Duration::from_millis(5);

/// Work that could not wait is paid for by later slices, up to so much time. More would stop expiry and compaction for hours
/// after a long shortage.
pub(super) const DEBT_MAX: Duration = Duration::from_secs(10);

/// The wait of one kind.
#[derive(Debug, Clone, Copy)]
struct KindWait {
    since: Duration,
    /// Its turn is kept until then.
    until: Duration,
}

/// The slice that is out.
#[derive(Debug, Clone, Copy)]
struct Out {
    kind: WorkKind,
    number: u64,
    since: Duration,
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It may work. `bytes` may be relocated in the slice; `None` for no limit.
    Grant { number: u64, bytes: Option<u64> },
    /// It may ask again after this time; never zero.
    Wait(Duration),
}

/// The state of a budget. All times are counted from when the budget was made.
#[derive(Debug)]
pub(super) struct Turns {
    config: BudgetConfig,
    numbers: u64,
    out: Option<Out>,
    rests_until: Duration,
    paid_at: Duration,
    waits: [Option<KindWait>; WorkKind::ALL.len()],
    stats: BudgetStats,
}

impl Turns {
    pub(super) fn new(config: BudgetConfig) -> Self {
        Self {
            config,
            numbers: 0,
            out: None,
            rests_until: Duration::ZERO,
            paid_at: Duration::ZERO,
            waits: [None; 4],
            stats: BudgetStats::default(),
        }
    }

    pub(super) const fn config(&self) -> &BudgetConfig {
        &self.config
    }

    pub(super) const fn stats(&self) -> BudgetStats {
        self.stats
    }

    /// Decides on a request. Bounds: looks at each kind once.
    pub(super) fn ask(&mut self, kind: WorkKind, now: Duration) -> Decision {
        let free_at = self.free_at(now);
        if free_at <= now && !self.is_behind(kind, now) {
            return self.grant(kind, now);
        }
        // Behind another kind, the slice of that one comes first, and the rest after it.
        let turn_at = if free_at > now { free_at } else { now + 2 * self.config.slice };
        let wait = (turn_at - now).max(self.config.slice / 2);
        let since = self.wait_of(kind).map_or(now, |wait| wait.since);
        *self.wait_mut(kind) = Some(KindWait { since, until: now + wait + GRACE });
        self.stats.count_refused(kind);
        Decision::Wait(wait)
    }

    /// When the next slice may begin, as far as is known.
    fn free_at(&self, now: Duration) -> Duration {
        let paid_at = if self.config.bytes_per_s.is_some() { self.paid_at } else { Duration::ZERO };
        let out_until = self.out.map_or(Duration::ZERO, |out| {
            // A slice that is late may end at any moment.
            let ends = (out.since + self.config.slice).max(now);
            ends + self.config.slice
        });
        out_until.max(self.rests_until).max(paid_at)
    }

    /// Whether another kind has waited for longer, and still does.
    fn is_behind(&self, kind: WorkKind, now: Duration) -> bool {
        let since = self.wait_of(kind).map_or(now, |wait| wait.since);
        let others = WorkKind::ALL.into_iter().filter(|other| *other != kind);
        others.filter_map(|other| self.wait_of(other)).any(|wait| wait.since < since && now <= wait.until)
    }

    fn grant(&mut self, kind: WorkKind, now: Duration) -> Decision {
        self.numbers += 1;
        *self.wait_mut(kind) = None;
        self.out = Some(Out { kind, number: self.numbers, since: now });
        self.stats.count_granted(kind);
        let bytes = self.config.bytes_per_s.map(|rate| {
            let saved = now.saturating_sub(self.paid_at).min(self.config.slice);
            bytes_in(saved, rate).max(1)
        });
        Decision::Grant { number: self.numbers, bytes }
    }

    /// A slice ends.
    pub(super) fn end(&mut self, number: u64, bytes: u64, now: Duration) {
        let Some(out) = self.out.take_if(|out| out.number == number) else { return };
        let took = now.saturating_sub(out.since);
        self.rests_until = self.rests_until.max(now + took);
        self.pay(bytes, now);
        self.stats.count_slice(out.kind, took, bytes);
    }

    /// Takes note of work that could not wait for a slice: later slices pay for it.
    pub(super) fn book(&mut self, kind: WorkKind, took: Duration, bytes: u64, now: Duration) {
        self.rests_until = self.rests_until.max(now + took.min(DEBT_MAX));
        let most = (now + DEBT_MAX).max(self.paid_at);
        self.pay(bytes, now);
        self.paid_at = self.paid_at.min(most);
        self.stats.count_booked(kind, took, bytes);
    }

    fn pay(&mut self, bytes: u64, now: Duration) {
        let Some(rate) = self.config.bytes_per_s else { return };
        let saved_from = now.saturating_sub(self.config.slice);
        self.paid_at = self.paid_at.max(saved_from).saturating_add(time_for(bytes, rate));
    }

    fn wait_of(&self, kind: WorkKind) -> Option<KindWait> {
        self.waits[kind.index()]
    }

    fn wait_mut(&mut self, kind: WorkKind) -> &mut Option<KindWait> {
        &mut self.waits[kind.index()]
    }
}

/// The time in which so many bytes are earned, rounded up.
fn time_for(bytes: u64, rate: u64) -> Duration {
    let nanos = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The bytes that are earned in a time.
fn bytes_in(time: Duration, rate: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(rate) / 1_000_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::WorkKind::{Compaction, Defragmentation, Demotion, Recompression};
    use super::*;

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn turns(bytes_per_s: Option<u64>) -> Turns {
        Turns::new(BudgetConfig { bytes_per_s, ..BudgetConfig::default() })
    }

    fn granted(decision: Decision) -> Option<u64> {
        match decision {
            Decision::Grant { number, .. } => Some(number),
            Decision::Wait(wait) => {
                assert!(!wait.is_zero(), "a wait of zero would spin");
                None
            }
        }
    }

    #[test]
    fn slice_is_followed_by_a_rest_as_long_as_itself() {
        for (took, next_at) in [(10, 20), (500, 1_000), (50_000, 100_000)] {
            let mut turns = turns(None);
            let number = granted(turns.ask(Compaction, us(0))).unwrap();
            turns.end(number, 0, us(took));
            for kind in WorkKind::ALL {
                assert_eq!(granted(turns.ask(kind, us(next_at - 1))), None, "{kind:?} after {took} µs");
            }
            // The first that asked waits longest.
            assert!(granted(turns.ask(Defragmentation, us(next_at))).is_some(), "after {took} µs");
        }
    }

    #[test]
    fn second_slice_is_refused_while_one_is_out() {
        let mut turns = turns(None);
        let number = granted(turns.ask(Compaction, us(0))).unwrap();
        for now in [0, 499, 500, 10_000, 1_000_000] {
            for kind in WorkKind::ALL {
                assert_eq!(granted(turns.ask(kind, us(now))), None, "{kind:?} at {now}");
            }
        }
        turns.end(number + 1, 0, us(1_000_000));
        assert_eq!(granted(turns.ask(Demotion, us(1_000_000))), None, "another slice ended, not this one");
        turns.end(number, 0, us(1_000_000));
        turns.end(number, 0, us(9_000_000));
        assert!(granted(turns.ask(Defragmentation, us(2_000_000))).is_some(), "an end counts once");
    }

    #[test]
    fn kind_that_waits_longest_goes_first() {
        let mut turns = turns(None);
        let number = granted(turns.ask(Compaction, us(0))).unwrap();
        let order = [Recompression, Demotion, Defragmentation];
        for (at, kind) in order.into_iter().enumerate() {
            assert_eq!(granted(turns.ask(kind, us(10 + at as u64))), None);
        }
        turns.end(number, 0, us(100));
        let mut now = 200;
        for kind in order {
            for other in WorkKind::ALL.into_iter().filter(|other| *other != kind) {
                assert_eq!(granted(turns.ask(other, us(now))), None, "{other:?} before {kind:?}");
            }
            let number = granted(turns.ask(kind, us(now))).unwrap();
            turns.end(number, 0, us(now + 100));
            now += 200;
        }
        assert!(granted(turns.ask(Compaction, us(now))).is_some(), "it asked after them all");
    }

    #[test]
    fn kind_that_does_not_come_back_loses_its_turn() {
        let mut turns = turns(None);
        let number = granted(turns.ask(Compaction, us(0))).unwrap();
        let Decision::Wait(wait) = turns.ask(Demotion, us(0)) else { unreachable!() };
        turns.end(number, 0, us(100));
        assert_eq!(granted(turns.ask(Compaction, us(300))), None, "the turn of another kind");
        assert_eq!(granted(turns.ask(Compaction, wait + GRACE)), None);
        assert!(granted(turns.ask(Compaction, wait + GRACE + us(1))).is_some());
    }

    #[test]
    fn four_kinds_that_always_want_work_share_it_evenly() {
        let mut turns = turns(None);
        let (mut now, mut next) = (0, [0; 4]);
        let mut counts = [0u32; 4];
        while now < 1_000_000 {
            for kind in WorkKind::ALL {
                if now < next[kind.index()] {
                    continue;
                }
                match turns.ask(kind, us(now)) {
                    Decision::Grant { number, .. } => {
                        now += 500;
                        turns.end(number, 0, us(now));
                        counts[kind.index()] += 1;
                    }
                    Decision::Wait(wait) => next[kind.index()] = now + wait.as_micros() as u64,
                }
            }
            now += 10;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least * 10 >= *most * 9, "{counts:?}");
        let busy_us: u64 = counts.iter().map(|count| u64::from(*count) * 500).sum();
        assert!((400_000..=500_500).contains(&busy_us), "half of the time at most: {busy_us}");
    }

    #[test]
    fn bytes_stay_within_rate_and_one_burst() {
        const RATE: u64 = 1_000_000;
        for step in [100, 10_000, 64 << 10] {
            let mut turns = turns(Some(RATE));
            let (mut moved, mut largest) = (0, 0);
            for now in (0..3_000_000).step_by(50) {
                let Decision::Grant { number, bytes } = turns.ask(Compaction, us(now)) else { continue };
                let allowed = bytes.unwrap();
                assert!((1..=500).contains(&allowed), "{allowed}");
                // A worker takes steps until the bytes are used up; the last may go beyond.
                let steps = allowed.div_ceil(step);
                moved += steps * step;
                largest = largest.max(steps * step);
                turns.end(number, steps * step, us(now + 20));
                let earned = RATE * now / 1_000_000;
                assert!(moved <= earned + 500 + largest, "{moved} in {now} µs");
            }
            assert!(moved >= 2 * RATE, "the rate is used: {moved}");
            assert_eq!(turns.stats().bytes(Compaction), moved);
        }
    }

    #[test]
    fn booked_work_delays_slices_and_its_debt_is_bounded() {
        let mut turns = turns(Some(1_000_000));
        turns.book(Compaction, us(100), 1_000, us(1_000_000));
        assert_eq!(granted(turns.ask(Demotion, us(1_000_099))), None);
        assert_eq!(
            granted(turns.ask(Demotion, us(1_000_499))),
            None,
            "1,000 bytes take 1 ms, half was saved"
        );
        assert!(granted(turns.ask(Demotion, us(1_000_500))).is_some());
        let mut turns = self::turns(Some(1_000));
        turns.book(Compaction, us(100), 1 << 40, us(0));
        assert_eq!(granted(turns.ask(Demotion, DEBT_MAX - us(1))), None);
        assert!(granted(turns.ask(Demotion, DEBT_MAX)).is_some());
        assert_eq!((turns.stats().bytes(Compaction), turns.stats().booked(Compaction)), (1 << 40, 1));
    }
}
