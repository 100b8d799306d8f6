//! `OptimizeCompression`: measures the candidate codecs on live records from all over the log.

use super::log::Log;
use super::{Host, Poll, Standing};
use crate::compaction::{Progress, Report};
use crate::log::{Kind, Location, RecordError, SegmentState, read_record};

use super::scanner::identity;

/// The most records sampled from one segment, so that samples come from all over the log.
const SAMPLES_PER_SEGMENT: u32 = 8;

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Next,
    /// The start of a segment was asked for.
    Reading { segment: u32 },
}

/// The state of the task.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    state: State,
    /// Which of the visits comes next; they are spread evenly over the segments.
    visit: u32,
}

/// What comes next.
pub(super) enum Step {
    Poll(Poll),
    Done,
}

impl Sampling {
    pub(super) fn is_between_segments(&self) -> bool {
        matches!(self.state, State::Next)
    }

    pub(super) fn poll<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        report: &mut Report,
        progress: &mut Progress,
    ) -> Step {
        match self.state {
            State::Next => self.next(log, host, report, progress),
            State::Reading { segment } => {
                if log.scan.ticket.is_some() {
                    return Step::Poll(Poll::Idle);
                }
                if log.scan.result.take().is_some_and(|r| r.is_ok()) {
                    Self::measure(log, host, report, progress, segment);
                }
                log.scan.taken = false;
                self.state = State::Next;
                Step::Poll(Poll::Again)
            }
        }
    }

    fn next<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        report: &mut Report,
        progress: &mut Progress,
    ) -> Step {
        let count = log.geometry.segment_count();
        let samples = u64::from(log.config.samples.max(1));
        if self.visit >= count || report.checked_records >= samples {
            if report.checked_records > 0 {
                report.codec = Some(host.choose_codec());
            }
            progress.total = progress.total.max(progress.done + 1);
            return Step::Done;
        }
        if log.scan.taken {
            return Step::Poll(Poll::Idle);
        }
        // A stride that is coprime to the count visits each segment once, in an order spread over the medium.
        let segment = u64::from(self.visit) * stride(count) % u64::from(count);
        let segment = u32::try_from(segment).unwrap_or(0);
        self.visit += 1;
        let known = log.segments.get(segment as usize).copied().unwrap_or_default();
        if known.state != SegmentState::Sealed || known.live_records == 0 {
            return Step::Poll(Poll::Again);
        }
        log.scan.taken = true;
        self.state = State::Reading { segment };
        let at = log.geometry.records_at();
        Step::Poll(Poll::Do(log.read(super::log::LANE_SCAN, segment, at, known.used_bytes)))
    }

    /// Bounds: one buffer, and [`SAMPLES_PER_SEGMENT`] values measured.
    fn measure<H: Host>(
        log: &Log<'_>,
        host: &mut H,
        report: &mut Report,
        progress: &mut Progress,
        segment: u32,
    ) {
        let sequence = log.segments.get(segment as usize).map_or(0, |s| s.sequence);
        let mut rest = log.scan.filled();
        let mut offset = log.geometry.records_at();
        let mut taken = 0;
        while taken < SAMPLES_PER_SEGMENT {
            let (bytes, record) = match read_record(&log.geometry, sequence, rest) {
                Ok(record) => (record.record_bytes, Some(record)),
                Err(RecordError::Mismatch(bytes)) => (bytes, None),
                Err(_) => return,
            };
            let at = Location { segment, offset, sequence };
            if let Some(record) = record.filter(|r| r.header.kind == Kind::Value) {
                let hash = identity(&log.geometry, &record, host);
                if host.standing(&hash, at) == Standing::Live {
                    host.sample(record.header.codec, record.value);
                    report.checked_records += 1;
                    progress.done = report.checked_records;
                    progress.total = progress.total.max(progress.done + 1);
                    taken += 1;
                }
            }
            offset = offset.saturating_add(bytes);
            rest = rest.get(bytes as usize..).unwrap_or_default();
        }
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
