//! The tier's time (rule 11). It never goes back, and follows a jump of the wall clock beyond the bound only if that was
//! confirmed. While the wall clock is missing, behind or refused, it goes on by the monotonic clock.
//!
//! ```text
//!  wall clock ahead of it      within the bound: taken. Beyond: refused, held, until it is confirmed or put right
//!  wall clock where it is      nothing to do
//!  wall clock behind it        the monotonic clock alone; once confirmed, the difference is kept, and the two go together
//! ```
//! Times of expiry are in the tier's time. So nothing that expired comes back, and no lifetime changes when a wall clock that
//! was ahead is put right. Where a wall clock that is behind is confirmed, the log keeps the difference with the time. From
//! then on time that passes while no tier runs is counted by the wall clock, across mounts.

use crate::drive::Now;
use crate::format::{KeyHash, SegmentIndex, Version};

/// The time as the log knows it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// The tier's time, in whole seconds.
    now_s: u32,
    /// The time passed beyond that second, in units of which a millisecond has [`PARTS_PER_MS`].
    parts: u32,
    /// How far it is ahead of a wall clock that was confirmed, in seconds.
    ahead_s: u32,
    /// How far the wall clock that was seen last is behind it, in seconds, beyond `ahead_s`.
    behind_s: u32,
    /// The newest time in the log, in seconds: on the medium, or on its way there.
    appended_s: u32,
    /// The newest one whose write is complete.
    written_s: u32,
    /// The segment that holds it.
    written_in: SegmentIndex,
    /// The newest one that a sync covers.
    durable_s: u32,
    /// When the clocks were looked at last, in milliseconds of the monotonic clock.
    observed_ms: u64,
    /// The jump that is being refused, in seconds.
    refused_s: Option<u32>,
    /// Jumps refused so far; one that lasts counts once.
    refusals: u64,
    /// A time record is due though no client writes: a record was dropped as expired, or a jump was accepted.
    is_owed: bool,
    /// The times in the log are void: a sync in flight makes no time durable.
    is_void: bool,
    confirmed: Confirmed,
}

/// Whether the wall clock is confirmed. A confirmation ends after a while, so that one that came too late does not admit a
/// later jump.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Confirmed {
    #[default]
    No,
    /// From the next look at the clock on.
    Now,
    /// Until this time of the monotonic clock, in milliseconds.
    Until(u64),
}

/// How long a confirmation holds, in milliseconds.
const CONFIRMED_MS: u64 = 60_000;

/// Parts of a millisecond in which the tier's time is kept. Where it slows down, it loses one of them for each millisecond.
const PARTS_PER_MS: u64 = 64;

/// The parts of a second.
const PARTS_PER_S: u64 = 1_000 * PARTS_PER_MS;

/// A monotonic clock that runs too fast gets ahead of the wall clock. Up to this distance, in seconds, and a 64th of the time
/// since the last look, the tier's time slows down by a 64th.
const SLEW_S_MAX: u64 = 60;

/// No jump takes the tier's time beyond this, 29 January 2072. Times are 32 bits of seconds, and the rest is left to lifetimes.
const JUMP_END_S: u64 = 3 << 30;

/// Beyond [`JUMP_END_S`], an advance by more than this counts as a jump, in seconds.
const LATE_JUMP_S: u64 = 24 * 3600;

/// While the wall clock is missing, behind or refused, the time goes into the log this often though no client writes, in
/// seconds. Else the time of a tier that is open for a short while, and only read, would not count.
const ALONE_S_MAX: u32 = 3600;

/// Computes when a value expires that is put at `now_s` and lives for `ttl_s`.
///
/// The result is one second more than the sum, since a clock of whole seconds may be about to show the next one. By such a clock
/// the value lives for at least `ttl_s` and at most a second longer.
///
/// ```
/// use coldpress_core::durability::expiry_s;
/// assert_eq!(expiry_s(1_000, 60), 1_061);
/// ```
#[must_use]
pub const fn expiry_s(now_s: u32, ttl_s: u32) -> u32 {
    now_s.saturating_add(ttl_s).saturating_add(1)
}

