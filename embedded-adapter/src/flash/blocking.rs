//! The calls of a tier over a medium that does not wait.

use coldpress_core::drive::Now;
use coldpress_core::recovery::MountReport;

use super::access::at_once;
use super::batch::Batch;
use super::driving::Work;
use super::get::{Cursor, KeyFound};
use super::medium::Medium;
use super::put::Reserved;
use super::tier::FlashTier;
use super::{FlashMountError, GetError, PutError, Wait};

/// The answer where a read waits, as none of a [`Medium`] does.
pub(super) const PUT_OFF: PutError = PutError::Busy(Wait::Operation);

/// The calls over a [`Medium`]: none waits.
impl<M: Medium> FlashTier<'_, M> {
    /// Mounts the medium to the end: all of it is read once. [`poll`](Self::poll) does the same in steps. While an operation is
    /// under way the call ends with [`FlashMountError::Busy`]; made again, it goes on.
    ///
    /// Where the medium is new, or a cut interrupted an erase, segments must be erased before they are used. Until
    /// [`poll`](Self::poll) has done so, one a call, puts may be put off.
    ///
    /// # Errors
    /// [`FlashMountError`]; nothing was written.
    pub fn mount(&mut self, now: Now) -> Result<MountReport, FlashMountError> {
        self.go_on_mounting(now)
    }

    /// Takes up to `budget` steps of the work that is due: the mount, compaction, tasks. To be called until
    /// [`is_idle`](Work::is_idle), from the main loop or an interrupt, and again from time to time.
    ///
    /// The next call goes on with unfinished work; after a cut the next mount finds it.
    ///
    /// # Bounds
    /// At most `budget` operations of the medium, at most one of them an erase, and at most one segment programmed. Beside
    /// these a step may read the records of a few keys, to find the key of an entry of the index. It waits for nothing: where
    /// the medium says that an operation is under way the call ends.
    pub fn poll(&mut self, now: Now, budget: u32) -> Work {
        let (mut allowance, mut work) = (self.allowance(budget), Work::default());
        self.poll_within(now, &mut allowance, &mut work);
        work
    }

    /// Stores a value under a key, in place of the one before. Where both are the same, nothing is written, unless
    /// [`skips_unchanged`](super::FlashConfig::skips_unchanged) is off.
    ///
    /// When it returns the record is programmed; where the medium needs a [`sync`](Self::sync) for it, it is durable after
    /// that. A cut before it returns leaves the old value or the new one.
    ///
    /// # Errors
    /// [`PutError`]. The old value is still there. After [`PutError::Medium`] a mount may find either value. After [`PutError::Busy`] the
    /// call is not over: the key has either value until the same call, made again, is answered.
    ///
    /// # Bounds
    /// At most one erase and one segment of programming: compaction that is needed first is done up to that bound, else put
    /// off to [`poll`](Self::poll) and [`reserve`](Self::reserve). A put may be put off for a place in the index, or for the space of
    /// expired records. It has that after at most five victims for each segment of the medium. In the tests (`flash_keys`) it takes no
    /// more polls of 64 operations than there are segments. Of expired records 512 are looked at. It waits for no operation of the medium.
    pub fn put(&mut self, now: Now, key: &[u8], value: &[u8]) -> Result<(), PutError> {
        at_once(self.store_named(now, key, value, None)).unwrap_or(Err(PUT_OFF))
    }

    /// Stores a value that expires after `ttl_s` seconds: never earlier, and at most two seconds later while the clock is
    /// right. With 0 it expires at once. Where the call is made again after [`PutError::Busy`], the seconds count from the
    /// append of its record.
    ///
    /// # Errors
    /// As for [`put`](Self::put), with its bounds.
    pub fn put_with_ttl(&mut self, now: Now, key: &[u8], value: &[u8], ttl_s: u32) -> Result<(), PutError> {
        at_once(self.store_named(now, key, value, Some(ttl_s))).unwrap_or(Err(PUT_OFF))
    }

    /// Reads the value of a key into `out`; returns its part of `out`, or `None` where the key has no value.
    ///
    /// # Errors
    /// [`GetError`]; `out` then holds nothing of use. [`GetError::Short`] tells the length that is needed.
    ///
    /// # Bounds
    /// Reads the record once, and header and key of others with the same fingerprint: at most fifteen, hardly ever one.
    pub fn get<'b>(&mut self, now: Now, key: &[u8], out: &'b mut [u8]) -> Result<Option<&'b [u8]>, GetError> {
        at_once(self.fetch_named(now, key, out)).unwrap_or(Err(GetError::Busy))
    }

    /// Tells whether a key has a value, by header and key alone.
    ///
    /// # Errors
    /// [`GetError`].
    ///
    /// # Bounds
    /// As for [`get`](Self::get), without the value.
    pub fn contains(&mut self, now: Now, key: &[u8]) -> Result<bool, GetError> {
        at_once(self.has_value(now, key)).unwrap_or(Err(GetError::Busy))
    }

    /// Removes a key; tells whether it had a value.
    ///
    /// A remove of a key with a value always fits, on a full medium too. While some records or segments could not be read, a remove of
    /// a key without a value is written too, since they may hold one; that takes space, and a place in the index.
    ///
    /// # Errors
    /// As for [`put`](Self::put), with its bounds.
    pub fn remove(&mut self, now: Now, key: &[u8]) -> Result<bool, PutError> {
        at_once(self.drop_named(now, key)).unwrap_or(Err(PUT_OFF))
    }

    /// Goes on to the next key that has a value, in no order, and reads it into `out`; `None` at the end.
    ///
    /// A walk that goes on after a put or a remove may miss a key or come to it twice: entries move to free space.
    ///
    /// # Errors
    /// [`GetError`]. The next call goes on behind the key, except after [`GetError::Short`]: then it tries the same key again.
    ///
    /// # Bounds
    /// Passes over empty places, and reads each expired record that it passes.
    pub fn next_key<'b>(
        &mut self,
        now: Now,
        cursor: &mut Cursor,
        out: &'b mut [u8],
    ) -> Result<Option<KeyFound<'b>>, GetError> {
        at_once(self.walk(now, cursor, out)).unwrap_or(Err(GetError::Busy))
    }

    /// Tells whether the next put of a value of this length needs compaction first, and does up to `budget` steps of that
    /// ahead. It also frees a place in the index for a new key.
    ///
    /// # Errors
    /// [`PutError`], as the put itself would.
    ///
    /// # Bounds
    /// Those of [`poll`](Self::poll).
    pub fn reserve(
        &mut self,
        now: Now,
        key_bytes: u32,
        value_bytes: u32,
        budget: u32,
    ) -> Result<Reserved, PutError> {
        let mut allowance = self.allowance(budget);
        self.reserve_within(now, key_bytes, value_bytes, &mut allowance, &mut Work::default())
    }

    /// Makes all puts durable, where the medium needs that. On NOR flash they always are.
    ///
    /// # Errors
    /// [`PutError::Medium`]: a cut may lose the puts since the last sync; [`poll`](Self::poll) writes them again.
    ///
    /// # Bounds
    /// As for [`put`](Self::put).
    pub fn sync(&mut self, now: Now) -> Result<(), PutError> {
        self.sync_within(now)
    }

    /// Begins to write a value in pieces, in place of any other that was begun and not committed. With `ttl_s` the value expires so
    /// many seconds after this call, since each piece is written with its expiry.
    ///
    /// # Errors
    /// [`PutError`]. A key takes at most [`LARGE_KEY_BYTES_MAX`](super::LARGE_KEY_BYTES_MAX) bytes. [`PutError::Damaged`] also while unread records or
    /// segments may hold a value of the key: its pieces would be overwritten before the new value is there.
    ///
    /// # Bounds
    /// Reads the head of the old value.
    pub fn begin(&mut self, now: Now, key: &[u8], ttl_s: Option<u32>) -> Result<(), PutError> {
        at_once(self.begin_value(now, key, ttl_s)).unwrap_or(Err(PUT_OFF))
    }

    /// Writes the next piece of the value that was begun under a key. Pieces may be of any length that a record takes beside the
    /// key, 18 bytes and the padding to a write unit.
    ///
    /// # Errors
    /// [`PutError`]; the same piece can be offered again.
    ///
    /// # Bounds
    /// Those of [`put`](Self::put).
    pub fn put_piece(&mut self, now: Now, key: &[u8], piece: &[u8]) -> Result<(), PutError> {
        at_once(self.add_piece(now, key, piece)).unwrap_or(Err(PUT_OFF))
    }

    /// Makes the value that was begun under a key its value.
    ///
    /// # Errors
    /// [`PutError`]; it can be tried again.
    ///
    /// # Bounds
    /// Those of [`put`](Self::put).
    pub fn commit(&mut self, now: Now, key: &[u8]) -> Result<(), PutError> {
        at_once(self.commit_value(now, key)).unwrap_or(Err(PUT_OFF))
    }

    /// Carries out the puts and removes of a batch together. When it returns, all of them have happened, and all are kept over any power
    /// loss. A cut before that leaves all of them or none.
    ///
    /// Until then every key reads as before. A put of a value that is stored already is left out, as is a remove of a key without a
    /// value. Beside its records a batch takes one time record. Damage of one record later takes no other member.
    ///
    /// # Errors
    /// [`PutError`]; nothing of it has happened. After [`PutError::Medium`] a mount may find all of it or nothing. After
    /// [`PutError::Busy`] the call is not over: the same call, made again, goes on. Any other write, and
    /// [`sync`](Self::sync) and [`reserve`](Self::reserve), give it up. So does a poll 10 seconds after its last step; the tier frees
    /// nothing in that time. [`PutError::BatchTooLong`] where the records don't fit into one segment, [`PutError::BatchKeys`] where
    /// [`FlashMemory`](super::FlashMemory) has too little memory for its keys. No value is longer than a record. [`PutError::Full`] where
    /// old and new records don't fit together; they do while `charged_bytes` of [`stats`](Self::stats) and the batch are below
    /// `charge_bytes_max`.
    ///
    /// # Bounds
    /// Those of [`put`](Self::put). The batch is at most a segment, and all of it is programmed in one call where the medium does not
    /// wait.
    pub fn commit_batch<const N: usize>(&mut self, now: Now, batch: &Batch<'_, N>) -> Result<(), PutError> {
        at_once(self.commit_items(now, batch.items())).unwrap_or(Err(PUT_OFF))
    }

    /// Reads a value piece by piece through `buffer`, which is as long as its longest piece; `take` gets the offset and the bytes of
    /// each. Returns the length of the value, or `None` where the key has none. A value that was not written in pieces is one.
    ///
    /// # Errors
    /// [`GetError`]; pieces that `take` was given before were right.
    ///
    /// # Bounds
    /// Reads the head and each piece once.
    pub fn get_in_pieces(
        &mut self,
        now: Now,
        key: &[u8],
        buffer: &mut [u8],
        take: impl FnMut(u32, &[u8]),
    ) -> Result<Option<u32>, GetError> {
        at_once(self.fetch_in_pieces(now, key, buffer, take)).unwrap_or(Err(GetError::Busy))
    }

    /// Removes one piece that belongs to no value. Values that were replaced, removed or cut short leave such pieces. Returns
    /// whether there may be more. Without long values there is nothing to do.
    ///
    /// Nothing is removed while some records or segments could not be read, since the head of a piece may be among them. After a
    /// commit that failed and was not repeated, nothing is removed before the next mount, which finds the pieces that it left.
    ///
    /// # Errors
    /// [`PutError`].
    ///
    /// # Bounds
    /// Looks at 16 entries, with a look at the head of each piece; one remove.
    pub fn sweep(&mut self, now: Now) -> Result<bool, PutError> {
        at_once(self.sweep_one(now)).unwrap_or(Err(PUT_OFF))
    }
}
