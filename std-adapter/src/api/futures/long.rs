//! Puts of long values, awaited: the steps of [`put_pieces`](ColdTierHandle::put_pieces).

use crate::admission::{KeyClaim, REPLACEMENT, Tries};
use crate::api::handle::ColdTierHandle;
use crate::api::long::{LongPut, PutPieces};
use crate::api::opened::Open;
use crate::api::reserve::WaitingClient;
use crate::api::write::{Refused, Write};
use crate::config::Durability;
use crate::errors::TierError;
use crate::index::{FamilyWriter, SharedPartition};
use crate::recycled::Lease;
use coldpress_core::format::KeyHash;

impl ColdTierHandle {
    pub(super) async fn put_pieces_async(
        &self,
        write: &mut Write,
        long: LongPut,
    ) -> Result<PutPieces, Refused> {
        let lease = self.enter(|open| open.part(write.part).map(|part| part.shared.lease()))??;
        let key = self.claim_async(lease, write, write.hash).await?;
        let writer = FamilyWriter::new(lease, write.hash, key);
        // The put that had the key before may have changed it: no space is taken from others in vain.
        if self.is_unmet(write)? {
            return Ok(PutPieces::Unmet);
        }
        let replaces = lease.enter(|shared| shared.families.bytes(&write.hash))?;
        let mut replacement = None;
        let charge = match self.capacity_async(write, &long).await {
            // As for a short value, it may use the space that is kept for replacements, if it replaces enough.
            Err(Refused::Full { needed, available }) if needed <= available.saturating_add(replaces) => {
                replacement = Some(self.claim_async(lease, write, REPLACEMENT).await?);
                write.replaces = replaces;
                needed
            }
            Err(Refused::Full { .. }) if self.is_unmet(write)? => return Ok(PutPieces::Unmet),
            outcome => outcome?,
        };
        let taken = self.taken_async(write.part, write.hash).await?;
        let shape = self.piece_shape(&writer, &taken, &long, charge)?;
        let (head, pieces) = long.into_pieces(&write.hash, &shape);
        for (hash, piece) in pieces {
            let mut piece = write.piece(hash, piece);
            self.run_async(&mut piece).await.map_err(|refused| refused.of_all_pieces(charge))?;
        }
        self.flush_part_async(write.part, Durability::Synced, write.deadline).await?;
        drop(replacement);
        write.take_head(head, &shape);
        Ok(PutPieces::Put(writer))
    }

    /// Waits for a key, or for the space that is kept for replacements.
    async fn claim_async(
        &self,
        lease: Lease<SharedPartition>,
        write: &Write,
        key: KeyHash,
    ) -> Result<KeyClaim<Lease<SharedPartition>>, Refused> {
        let part = write.part;
        let check = || self.enter(|open| Ok::<_, Refused>(open.check_takes(open.part(part)?)?))?;
        let attempt = |waiting: &mut Option<WaitingClient>, tries: &Tries<'_>| {
            KeyClaim::try_for(lease, key, waiting, tries, check)
        };
        self.try_awaiting(write.deadline, attempt).await?.ok_or(Refused::Busy)
    }

    /// Waits for the capacity for all of a value; returns its charge.
    async fn capacity_async(&self, write: &Write, long: &LongPut) -> Result<u64, Refused> {
        let mut asked_in = 0;
        let attempt = |waiting: &mut Option<WaitingClient>, tries: &Tries<'_>| {
            self.try_for_capacity(write, long, &mut asked_in, waiting, tries)
        };
        self.try_awaiting(write.deadline, attempt).await?.ok_or(Refused::Busy)
    }

    /// The generations that a head of the key may name. The head in the log may have to be read.
    async fn taken_async(&self, part: usize, hash: KeyHash) -> Result<Vec<u8>, TierError> {
        let try_look = |open: &Open| {
            let reads = open.reads_without_waits();
            let taken = open.part(part)?.taken_generations(&reads, &hash);
            if reads.would_wait() { Ok(None) } else { taken.map(Some) }
        };
        if let Some(taken) = self.enter(try_look)?? {
            return Ok(taken);
        }
        let look = move |open: &Open| open.part(part)?.taken_generations(&open.reads(), &hash);
        self.on_reader(part, move |handle| handle.enter(look)?).await?
    }
}
