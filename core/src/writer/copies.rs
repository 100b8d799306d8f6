//! Whether the index counts all copies on the medium (rule 6), and the work that follows where it may not.

/// Whether the count of copies in the index is complete.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// Whether copies may lie on the medium that the index does not count; the host was notified of it.
    pub(super) is_withholding: bool,
    /// Whether withholding or a recount has ended, and the host still looks for tombstones that hide nothing.
    pub(super) is_settling: bool,
    /// Whether a recount is under way: some segments from before it are not free yet; the host was notified of it.
    pub(super) is_recounting: bool,
    /// Whether the host still sets its counts to zero for the recount: nothing is published meanwhile.
    pub(super) is_resetting: bool,
}

impl Copies {
    /// Whether copies may lie on the medium that the index does not count. No tombstone is dropped meanwhile.
    pub(crate) const fn is_withholding(&self) -> bool {
        self.is_withholding
    }

    /// Whether a recount is under way.
    pub(crate) const fn is_recounting(&self) -> bool {
        self.is_recounting
    }

    /// Whether the host still sets its counts to zero: nothing may be published meanwhile.
    pub(crate) const fn is_resetting(&self) -> bool {
        self.is_resetting
    }
}
