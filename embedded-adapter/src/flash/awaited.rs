//! The calls of a tier over an async flash: futures.
//!
//! Each runs the same code as over a [`Medium`](super::Medium). Where that returns because an operation is under way, the future
//! carries the operation out and makes the call again: see [`pending`](super::pending).

use coldpress_core::drive::Now;
use coldpress_core::recovery::MountReport;
use coldpress_core::writer::BatchState;
use embedded_storage_async::nor_flash::NorFlash;

use super::batch::Batch;
use super::driving::{Step, Work};
use super::get::{Cursor, KeyFound};
use super::nor_async::AsyncNorMedium;
use super::put::Reserved;
use super::tier::FlashTier;
use super::{FlashMountError, GetError, PutError, Wait};

/// Steps that bring a batch with its last record to its end: a sync, and the publication.
const BATCH_STEPS: u32 = 64;

/// Makes a call, and after each operation that it waits for makes it again, until it is answered.
macro_rules! answered {
    ($tier:ident, $now:ident, $call:expr) => {{
        $tier.flash.medium.begin_call();
        loop {
            $tier.finish($now).await;
            let answer = $call;
            if !matches!(answer, Err(PutError::Busy(Wait::Operation))) {
                let cost = $tier.flash.medium.cost();
                $tier.note(&cost);
                return answer;
            }
        }
    }};
}

