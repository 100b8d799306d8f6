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
