//! Whether a put may be skipped, since its value is stored already.
//!
//! A skipped put must promise the same as one that is written: the value survives a cut as surely, and with the same expiry. So
//! its host finds the newest record of the key, whole, and asks in this order: [`Present::may_equal`], [`Tier::may_keep`], and
//! then whether the bytes are the same. It compares the stored bytes, where the same value is always encoded to the same bytes,
//! else the decoded value. If each answer is yes, the host [counts](Tier::note_unchanged) the put and answers its client. A
//! client that waits for a flush or a sync then waits for the stored record, as for one that was just appended.

use super::tier::{Status, Tier};
use crate::codec::CodecId;
use crate::format::{Location, Sequence, Version};
use crate::segments::SegmentState;

/// The newest record of a key, which its host found to be whole, and a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Present {
    /// The codec of the value.
    pub codec: CodecId,
    /// Bytes of the value as stored.
    pub value_bytes: u32,
    /// When it expires.
    pub expires_s: Option<u32>,
    /// Where the record lies.
    pub location: Location,
    /// Its version.
    pub version: Version,
}

impl Present {
    /// Tells whether a value of this codec, stored length and expiry could be the stored one. A value with another expiry is
    /// another value.
    #[must_use]
    pub fn may_equal(&self, codec: CodecId, value_bytes: u32, expires_s: Option<u32>) -> bool {
        (self.codec, self.value_bytes, self.expires_s) == (codec, value_bytes, expires_s)
    }
}

impl Tier<'_> {
    /// Tells whether a stored record may stand for a put of the same value: a mount would find it, and no other value of its
    /// key.
    ///
    /// It may not where it has expired, or where the sync that should have made it durable failed. Nor may it where a newer
    /// copy may lie among records that could not be read, or among failed writes.
    #[must_use]
    pub fn may_keep(&self, present: &Present) -> bool {
        let Location { segment, sequence, .. } = present.location;
        let is_sound = self.segments().get(segment.get() as usize).is_some_and(|segment| {
            let is_in_use = matches!(
                segment.state(),
                SegmentState::Open | SegmentState::Sealing | SegmentState::Sealed | SegmentState::Victim
            );
            is_in_use && segment.sequence == sequence && !segment.is_suspect()
        });
        is_sound
            && self.status == Status::Running
            && !self.log.copies.is_withholding()
            && present.version.sequence > self.log.version_floor()
            && !self.log.is_expired(present.expires_s)
    }

    /// The sequence above which the version of a record must lie so that [`may_keep`](Self::may_keep) agrees, in whatever
    /// segment the record is, if it has not expired. `None` while no version is enough. A host posts it for threads that can't
    /// reach the machine.
    #[must_use]
    pub fn keeps_above(&self) -> Option<Sequence> {
        let is_sure = self.status == Status::Running
            && !self.log.copies.is_withholding()
            && !self.log.segments.has_suspects();
        is_sure.then_some(self.log.version_floor())
    }

    /// Counts a put that was skipped, since its value was stored already.
    pub const fn note_unchanged(&mut self) {
        self.log.counters.unchanged_puts += 1;
    }
}
