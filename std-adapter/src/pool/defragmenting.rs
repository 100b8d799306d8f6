//! Defragmentations that take slices of a budget.
//!
//! Between two slices the worker goes on with everything else: emergency cleanups and inserts that lack space wait for no
//! slice. A request keeps its deadline. Where the budget grants too little until then, the reply says that work is left.

use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

use coldpress_core::cleanup::Reclaimed;

use super::coordinator::Message;
use super::opened::{Locked, Opened};
use crate::budget::{Granted, PassBackoff, Slice, WorkBudget, WorkKind};
use crate::clock::monotonic_ms;

/// The most defragmentations that wait; the others stay in the channel.
const WAITING_MAX: usize = 256;
/// Bytes moved in a step of a slice, which takes some tens of microseconds. Where values may be longer, a step moves at most the
/// longest.
const STEP_BYTES: u32 = 64 << 10;
/// The interval of passes for inserts, in milliseconds. The wait after a first pass that freed nothing is twice that.
const FREE_MS: u64 = 1;

/// A defragmentation that waits or is under way.
struct Sliced {
    message: Message,
    until: Instant,
    /// The time of its slices.
    took: Duration,
    reclaimed: Reclaimed,
    failed: bool,
    /// Partitions that have work left, the next one first.
    open: VecDeque<u16>,
}

/// A defragmentation that ended.
pub(super) struct Defragmented {
    pub(super) message: Message,
    /// The time of its slices.
    pub(super) took: Duration,
    pub(super) reclaimed: Reclaimed,
    pub(super) failed: bool,
    /// Whether the time was over first, so that work is left.
    pub(super) is_late: bool,
}

/// The state of the defragmentation in hand.
pub(super) enum Progressing {
    /// None waits.
    Nothing,
    /// The next slice may be granted after this time.
    Wait(Duration),
    Ended(Defragmented),
}

/// The defragmentations that wait for slices, and the passes for inserts.
pub(super) struct Defragmenting {
    budget: Option<WorkBudget>,
    waiting: VecDeque<Sliced>,
    /// When to ask for the next slice.
    due: Instant,
    passes: PassBackoff,
    /// Whether an insert waits for a pass.
    is_asked: bool,
}

impl Defragmenting {
    pub(super) fn new(budget: Option<WorkBudget>) -> Self {
        let passes = PassBackoff::new();
        Self { budget, waiting: VecDeque::new(), due: Instant::now(), passes, is_asked: false }
    }

    pub(super) const fn budget(&self) -> Option<&WorkBudget> {
        self.budget.as_ref()
    }

    pub(super) const fn has_budget(&self) -> bool {
        self.budget.is_some()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    pub(super) fn push(&mut self, message: Message, until: Instant, partitions: u16) {
        self.waiting.push_back(Sliced {
            message,
            until,
            took: Duration::ZERO,
            reclaimed: Reclaimed::default(),
            failed: false,
            open: (0..partitions).collect(),
        });
    }

    /// Takes a slice for the first in line, if the budget grants one. Bounds: one slice.
    pub(super) fn advance(&mut self, opened: &Opened, step_bytes_max: u32) -> Progressing {
        let (Some(budget), Some(first)) = (self.budget, self.waiting.front_mut()) else {
            return Progressing::Nothing;
        };
        let now = Instant::now();
        if now < first.until && !first.open.is_empty() {
            let left = self.due.saturating_duration_since(now);
            if !left.is_zero() {
                return Progressing::Wait(left.min(first.until - now));
            }
            match budget.try_slice(WorkKind::Defragmentation) {
                Granted::Slice(slice) => first.work(slice, opened, step_bytes_max),
                Granted::Later(wait) => {
                    self.due = now + wait;
                    return Progressing::Wait(wait.min(first.until - now));
                }
            }
            if !first.open.is_empty() {
                // Requests that came meanwhile are looked at first.
                return Progressing::Wait(Duration::ZERO);
            }
        }
        let Some(Sliced { message, took, reclaimed, failed, open, .. }) = self.waiting.pop_front() else {
            return Progressing::Nothing;
        };
        Progressing::Ended(Defragmented { message, took, reclaimed, failed, is_late: !open.is_empty() })
    }

    /// Tells whether a pass for inserts may begin now. If not, it is noted that one is asked for.
    pub(super) fn may_free(&mut self, changes: u64) -> bool {
        let now_ms = monotonic_ms();
        let may_free = self.passes.is_due(now_ms, FREE_MS, changes);
        if may_free {
            self.passes.begin(now_ms, changes);
        }
        self.is_asked = !may_free;
        may_free
    }

    /// Takes note of a pass for inserts that ended.
    pub(super) fn freed(&mut self, has_freed: bool) {
        self.passes.end(has_freed);
    }

    /// How long the pass that inserts asked for waits; `None` where none is asked for.
    pub(super) fn free_due(&self) -> Option<Duration> {
        let wait_ms = self.passes.due_ms(FREE_MS).saturating_sub(monotonic_ms());
        self.is_asked.then(|| Duration::from_millis(wait_ms))
    }
}

impl Sliced {
    /// Goes round the partitions, one step in each, until the slice is over. One lock hold is one step.
    fn work(&mut self, mut slice: Slice, opened: &Opened, step_bytes_max: u32) {
        let begun = Instant::now();
        let step_bytes = step_bytes_max.min(opened.value_bytes_max.next_multiple_of(8).max(STEP_BYTES));
        while !slice.is_over()
            && let Some(number) = self.open.pop_front()
        {
            // Pools that are being closed have nothing to move.
            let Ok(mut partition) = opened.lock(number) else { continue };
            let step = partition.defragment_step(step_bytes);
            Locked::unlock_fair(partition);
            step.add_to(&mut self.reclaimed, opened.page_bytes);
            slice.relocated(step.relocated_bytes);
            self.failed |= step.failed;
            if !step.done {
                self.open.push_back(number);
            }
        }
        self.took += begun.elapsed();
    }
}