/// The content of a time record, which is kept in memory in place of a key hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The tier's time, in seconds.
    time_s: u32,
    /// How far it is ahead of the wall clock.
    ahead_s: u32,
}

impl Stamp {
    /// The longest value, in bytes.
    pub(crate) const BYTES_MAX: usize = 8;

    pub(crate) fn from_hash(hash: &KeyHash) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = hash.0;
        Self { time_s: u32::from_le_bytes([a, b, c, d]), ahead_s: u32::from_le_bytes([e, f, g, h]) }
    }

    pub(crate) fn hash(self) -> KeyHash {
        let ([a, b, c, d], [e, f, g, h]) = (self.time_s.to_le_bytes(), self.ahead_s.to_le_bytes());
        KeyHash([a, b, c, d, e, f, g, h, 0, 0, 0, 0])
    }

    /// How many bytes of that hash are the record's value.
    pub(crate) const fn len(self) -> usize {
        if self.ahead_s == 0 { 4 } else { Self::BYTES_MAX }
    }
}

/// The newest time on a medium, as a mount comes to know it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NewestTime {
    /// In seconds, and the segment that holds it.
    time: (u32, SegmentIndex),
    /// The newest time record, with its version and segment: it says how far the time is ahead.
    stamp: Option<(Version, Stamp, SegmentIndex)>,
}

impl NewestTime {
    /// The header of a segment states this time.
    pub(crate) fn header(&mut self, time_s: u32, segment: SegmentIndex) {
        self.time = self.time.max((time_s, segment));
    }

    /// A time record states a time.
    pub(crate) fn record(&mut self, hash: &KeyHash, version: Version, segment: SegmentIndex) {
        let stamp = Stamp::from_hash(hash);
        self.header(stamp.time_s, segment);
        let rank = |at: Version, stamp: Stamp| (stamp.time_s, at);
        if self.stamp.is_none_or(|(at, before, _)| rank(at, before) < rank(version, stamp)) {
            self.stamp = Some((version, stamp, segment));
        }
    }
}

impl Clock {
    /// The wall clock is right, ahead of the tier's time or behind it.
    pub(crate) fn confirm(&mut self) {
        self.confirmed = Confirmed::Now;
    }

    /// The tier's time, in whole seconds.
    pub(crate) const fn now_s(&self) -> u32 {
        self.now_s
    }

    /// How far the wall clock is behind, in seconds, beyond a distance that was confirmed.
    pub(crate) const fn behind_s(&self) -> u32 {
        self.behind_s
    }

    /// The jump that is being refused, in seconds.
    pub(crate) const fn refused_s(&self) -> Option<u32> {
        self.refused_s
    }

    /// Jumps refused so far.
    pub(crate) const fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Whether a time record is due though no client writes.
    pub(crate) const fn is_owed(&self) -> bool {
        self.is_owed
    }

    /// A time record is due from now on, though no client writes.
    pub(super) const fn owe(&mut self) {
        self.is_owed = true;
    }

    /// Whether the newest time in the log is at least this old.
    pub(crate) const fn is_due(&self, every_s: u32) -> bool {
        self.now_s.saturating_sub(self.appended_s) >= every_s
    }

    /// The time is on its way into the log.
    pub(super) const fn note_placed(&mut self) {
        self.appended_s = self.now_s;
    }

    /// The time that was owed is in the log, or on its way there; tells whether it still has to be made durable.
    pub(super) const fn settle(&mut self) -> bool {
        self.is_owed = false;
        !self.is_durable()
    }

