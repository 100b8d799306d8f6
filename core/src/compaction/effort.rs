//! The kind of work that a poll did, for an adapter that divides its time.

/// The work of the last poll beyond writing, syncing and reclaiming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Effort {
    /// No compaction, and none is due.
    #[default]
    None,
    /// None, since background work rests; some is due.
    Held,
    /// A step of background work: of a task, of its victim, or of the tidying.
    Background,
    /// A step that gives space, or that other work waits for. Such steps never rest.
    Needed,
}

/// Whether background work rests, and the effort of the last poll.
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

    /// A step of background work was made. Where that rests, it was one that must not rest.
    pub(crate) const fn note_background(&mut self) {
        self.last = if self.is_paused { Effort::Needed } else { Effort::Background };
    }
}
