//! Holds the segments of a tier for a backup.

use core::convert::Infallible;
use core::num::NonZeroU64;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::Sender;

use crate::api::handle::ColdTierHandle;
use crate::errors::TierError;
use crate::storage::{MediumFailure, PackedSegment};
use crate::worker::{HeldSegment, HoldRequest, Message, TakenSegment};

static HOLDS: AtomicU64 = AtomicU64::new(0);

/// The facts about a tier that a backup needs to rebuild its directory.
#[derive(Debug, Clone)]
pub(crate) struct TierIdentity {
    pub(crate) store_id: u64,
    pub(crate) schema: Option<Box<str>>,
    pub(crate) segment_bytes: u32,
    pub(crate) segments: u32,
}

/// The segments of all partitions, held until this value is dropped.
pub(crate) struct HeldTier {
    handle: ColdTierHandle,
    /// Higher than those of all holds before it.
    pub(crate) number: NonZeroU64,
    pub(crate) parts: Vec<Vec<HeldSegment>>,
    /// Dropped, it shows the workers that nothing is held any more.
    _alive: Sender<Infallible>,
}

impl ColdTierHandle {
    pub(crate) fn identity(&self) -> Result<TierIdentity, TierError> {
        self.enter(|open| TierIdentity {
            store_id: open.store_id,
            schema: open.schema.clone(),
            segment_bytes: open.terms.geometry.segment_bytes(),
            segments: open.terms.geometry.segment_count(),
        })
    }

    /// Holds all segments but those that did not change since an earlier hold of this tier; `None` where another backup holds them.
    pub(crate) async fn hold_async(
        &self,
        bytes_max: u64,
        since: Option<NonZeroU64>,
    ) -> Result<Option<HeldTier>, TierError> {
        let parts = self.enter(|open| open.parts.len())?;
        // Dropped on the way out, it ends the holds that began.
        let number = NonZeroU64::MIN.saturating_add(HOLDS.fetch_add(1, Relaxed));
        let (alive, backup) = crossbeam_channel::bounded(0);
        let mut held = HeldTier { handle: *self, number, parts: Vec::new(), _alive: alive };
        let deadline = self.deadline()?;
        let bytes_max = bytes_max / parts.max(1) as u64;
        let mut answers = Vec::new();
        for part in 0..parts {
            let (reply, receiver) = oneshot::async_channel();
            let request =
                HoldRequest::Begin { number, since, bytes_max, backup: backup.clone(), reply: reply.into() };
            self.send_message_async(part, Message::Hold(request), deadline).await?;
            answers.push(receiver);
        }
        for (part, answer) in answers.into_iter().enumerate() {
            match self.answer(part, answer, deadline).await? {
                Some(segments) => held.parts.push(segments),
                None => return Ok(None),
            }
        }
        Ok(Some(held))
    }
}

impl HeldTier {
    /// Reads the first bytes of a segment, as they are now.
    pub(crate) fn read(
        &self,
        part: u16,
        segment: u32,
        bytes: u32,
    ) -> Result<Result<PackedSegment, MediumFailure>, TierError> {
        self.handle.enter(|open| {
            let part = open.part(usize::from(part))?;
            let at = u64::from(segment) * u64::from(open.terms.geometry.segment_bytes());
            let mut whole = vec![0; bytes as usize];
            let read = part.medium.read_shared(at, &mut whole);
            Ok(read.map(|()| PackedSegment::pack(&whole)))
        })?
    }

    /// Takes a segment that was read before.
    pub(crate) async fn take(&self, part: u16, segment: u32) -> Result<TakenSegment, TierError> {
        let (reply, receiver) = oneshot::async_channel();
        let request = HoldRequest::Take { number: self.number, segment, reply: reply.into() };
        let deadline = self.handle.deadline()?;
        self.handle.send_message_async(usize::from(part), Message::Hold(request), deadline).await?;
        self.handle.answer(usize::from(part), receiver, deadline).await
    }
}

impl Drop for HeldTier {
    fn drop(&mut self) {
        // A tier that is closed holds nothing. Where a queue has no place, the worker finds the hold over at its next write.
        let _ = self.handle.enter(|open| {
            for part in &open.parts {
                let _ = part.pass_message(&mut Some(Message::Hold(HoldRequest::End { number: self.number })));
            }
        });
    }
}