    /// The tier's time, in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::from(self.now_s) * 1_000 + u64::from(self.parts) / PARTS_PER_MS
    }

    /// The stamp to write into the log.
    pub(crate) const fn stamp(&self) -> Stamp {
        Stamp { time_s: self.now_s, ahead_s: self.ahead_s }
    }

    /// Advances the time: by the wall clock if that is ahead by at most `jump_s_max`, else by the monotonic clock.
    pub(crate) fn observe(&mut self, now: Now, jump_s_max: u32) {
        let passed_ms = now.monotonic_ms.saturating_sub(self.observed_ms);
        self.observed_ms = self.observed_ms.max(now.monotonic_ms);
        let before = u64::from(self.now_s) * PARTS_PER_S + u64::from(self.parts);
        let expected = before.saturating_add(passed_ms.saturating_mul(PARTS_PER_MS));
        self.age_confirmation(now.monotonic_ms);
        let time = if now.wall_s == 0 {
            // There is no wall clock.
            (self.refused_s, self.behind_s) = (None, 0);
            expected
        } else {
            self.compare(now.wall_s, expected, passed_ms, jump_s_max)
        };
        self.now_s = u32::try_from(time / PARTS_PER_S).unwrap_or(u32::MAX);
        self.parts = u32::try_from(time % PARTS_PER_S).unwrap_or(0);
        let is_alone = now.wall_s == 0 || self.behind_s > 0 || self.refused_s.is_some();
        self.is_owed |= is_alone && self.now_s.saturating_sub(self.appended_s) >= ALONE_S_MAX;
    }

    /// The time by the wall clock where that is to be followed, else `expected`, the time by the monotonic clock.
    fn compare(&mut self, wall_s: u32, expected: u64, passed_ms: u64, jump_s_max: u32) -> u64 {
        let (wall_s, expected_s) = (u64::from(wall_s), expected / PARTS_PER_S);
        let is_confirmed = self.confirmed != Confirmed::No;
        if is_confirmed && wall_s < expected_s {
            self.tie(expected_s - wall_s);
        }
        // A wall clock that has reached the tier's time by itself needs no difference any more.
        let is_by_itself = wall_s >= expected_s;
        let target_s = if is_by_itself { wall_s } else { wall_s + u64::from(self.ahead_s) };
        let Some(jump_s) = target_s.checked_sub(expected_s) else {
            self.refused_s = None;
            let beyond = expected - ((target_s + 1) * PARTS_PER_S - 1);
            let is_drift = beyond <= SLEW_S_MAX * PARTS_PER_S + passed_ms;
            let behind_s = if is_drift { 0 } else { expected_s - target_s };
            self.behind_s = u32::try_from(behind_s).unwrap_or(u32::MAX);
            return if is_drift { expected - beyond.min(passed_ms) } else { expected };
        };
        self.behind_s = 0;
        let is_late = target_s > JUMP_END_S && jump_s > LATE_JUMP_S;
        let is_jump = jump_s > u64::from(jump_s_max);
        if is_late || (is_jump && !is_confirmed) {
            self.refusals += u64::from(self.refused_s.is_none());
            self.refused_s = Some(u32::try_from(jump_s).unwrap_or(u32::MAX));
            return expected;
        }
        self.refused_s = None;
        if is_jump {
            self.confirmed = Confirmed::No;
            self.is_owed = true;
        }
        if is_by_itself && self.ahead_s > 0 {
            self.keep_apart(0);
        }
        expected.max(target_s * PARTS_PER_S)
    }

    /// The wall clock is right, and this far behind: from now on the tier's time keeps that difference. The wall clock may be
    /// about to show the next second, which must not move the tier's time ahead.
    fn tie(&mut self, behind_s: u64) {
        let behind_s = u32::try_from(behind_s).unwrap_or(u32::MAX);
        if behind_s.abs_diff(self.ahead_s) > 1 {
            self.keep_apart(behind_s - 1);
            self.confirmed = Confirmed::No;
        }
    }

    /// The difference to the wall clock has changed, so the times in the log are void.
    fn keep_apart(&mut self, ahead_s: u32) {
        self.ahead_s = ahead_s;
        self.lose();
    }

    fn age_confirmation(&mut self, now_ms: u64) {
        self.confirmed = match self.confirmed {
            Confirmed::Now => Confirmed::Until(now_ms.saturating_add(CONFIRMED_MS)),
            Confirmed::Until(end_ms) if now_ms > end_ms => Confirmed::No,
            same => same,
        };
    }

    /// The write of a time into a segment is complete.
    pub(crate) fn note_written(&mut self, hash: &KeyHash, segment: SegmentIndex) {
        let stamp = Stamp::from_hash(hash);
        if stamp.time_s >= self.written_s && stamp.ahead_s == self.ahead_s {
            (self.written_s, self.written_in) = (stamp.time_s, segment);
        }
    }

    /// The header of a segment is written, which states a time. It says nothing of a lead over the wall clock.
    pub(crate) fn note_header_written(&mut self, time_s: u32, segment: SegmentIndex) {
        if self.ahead_s == 0 && time_s >= self.written_s {
            (self.written_s, self.written_in) = (time_s, segment);
            self.appended_s = self.appended_s.max(time_s);
        }
    }

    /// Gives up the lead over a wall clock that was confirmed: the log has no space for it.
    pub(crate) fn drop_lead(&mut self) {
        if self.ahead_s > 0 {
            self.keep_apart(0);
        }
    }

    /// A segment is about to be freed. If it holds the newest time, a time record is due at once, whatever older times are in
    /// other segments. Tells whether it holds it.
    pub(crate) fn lose_segment(&mut self, segment: SegmentIndex) -> bool {
        let is_lost = self.written_s > 0 && self.written_in == segment;
        if is_lost {
            self.lose();
        }
        is_lost
    }

    fn lose(&mut self) {
        (self.appended_s, self.written_s, self.durable_s) = (0, 0, 0);
        (self.is_owed, self.is_void) = (true, true);
    }

    /// Whether the times in the log became void since the last call: then a sync that is under way makes none durable.
    pub(crate) fn take_void(&mut self) -> bool {
        core::mem::take(&mut self.is_void)
    }

    /// The newest time whose write is complete, for the sync that begins now.
    pub(crate) const fn written_s(&self) -> u32 {
        self.written_s
    }

    /// Whether no time in the log counts, since the segment with the newest one is about to be freed.
    pub(crate) const fn is_lost(&self) -> bool {
        self.written_s == 0
    }

    /// Whether the newest time in the log is durable.
    pub(crate) const fn is_durable(&self) -> bool {
        self.appended_s <= self.durable_s
    }

    /// A sync covers this time.
    pub(crate) fn note_durable(&mut self, written_s: u32) {
        self.durable_s = self.durable_s.max(written_s);
    }

    /// The write of a time failed: it is owed again, if it still is due by the newest time that was written.
    pub(crate) fn lose_write(&mut self) {
        self.appended_s = self.written_s;
        self.is_owed = true;
    }

    /// A sync failed: times that it should have made durable are owed again.
    pub(crate) fn lose_sync(&mut self) {
        if !self.is_durable() {
            self.written_s = self.durable_s;
            self.lose_write();
        }
    }

    /// At a mount: the time goes on from the newest one on the medium, whatever the wall clock says. A blank medium has no time
    /// yet, and the wall clock is taken.
    pub(crate) fn start(&mut self, now: Now, newest: &NewestTime, is_blank: bool, jump_s_max: u32) {
        let (time_s, segment) = newest.time;
        (self.now_s, self.parts, self.observed_ms) = (time_s, 0, now.monotonic_ms);
        // Where the time is ahead of the wall clock, the record that says so must not be lost, though headers state later
        // times.
        let (appended_s, written_in) = match newest.stamp {
            Some((_, stamp, segment)) if stamp.ahead_s > 0 => {
                self.ahead_s = stamp.ahead_s;
                (stamp.time_s, segment)
            }
            _ => (time_s, segment),
        };
        (self.appended_s, self.written_s, self.durable_s) = (appended_s, appended_s, appended_s);
        self.written_in = written_in;
        self.observe(now, if is_blank { u32::MAX } else { jump_s_max });
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::*;
    use crate::format::Sequence;

    /// Two clocks that run as they should, the wall clock off by so much.
    fn now(ms: u64, off_ms: i64) -> Now {
        let wall_ms = 1_000_000_000_i64 + i64::try_from(ms).unwrap() + off_ms;
        Now { monotonic_ms: ms, wall_s: u32::try_from(wall_ms / 1_000).unwrap() }
    }

    fn started(at: Now) -> Clock {
        let mut clock = Clock::default();
        clock.start(at, &NewestTime::default(), true, 0);
        clock
    }

    // With whole seconds of a wall clock it is easy to be early by up to one: a lifetime is held to the milliseconds that pass,
    // for every phase of the wall clock, and every way in which the time comes to be.
    #[test]
    fn value_lives_for_its_time_and_at_most_two_seconds_longer() {
        const HOUR_MS: i64 = 3_600_000;
        for (off_ms, is_confirmed) in
            [(0, false), (-HOUR_MS, false), (-HOUR_MS, true), (-800, false), (-2_700, true)]
        {
            for phase_ms in (0..1_000).step_by(37) {
                for (ttl_s, step_ms) in [(1, 1), (2, 13), (60, 130)] {
                    let mut clock = started(now(phase_ms, 0));
                    clock.observe(now(phase_ms + 100, 0), 100_000);
                    if is_confirmed {
                        clock.confirm();
                    }
                    let put_ms = phase_ms + 700;
                    clock.observe(now(put_ms, off_ms), 100_000);
                    let expires_s = expiry_s(clock.now_s, ttl_s);
                    let mut ms = put_ms;
                    while clock.now_s < expires_s {
                        ms += step_ms;
                        clock.observe(now(ms, off_ms), 100_000);
                    }
                    let (lived_ms, ttl_ms) = (ms - put_ms, u64::from(ttl_s) * 1_000);
                    let why = format!(
                        "{off_ms} ms, confirmed {is_confirmed}, phase {phase_ms}: {lived_ms} ms of {ttl_ms}"
                    );
                    assert!(lived_ms >= ttl_ms, "early: {why}");
                    assert!(lived_ms <= ttl_ms + 2_000 + step_ms, "late: {why}");
                }
            }
        }
    }

    // A monotonic clock that runs too fast by one in a hundred takes the time ahead of the wall clock, and further each hour.
    #[test]
    fn time_keeps_to_the_wall_clock_where_the_monotonic_one_is_fast() {
        for step_ms in [10, 1_000, 24 * 3_600_000] {
            let mut clock = started(now(0, 0));
            let mut ms = 0;
            for _ in 0..2_000_000_000_u64.min(step_ms * 200_000) / step_ms {
                ms += step_ms;
                let wall = now(ms, 0);
                clock.observe(Now { monotonic_ms: ms + ms / 100, ..wall }, 1_000_000);
                assert!(clock.now_s.abs_diff(wall.wall_s) <= 1 && clock.behind_s == 0, "{ms}: {clock:?}");
            }
        }
    }

    #[test]
    fn record_says_how_far_the_time_is_ahead_and_the_newest_counts() {
        let stamp = |time_s, ahead_s| Stamp { time_s, ahead_s };
        assert_eq!((stamp(7, 0).len(), stamp(7, 9).len()), (4, 8));
        assert_eq!(Stamp::from_hash(&stamp(7, 9).hash()), stamp(7, 9));
        let at = |sequence| Version { sequence: Sequence::new(sequence), offset: 0 };
        let mut newest = NewestTime::default();
        newest.record(&stamp(2_000, 900).hash(), at(3), SegmentIndex::new(1));
        newest.record(&stamp(2_000, 0).hash(), at(2), SegmentIndex::new(2));
        newest.record(&stamp(1_000, 100).hash(), at(4), SegmentIndex::new(3));
        newest.header(2_500, SegmentIndex::new(4));
        let mut clock = Clock::default();
        clock.start(Now { monotonic_ms: 0, wall_s: 1_650 }, &newest, false, 60);
        assert_eq!((clock.now_s, clock.ahead_s, clock.written_in), (2_550, 900, SegmentIndex::new(1)));
        // It has come so far by itself.
        clock.observe(Now { monotonic_ms: 0, wall_s: 2_560 }, 60);
        assert_eq!((clock.now_s, clock.ahead_s, clock.is_owed), (2_560, 0, true));
    }
}