/// The calls over an [`AsyncNorMedium`]: each is a future, which awaits the flash. None returns [`Wait::Operation`], or
/// [`GetError::Busy`].
///
/// **A future that is dropped** in the middle of an operation counts as a power loss of that operation. Nothing acknowledged is lost. The
/// next call of the tier finds out what the flash holds, and goes on; nothing is mounted anew. A put or a remove that was dropped has
/// happened or has not: the next call decides that, and no later mount decides otherwise. Where the flash can't be read for that, or
/// programs a write in another order than from its beginning, it may count as one that failed ([`PutError::Medium`]).
impl<F: NorFlash> FlashTier<'_, AsyncNorMedium<F>> {
    /// Mounts the medium to the end: all of it is read once. [`poll`](Self::poll) does the same in steps. After a future of it was dropped,
    /// the next one goes on.
    ///
    /// Where the medium is new, or a cut interrupted an erase, segments must be erased before they are used. Until
    /// [`poll`](Self::poll) has done so, one a call, puts may be put off.
    ///
    /// # Errors
    /// [`FlashMountError`]; nothing was written.
    pub async fn mount(&mut self, now: Now) -> Result<MountReport, FlashMountError> {
        loop {
            self.finish(now).await;
            match self.go_on_mounting(now) {
                Err(FlashMountError::Busy) => {}
                answer => return answer,
            }
        }
    }

    /// Takes up to `budget` steps of the work that is due: the mount, compaction, tasks. To be called until
    /// [`is_idle`](Work::is_idle), and again from time to time. The operations of the answer have ended.
    ///
    /// # Bounds
    /// At most `budget` operations of the medium, at most one of them an erase, and at most one segment programmed. Beside
    /// these a step may read the records of a few keys, to find the key of an entry of the index.
    pub async fn poll(&mut self, now: Now, budget: u32) -> Work {
        let (mut allowance, mut work) = (self.allowance(budget), Work::default());
        loop {
            self.finish(now).await;
            work.is_waiting = false;
            self.poll_within(now, &mut allowance, &mut work);
            if !work.is_waiting {
                return work;
            }
        }
    }

    /// Stores a value under a key, in place of the one before. Where both are the same, nothing is written, unless
    /// [`skips_unchanged`](super::FlashConfig::skips_unchanged) is off.
    ///
    /// When it returns the record is programmed. Until then a power loss, or a drop of the future, leaves the old value or the new one.
    ///
    /// # Errors
    /// [`PutError`]. The old value is still there. After [`PutError::Medium`] a mount may find either value.
    ///
    /// # Bounds
    /// At most one erase and one segment of programming: compaction that is needed first is done up to that bound, else put
    /// off to [`poll`](Self::poll) and [`reserve`](Self::reserve).
    pub async fn put(&mut self, now: Now, key: &[u8], value: &[u8]) -> Result<(), PutError> {
        self.put_within(now, key, value, None).await
    }

    /// Stores a value that expires after `ttl_s` seconds: never earlier, and at most two seconds later while the clock is
    /// right. With 0 it expires at once.
    ///
    /// # Errors
    /// As for [`put`](Self::put), with its bounds.
    pub async fn put_with_ttl(
        &mut self,
        now: Now,
        key: &[u8],
        value: &[u8],
        ttl_s: u32,
    ) -> Result<(), PutError> {
        self.put_within(now, key, value, Some(ttl_s)).await
    }

    async fn put_within(
        &mut self,
        now: Now,
        key: &[u8],
        value: &[u8],
        ttl_s: Option<u32>,
    ) -> Result<(), PutError> {
        answered!(self, now, self.store_named(now, key, value, ttl_s).await)
    }

    /// Reads the value of a key into `out`; returns its part of `out`, or `None` where the key has no value.
    ///
    /// # Errors
    /// [`GetError`]; `out` then holds nothing of use. [`GetError::Short`] tells the length that is needed.
    ///
    /// # Bounds
    /// Reads the record once, and header and key of others with the same fingerprint: at most fifteen, hardly ever one.
    pub async fn get<'b>(
        &mut self,
        now: Now,
        key: &[u8],
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError> {
        self.finish(now).await;
        self.fetch_named(now, key, out).await
    }

    /// Tells whether a key has a value, by header and key alone.
    ///
    /// # Errors
    /// [`GetError`].
    ///
    /// # Bounds
    /// As for [`get`](Self::get), without the value.
    pub async fn contains(&mut self, now: Now, key: &[u8]) -> Result<bool, GetError> {
        self.finish(now).await;
        self.has_value(now, key).await
    }

    /// Removes a key; tells whether it had a value.
    ///
    /// A remove of a key with a value always fits, on a full medium too. While some records or segments could not be read, a remove of
    /// a key without a value is written too, since they may hold one; that takes space, and a place in the index.
    ///
    /// # Errors
    /// As for [`put`](Self::put), with its bounds.
    pub async fn remove(&mut self, now: Now, key: &[u8]) -> Result<bool, PutError> {
        answered!(self, now, self.drop_named(now, key).await)
    }

    /// Goes on to the next key that has a value, in no order, and reads it into `out`; `None` at the end.
    ///
    /// A walk that goes on after a put or a remove may miss a key or come to it twice: entries move to free space.
    ///
    /// # Errors
    /// [`GetError`]. The next call goes on behind the key, except after [`GetError::Short`]: then it tries the same key again. A future
    /// that is dropped may leave the key out.
    ///
    /// # Bounds
    /// Passes over empty places, and reads each expired record that it passes.
    pub async fn next_key<'b>(
        &mut self,
        now: Now,
        cursor: &mut Cursor,
        out: &'b mut [u8],
    ) -> Result<Option<KeyFound<'b>>, GetError> {
        self.finish(now).await;
        self.walk(now, cursor, out).await
    }

    /// Tells whether the next put of a value of this length needs compaction first, and does up to `budget` steps of that
    /// ahead. It also frees a place in the index for a new key.
    ///
    /// # Errors
    /// [`PutError`], as the put itself would.
    ///
    /// # Bounds
    /// Those of [`poll`](Self::poll).
    pub async fn reserve(
        &mut self,
        now: Now,
        key_bytes: u32,
        value_bytes: u32,
        budget: u32,
    ) -> Result<Reserved, PutError> {
        let (mut allowance, mut work) = (self.allowance(budget), Work::default());
        loop {
            self.finish(now).await;
            work.is_waiting = false;
            let answer = self.reserve_within(now, key_bytes, value_bytes, &mut allowance, &mut work);
            // The operation that it began belongs to the answer.
            if !work.is_waiting {
                return answer;
            }
        }
    }

    /// Makes all puts durable. On NOR flash they always are.
    ///
    /// # Errors
    /// [`PutError::Medium`]: a cut may lose the puts since the last sync; [`poll`](Self::poll) writes them again.
    ///
    /// # Bounds
    /// As for [`put`](Self::put).
    pub async fn sync(&mut self, now: Now) -> Result<(), PutError> {
        answered!(self, now, self.sync_within(now))
    }

    /// Begins to write a value in pieces, in place of any other that was begun and not committed. With `ttl_s` the value expires so
    /// many seconds after this call, since each piece is written with its expiry.
    ///
    /// # Errors
    /// [`PutError`]. A key takes at most [`LARGE_KEY_BYTES_MAX`](super::LARGE_KEY_BYTES_MAX) bytes. [`PutError::Damaged`] also while
    /// unread records or segments may hold a value of the key: its pieces would be overwritten before the new value is there.
    ///
    /// # Bounds
    /// Reads the head of the old value.
    pub async fn begin(&mut self, now: Now, key: &[u8], ttl_s: Option<u32>) -> Result<(), PutError> {
        answered!(self, now, self.begin_value(now, key, ttl_s).await)
    }

    /// Writes the next piece of the value that was begun under a key. Pieces may be of any length that a record takes beside the
    /// key, 18 bytes and the padding to a write unit. After a future was dropped, offer the same piece again.
    ///
    /// # Errors
    /// [`PutError`]; the same piece can be offered again.
    ///
    /// # Bounds
    /// Those of [`put`](Self::put).
    pub async fn put_piece(&mut self, now: Now, key: &[u8], piece: &[u8]) -> Result<(), PutError> {
        answered!(self, now, self.add_piece(now, key, piece).await)
    }

    /// Makes the value that was begun under a key its value.
    ///
    /// # Errors
    /// [`PutError`]; it can be tried again.
    ///
    /// # Bounds
    /// Those of [`put`](Self::put).
    pub async fn commit(&mut self, now: Now, key: &[u8]) -> Result<(), PutError> {
        answered!(self, now, self.commit_value(now, key).await)
    }

    /// Carries out the puts and removes of a batch together. When it returns, all of them have happened, and all are kept over any power
    /// loss. A cut before that, or a drop of the future, leaves all of them or none.
    ///
    /// Until then every key reads as before. A put of a value that is stored already is left out, as is a remove of a key without a
    /// value. Beside its records a batch takes one time record. Damage of one record later takes no other member.
    ///
    /// After a drop the same call goes on where it was. Any other write, and [`sync`](Self::sync) and [`reserve`](Self::reserve), give up
    /// a batch whose last record was not begun. So does a poll 10 seconds after its last step; the tier frees nothing in that time.
    ///
    /// # Errors
    /// [`PutError`]; nothing of it has happened. After [`PutError::Medium`] a mount may find all of it or nothing.
    /// [`PutError::BatchTooLong`] where the records don't fit into one segment, [`PutError::BatchKeys`] where
    /// [`FlashMemory`](super::FlashMemory) has too little memory for its keys. No value is longer than a record. [`PutError::Full`] where
    /// old and new records don't fit together; they do while `charged_bytes` of [`stats`](Self::stats) and the batch are below
    /// `charge_bytes_max`.
    ///
    /// # Bounds
    /// Those of [`put`](Self::put). The batch is at most a segment.
    pub async fn commit_batch<const N: usize>(
        &mut self,
        now: Now,
        batch: &Batch<'_, N>,
    ) -> Result<(), PutError> {
        answered!(self, now, self.commit_items(now, batch.items()).await)
    }

    /// Reads a value piece by piece through `buffer`, which is as long as its longest piece; `take` gets the offset and the bytes of
    /// each. Returns the length of the value, or `None` where the key has none. A value that was not written in pieces is one.
    ///
    /// # Errors
    /// [`GetError`]; pieces that `take` was given before were right.
    ///
    /// # Bounds
    /// Reads the head and each piece once.
    pub async fn get_in_pieces(
        &mut self,
        now: Now,
        key: &[u8],
        buffer: &mut [u8],
        take: impl FnMut(u32, &[u8]),
    ) -> Result<Option<u32>, GetError> {
        self.finish(now).await;
        self.fetch_in_pieces(now, key, buffer, take).await
    }

    /// Removes one piece that belongs to no value. Values that were replaced, removed or cut short leave such pieces. Returns
    /// whether there may be more. Without long values there is nothing to do.
    ///
    /// # Errors
    /// [`PutError`].
    ///
    /// # Bounds
    /// Looks at 16 entries, with a look at the head of each piece; one remove.
    pub async fn sweep(&mut self, now: Now) -> Result<bool, PutError> {
        answered!(self, now, self.sweep_one(now).await)
    }

    /// Ends what the machine waits for: reads for its index, and the operation under way. Of one whose future was dropped it finds out
    /// how far it came.
    ///
    /// A drop at any of its awaits leaves the rest to the next call.
    pub(super) async fn finish(&mut self, now: Now) {
        self.prepare(now).await;
        if self.under_way.is_some() {
            self.finish_operation(now).await;
        }
        if self.batch.is_none() {
            // A batch whose future was dropped before anything of it was appended.
            self.tier.give_up_batch();
            if self.pending.is_none() {
                self.index.known.clear();
            }
        }
        // The last record of a batch decides it, whichever call comes next: it is published before that.
        let mut allowance = self.allowance(BATCH_STEPS);
        while self.tier.batch() == BatchState::Ending {
            match self.step_batch(now, &mut allowance) {
                Step::Done => {}
                Step::Waiting => self.finish_operation(now).await,
                Step::Idle | Step::Spent => break,
            }
        }
    }

    async fn finish_operation(&mut self, now: Now) {
        self.flash.medium.carry_out(&mut self.tier).await;
        self.renew_known().await;
        let was_interrupted = self.flash.medium.was_interrupted();
        self.settle(now);
        // Nobody waits for the answer of a write whose future was dropped. If all of it is there, the same call is answered.
        if was_interrupted {
            self.forget_failed();
        }
        // The end of the operation may have asked for more.
        self.prepare(now).await;
    }
}
