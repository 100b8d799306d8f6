//! Whether the index counts all copies on the medium (rule 6), and what is done where it may not.

/// Whether the count of copies in the index is complete.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// Whether copies may lie on the medium that the index does not count; the host knows it.
    pub(super) is_withholding: bool,
    /// Whether the host is asked for the tombstones that nothing needs, since that ended.
    pub(super) is_settling: bool,
    /// Whether copies are counted anew, since segments without the flag for it are not free yet; the host knows it.
    pub(super) is_recounting: bool,
    /// Whether the host still sets its counts to zero for that: nothing is published meanwhile.
    pub(super) is_resetting: bool,
}

impl Copies {
    /// Whether copies may lie on the medium that the index does not count. No tombstone is dropped meanwhile.
    pub(crate) const fn is_withholding(&self) -> bool {
        self.is_withholding
    }

    /// Whether copies are counted anew.
    pub(crate) const fn is_recounting(&self) -> bool {
        self.is_recounting
    }

    /// Whether the host still sets its counts to zero: nothing may be published meanwhile.
    pub(crate) const fn is_resetting(&self) -> bool {
        self.is_resetting
    }
}
