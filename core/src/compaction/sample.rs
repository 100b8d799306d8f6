//! `OptimizeCompression`: measures the candidate codecs on live records from all over the log.
//!
//! ```text
//!  Next ─1─► Reading ─2─► Measuring ─3─► Next ─4─► the codec is chosen
//! ```
//! 1 a segment is visited: its start is read; 2 the read succeeded, else `Next`; 3 eight live values of it were measured, one a
//! poll, or the buffer is at its end; 4 enough was measured, or every segment was visited.

use super::task::{Step, Task};
use crate::cleanup::CleanupKind;
use crate::drive::Poll;
use crate::format::{Kind, Location, RecordError, SegmentIndex, read_record};
use crate::index::{Host, Liveness};
use crate::invariant::Invariant;
use crate::recovery::identity;
use crate::segments::SegmentState;
use crate::writer::{LANE_SCAN, Lessee, Log};

/// The most records sampled from one segment, so that samples come from all over the log.
const SAMPLES_PER_SEGMENT: u32 = 8;

/// Records looked at in one poll.
const RECORDS_PER_POLL: u32 = 64;

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Next,
    /// The start of a segment was asked for.
    Reading { segment: SegmentIndex },
    /// Its records are gone through from this offset on; so many were measured.
    Measuring { at: Location, taken: u32 },
}

/// The state of the task.
#[derive(Debug, Default)]
pub(crate) struct Sampling {
    state: State,
    /// Which of the visits comes next; they are spread evenly over the segments.
    visit: u32,
}

impl Sampling {
    /// Takes a step. Bounds: one action, or one value measured and [`RECORDS_PER_POLL`] records passed.
    pub(crate) fn step<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H, task: &mut Task) -> Step {
        match self.state {
            State::Next if task.is_cancelled => Step::End,
            State::Next => self.next(log, host, task),
            State::Reading { .. } if log.scan.is_reading() => Step::Stay(Poll::Idle),
            State::Reading { segment } => {
                if log.scan.take_result().is_some_and(|r| r.is_ok()) {
                    let sequence = log.segments.get(segment).sequence;
                    let at = Location { segment, offset: log.layout.geometry().records_at(), sequence };
                    self.state = State::Measuring { at, taken: 0 };
                } else {
                    task.has_failed = true;
                    self.leave(log);
                }
                Step::Stay(Poll::Again)
            }
            State::Measuring { at, taken } => {
                match Self::measure(log, host, task, at) {
                    Some((at, is_taken)) if taken + u32::from(is_taken) < SAMPLES_PER_SEGMENT => {
                        self.state = State::Measuring { at, taken: taken + u32::from(is_taken) };
                    }
                    _ => self.leave(log),
                }
                Step::Stay(Poll::Again)
            }
        }
    }

    fn leave(&mut self, log: &mut Log<'_>) {
        log.scan.give_back(Lessee::Sampling);
        self.state = State::Next;
    }

    fn next<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H, task: &mut Task) -> Step {
        let count = log.layout.geometry().segment_count();
        if self.visit >= count || task.report.checked_records >= u64::from(log.layout.config().samples.max(1))
        {
            if task.report.checked_records > 0 {
                task.report.codec = Some(host.choose_codec());
            }
            return if host.advises_cleanup() { Step::Ask(CleanupKind::EmergencyCleanup) } else { Step::End };
        }
        if log.scan.is_leased() {
            return Step::Stay(Poll::Idle);
        }
        // A stride that is coprime to the count visits each segment once, in an order spread over the medium.
        let segment = u64::from(self.visit) * stride(count) % u64::from(count);
        let segment = log.watch.must_have(Invariant::SegmentInTable, u32::try_from(segment).ok());
        let segment = SegmentIndex::new(segment);
        self.visit += 1;
        let known = log.segments.get(segment);
        let used_bytes = known.used_bytes();
        if known.state() != SegmentState::Sealed || known.live_records() == 0 {
            return Step::Stay(Poll::Again);
        }
        log.scan.lease(Lessee::Sampling);
        self.state = State::Reading { segment };
        let at = log.layout.geometry().records_at();
        Step::Stay(Poll::Do(log.read(LANE_SCAN, segment, at, used_bytes)))
    }

    /// Goes through the buffer from a record on to the first live value, and measures that. Returns where to go on, and whether
    /// one was measured; `None` at the end of the buffer.
    fn measure<H: Host>(
        log: &Log<'_>,
        host: &mut H,
        task: &mut Task,
        mut at: Location,
    ) -> Option<(Location, bool)> {
        for _ in 0..RECORDS_PER_POLL {
            let from = at.offset - log.layout.geometry().records_at();
            let rest = log.scan.filled().get(from as usize..).unwrap_or_default();
            let (bytes, record) = match read_record(log.layout.geometry(), log.layout.seed(), at, rest) {
                Ok(record) => (record.record_bytes, Some(record)),
                Err(RecordError::Mismatch(bytes)) => (bytes, None),
                Err(_) => return None,
            };
            let here = at;
            at.offset = at.offset.saturating_add(bytes);
            if let Some(record) = record.filter(|r| r.header.kind == Kind::Value)
                && host.liveness(&identity(log.layout.geometry(), &record, host), here) == Liveness::Live
            {
                host.sample(record.header.codec, record.value);
                task.report.checked_records += 1;
                task.advance_to(task.report.checked_records);
                return Some((at, true));
            }
        }
        Some((at, false))
    }
}

/// A number near the golden section of `count` that shares no divisor with it.
fn stride(count: u32) -> u64 {
    let count = u64::from(count.max(1));
    let mut stride = (count * 618 / 1000).max(1);
    while gcd(stride, count) != 1 {
        stride += 1;
    }
    stride
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
