//! Space and places that a record lacks, and where they come from: expired records first, then places and space that removed keys hold.

use coldpress_core::drive::Now;
use coldpress_core::format::KeyHash;
use coldpress_core::segments::Segment;

use super::access::Access;
use super::driving::{Step, Work};
use super::due::Expired;
use super::index::Found;
use super::places::WantedPlace;
use super::table::State;
use super::tier::FlashTier;
use super::{PutError, Wait};

/// The resource that a value lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// As many keys have a value as are promised.
    Keys,
    /// A place in the index.
    Place,
    /// So many places in the index.
    Places(u32),
    /// Space on the medium.
    Space,
}

/// Records that one call reads while it provides a resource: as many as a search for expired ones looks at in a call.
const READS_MAX: u32 = 512;

impl<M: Access> FlashTier<'_, M> {
    /// Finds the resource that a value lacks if it is put in place of the one found. Bounds: one pass over the segment table.
    pub(super) fn lack(&mut self, hash: &KeyHash, charge: u32, found: Option<&Found>) -> Option<Lack> {
        let is_value = found.is_some_and(|found| found.entry.state == State::Value);
        if !is_value && self.index.table.values() >= self.keys_max {
            return Some(Lack::Keys);
        }
        if found.is_none() && !self.index.has_place(hash) {
            return Some(Lack::Place);
        }
        self.check_capacity(charge, found).err().map(|_| Lack::Space)
    }

    /// The charge of a stored record. In a segment with records that have no origin it may still get one.
    fn charged(&self, found: &Found) -> u32 {
        let growth = self.tier.charge_growth();
        let (units, segments) =
            (self.flash.geometry.segment_bytes() / self.flash.geometry.write_unit(), self.tier.segments());
        let is_plain = segments.get((found.entry.place / units) as usize).is_some_and(Segment::is_plain);
        found.record_bytes.saturating_add(if is_plain { growth.plain } else { growth.relocated })
    }

    pub(super) fn check_capacity(&self, charge: u32, found: Option<&Found>) -> Result<(), PutError> {
        let found = found.filter(|found| found.entry.state != State::Dead);
        let replaced = found.map_or(0, |found| self.charged(found));
        // A record no longer than the one that it replaces always fits.
        let charged = self.charged_bytes().saturating_sub(u64::from(replaced)) + u64::from(charge);
        if charge > replaced && charged > self.tier.charge_bytes_max() { Err(PutError::Full) } else { Ok(()) }
    }

    /// Provides a lacking resource, as far as one call may. `Ok` where another try may succeed.
    fn meet(&mut self, now: Now, hash: &KeyHash, lack: Lack) -> Result<(), PutError> {
        let is_in_vain = self.index.places.is_in_vain();
        let wanted = match lack {
            Lack::Place => Some(WantedPlace::Place(*hash)),
            Lack::Places(count) => Some(WantedPlace::Places(count)),
            Lack::Keys | Lack::Space => None,
        };
        if let Some(wanted) = wanted.filter(|_| !is_in_vain) {
            return Err(self.clean_for(now, wanted));
        }
        match self.drop_expired(now) {
            Expired::Dropped => return Ok(()),
            Expired::Wait => return Err(PutError::Busy(Wait::Operation)),
            Expired::More => return Err(PutError::NeedsCompaction),
            Expired::None => {}
        }
        match lack {
            Lack::Keys => Err(PutError::KeysFull),
            Lack::Place | Lack::Places(_) if self.index.keeps_tombstones() => Err(PutError::KeysKept),
            Lack::Place | Lack::Places(_) => Err(PutError::KeysFull),
            Lack::Space if self.index.table.stand_ins() > 0 && !is_in_vain => {
                Err(self.clean_for(now, WantedPlace::Space))
            }
            Lack::Space => Err(PutError::Full),
        }
    }

    /// As [`meet`](Self::meet); reads that it waits for are made here. A look for a place between them moves entries, and the search for
    /// expired records would begin anew each time. Bounds: [`READS_MAX`] reads of records; the next call goes on.
    pub(super) async fn provide(&mut self, now: Now, hash: &KeyHash, lack: Lack) -> Result<(), PutError> {
        for _ in 0..READS_MAX {
            let met = self.meet(now, hash, lack);
            let waits_for_read = self.under_way.is_none() && self.flash.medium.is_wanting();
            if met != Err(PutError::Busy(Wait::Operation)) || !waits_for_read {
                return met;
            }
            self.prepare(now).await;
        }
        Err(PutError::NeedsCompaction)
    }

    /// Refuses a record without a value for which there is no place.
    pub(super) async fn check_place(&mut self, now: Now, hash: &KeyHash) -> Result<(), PutError> {
        while !self.index.has_place(hash) {
            self.provide(now, hash, Lack::Place).await?;
        }
        Ok(())
    }

    /// Cleans until the wanted resource is there, up to the bound of a call; polls do the rest. Returns why the call is put
    /// off: a part of its bound is spent.
    fn clean_for(&mut self, now: Now, wanted: WantedPlace) -> PutError {
        self.index.places.want(wanted);
        let read_before = self.flash.bytes_read;
        let (mut allowance, mut work) = (self.whole_allowance(), Work::default());
        let mut error = PutError::NeedsCompaction;
        while self.desk().lacks_a_wanted_place() {
            match self.step(now, &mut allowance, &mut work) {
                Step::Done => {}
                Step::Spent => break,
                Step::Idle => {
                    error = PutError::Busy(Wait::Retry);
                    break;
                }
                Step::Waiting => {
                    error = PutError::Busy(Wait::Operation);
                    break;
                }
            }
        }
        work.bytes_read = u32::try_from(self.flash.bytes_read - read_before).unwrap_or(u32::MAX);
        self.note(&work);
        error
    }

    /// Tells whether the index has a place for a new key, or never will have one; else wants one.
    pub(super) fn reserve_place(&mut self) -> bool {
        let is_there = self.index.has_any_place()
            || self.index.table.values() >= self.keys_max
            || self.index.places.is_in_vain();
        if !is_there {
            self.index.places.want(WantedPlace::AnyPlace);
        }
        is_there
    }
}
