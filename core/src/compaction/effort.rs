//! The kind of work that a poll did, for an adapter that divides its time.

/// The work of the last poll beyond writing, syncing and reclaiming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Effort {
    /// No compaction, and none is due.
    #[default]
    None,
    /// No compaction: background work is due, and is paused.
    Held,
    /// A step of background work: of a task, of its victim, or of the tidying.
    Background,
    /// A step that gives space, or that other work waits for. Such steps are never paused.
    Needed,
}

/// Whether background work is paused, and the effort of the last poll.
#[derive(Debug, Default)]
pub(crate) struct Pausing {
    pub(crate) is_paused: bool,
    last: Effort,
}

impl Pausing {
    /// The effort of the last poll.
    pub(crate) const fn last(&self) -> Effort {
        self.last
    }

    pub(crate) const fn is_holding(&self) -> bool {
        matches!(self.last, Effort::Held)
    }

    pub(crate) const fn note(&mut self, effort: Effort) {
        self.last = effort;
    }

    /// Notes a step of background work. While that is paused, only steps that may not be paused are made.
    pub(crate) const fn note_background(&mut self) {
        self.last = if self.is_paused { Effort::Needed } else { Effort::Background };
    }
}
