//! Counts of the operations of a flash.

use core::ops::Sub;

/// Counts of operations and bytes: of a whole run, or of one call as a difference of two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Programs.
    pub programs: u64,
    /// Bytes programmed.
    pub programmed_bytes: u64,
    /// Sectors erased.
    pub erases: u64,
    /// Reads.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
}

impl Counts {
    /// Programs and erases.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.programs + self.erases
    }

    /// The larger of each: the worst of two calls.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            programs: self.programs.max(other.programs),
            programmed_bytes: self.programmed_bytes.max(other.programmed_bytes),
            erases: self.erases.max(other.erases),
            reads: self.reads.max(other.reads),
            read_bytes: self.read_bytes.max(other.read_bytes),
        }
    }
}

impl Sub for Counts {
    type Output = Self;

    /// The counts since an earlier moment.
    fn sub(self, earlier: Self) -> Self {
        Self {
            programs: self.programs - earlier.programs,
            programmed_bytes: self.programmed_bytes - earlier.programmed_bytes,
            erases: self.erases - earlier.erases,
            reads: self.reads - earlier.reads,
            read_bytes: self.read_bytes - earlier.read_bytes,
        }
    }
}
