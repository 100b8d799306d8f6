//! The charges of records against the capacity, by the reserve that the log keeps.

use super::tier::Tier;
use crate::config::Reserve;
use crate::format::RecordHeader;
use crate::segments::Growth;

impl Tier<'_> {
    /// Bytes of live records, each at its charge, that the log is sure to hold. It is known once the log is mounted: one that was
    /// written under another [reserve](crate::config::Reserve) may keep that.
    #[must_use]
    pub const fn charge_bytes_max(&self) -> u64 {
        self.log.layout.config().charge_bytes_max()
    }

    /// Bytes of a client's record with this header, as it is first written.
    #[must_use]
    pub const fn fresh_record_bytes(&self, header: &RecordHeader) -> u32 {
        self.log.layout.config().fresh_record_bytes(header)
    }

    /// Bytes of a client's record with this header once it is relocated with an origin: at most the longest record that the machine was
    /// built for, else it is refused.
    #[must_use]
    pub const fn longest_form_bytes(&self, header: &RecordHeader) -> u32 {
        self.log.layout.config().longest_form_bytes(header)
    }

    /// Bytes that live records are charged beyond their own: with one stream, those of the origins that they may still get.
    #[must_use]
    pub const fn charge_growth(&self) -> Growth {
        match self.log.layout.config().reserve {
            Reserve::One => self.log.layout.config().growth_apart(),
            Reserve::Several => self.log.layout.config().growth_merged(),
        }
    }
}
