//! Queues: records that leave in the order in which they came.
//!
//! A queue is a ring of keys of the tier, so it has the tier's promises and its compaction. It keeps two places in RAM; an
//! [open](FlashQueue::open) finds them among the keys.
//!
//! ```text
//! key   id: 3 bytes │ bound u16 │ place u16, highest byte first     places  0 … 2 × bound + 1, and again from 0
//! push  put of the key `tail`                                       pop     remove of the key `head`
//! ```
//!
//! All records lie within as many places as the bound, which is less than half of the ring. So of two records it is known which is older,
//! also where some between were lost. A popped record comes back if its tombstone is damaged, or if the record was unreadable for a while. If
//! the records then span more places than the bound, the queue ends before the widest gap. Every readable record is in it, unless all
//! places are taken: then one is left out. The keys come again and again: on a flash with parts that can't be read, removed keys stay in the index, but no
//! more of them than there are places.
//!
//! When power is lost, a push that returned is there, in its place, and a record that was popped stays gone. The operation under
//! way happened or did not. A [`push_over`](FlashQueue::push_over) of a full queue is a pop and then a push: a cut between leaves the
//! queue without the oldest record and without the new one, which no call has acknowledged.

mod awaited;
mod records;

use core::fmt;

use coldpress_core::drive::Now;

use self::records::{FoundPlace, RecordCalls};
use super::access::at_once;
use super::blocking::PUT_OFF;
use super::medium::Medium;
use super::tier::FlashTier;
use super::{GetError, PutError};

/// Bytes of the id of a queue.
pub const QUEUE_ID_BYTES: usize = 3;
/// The highest bound of a queue, in records.
pub const QUEUE_LEN_MAX: u16 = (1 << 15) - 1;
/// Bytes of a key: one of this length is its own identity, so no two collide.
const KEY_BYTES: usize = QUEUE_ID_BYTES + 4;

/// Why an operation of a queue was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum QueueError {
    /// The queue holds as many records as it may, this many: pop one, or [`push_over`](FlashQueue::push_over).
    Full(u16),
    /// The queue holds records that were pushed under another bound, this one: open it with that, and take them out.
    Bound(u16),
    /// The tier was not read.
    Get(GetError),
    /// The tier was not written to. After [`PutError::Busy`] within it, make the same call again; after [`PutError::NeedsCompaction`]
    /// poll before.
    Put(PutError),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(max) => write!(f, "the queue holds {max} records, as many as it may"),
            Self::Bound(bound) => write!(f, "the queue was filled under the bound of {bound} records"),
            Self::Get(error) => error.fmt(f),
            Self::Put(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for QueueError {}

impl From<GetError> for QueueError {
    fn from(error: GetError) -> Self {
        Self::Get(error)
    }
}

impl From<PutError> for QueueError {
    fn from(error: PutError) -> Self {
        Self::Put(error)
    }
}

/// A queue of a bounded number of records on a tier, which it borrows in each call. So a tier may have many queues beside other keys;
/// all bytes count against its space, and all records against its keys. Keys of popped records may take entries of the index: count
/// a queue as twice its bound and two in keys, and no push fails for lack of them.
///
/// Keys of seven bytes that begin with the id belong to the queue: no other call may write them. Open one queue of an id at a time.
///
/// ```
/// # mod ram { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ram/mod.rs")); }
/// # use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, Now, buckets_for};
/// use coldpress_embedded::flash::{FlashQueue, QueueError};
///
/// # let (flash, now) = (ram::Ram::<4, 4096>::new(16), Now { monotonic_ms: 0, wall_s: 0 });
/// # let mut memory = FlashMemory::<16, { buckets_for(100) }, 128>::new();
/// # let mut tier = FlashTier::new(FlashConfig::new(4096, 1), &mut memory, NorMedium::new(flash))?;
/// # tier.mount(now)?;
/// # while !tier.poll(now, 64).is_idle {}
/// let mut log = FlashQueue::open(&mut tier, now, *b"log", 2)?;
/// log.push(&mut tier, now, b"door opened")?;
/// log.push(&mut tier, now, b"door closed")?;
/// assert_eq!(log.push(&mut tier, now, b"alarm"), Err(QueueError::Full(2)));
/// log.push_over(&mut tier, now, b"alarm")?;
///
/// let mut record = [0; 64];
/// assert_eq!(log.peek(&mut tier, now, &mut record)?, Some(b"door closed".as_slice()));
/// // Sent: it is dropped only now, so a power cut before repeats it.
/// log.pop(&mut tier, now)?;
/// assert_eq!(log.peek(&mut tier, now, &mut record)?, Some(b"alarm".as_slice()));
/// assert_eq!(log.len(), 1);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FlashQueue {
    id: [u8; QUEUE_ID_BYTES],
    len_max: u16,
    /// The place of the oldest record.
    head: u32,
    /// The place of the next record that is pushed.
    tail: u32,
    drop: HeadDrop,
    /// Whether a pop was done whose answer was not taken: the next one is answered, and drops nothing.
    is_pop_owed: bool,
}

/// The call that has begun to drop the oldest record, which may be gone by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum HeadDrop {
    Nobody,
    Pop,
    PushOver,
}

impl FlashQueue {
    /// Opens the queue of an id, which may hold `len_max` records: 1 to [`QUEUE_LEN_MAX`], or the nearest of these. Only an empty queue can
    /// be opened with another bound than before.
    ///
    /// Records that can't be read are not in it. If they can be read again later, they may have been replaced, or be out of order.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was written. The id FF 63 70 is [reserved](PutError::Reserved).
    ///
    /// # Bounds
    /// Reads the header of every key's record, and all of each record of the queue. If the records take more places than the bound, it
    /// repeats this once for each record and once more.
    pub fn open<M: Medium>(
        tier: &mut FlashTier<'_, M>,
        now: Now,
        id: [u8; QUEUE_ID_BYTES],
        len_max: u16,
    ) -> Result<Self, QueueError> {
        at_once(Self::open_on(tier, now, id, len_max)).unwrap_or(Err(QueueError::Get(GetError::Busy)))
    }

    async fn open_on<T: RecordCalls>(
        tier: &mut T,
        now: Now,
        id: [u8; QUEUE_ID_BYTES],
        len_max: u16,
    ) -> Result<Self, QueueError> {
        tier.check_queue(now, &id).await?;
        let len_max = len_max.clamp(1, QUEUE_LEN_MAX);
        let mut queue = Self { id, len_max, head: 0, tail: 0, drop: HeadDrop::Nobody, is_pop_owed: false };
        let (mut position, mut has_more, mut other) = (0, false, None);
        while let Some(found) = tier.find_place(now, position, id).await? {
            position = found.next;
            if queue.has_place(&found) {
                has_more |= queue.take_in(found.place);
            } else if found.bound != len_max {
                other = Some(found.bound);
            }
        }
        if has_more {
            queue.span(tier, now).await?;
        }
        match other {
            // Records of two bounds lie there only where some came back: each bound opens its own.
            Some(bound) if queue.is_empty() => Err(QueueError::Bound(bound)),
            _ => Ok(queue),
        }
    }

    /// Whether a record that was found is of this ring. Only other bytes than those of a push have a place beyond it.
    const fn has_place(&self, found: &FoundPlace) -> bool {
        found.bound == self.len_max && found.place < self.places()
    }

    /// Takes a place into those between head and tail. Tells whether these are more than the bound: then the ends are not known.
    fn take_in(&mut self, place: u32) -> bool {
        if self.head == self.tail {
            (self.head, self.tail) = (place, self.after(place));
        } else if self.distance(self.head, place) >= u32::from(self.len_max) {
            self.head = place;
        } else if self.distance(self.head, place) >= self.distance(self.head, self.tail) {
            self.tail = self.after(place);
        }
        self.head == self.tail || self.len() > u32::from(self.len_max)
    }

    /// Finds the ends anew: the widest gap between records lies before the head.
    async fn span<T: RecordCalls>(&mut self, tier: &mut T, now: Now) -> Result<(), GetError> {
        let Some(first) = self.nearest(tier, now, 0).await? else { return Ok(()) };
        let (mut place, mut widest) = (first, 0);
        // Where no place is free, one record is left out.
        (self.head, self.tail) = (self.after(first), first);
        loop {
            let next = self.nearest(tier, now, self.after(place)).await?.unwrap_or(place);
            let gap = self.distance(self.after(place), next);
            if gap > widest {
                (widest, self.head, self.tail) = (gap, next, self.after(place));
            }
            place = next;
            if place == first {
                return Ok(());
            }
        }
    }

    /// The first place with a record, from one on around the ring.
    async fn nearest<T: RecordCalls>(
        &self,
        tier: &mut T,
        now: Now,
        from: u32,
    ) -> Result<Option<u32>, GetError> {
        let (mut position, mut nearest) = (0, None);
        while let Some(found) = tier.find_place(now, position, self.id).await? {
            position = found.next;
            let is_nearer = nearest.is_none_or(|n| self.distance(from, found.place) < self.distance(from, n));
            if self.has_place(&found) && is_nearer {
                nearest = Some(found.place);
            }
        }
        Ok(nearest)
    }

    /// Places of the ring.
    const fn places(&self) -> u32 {
        2 * self.len_max as u32 + 2
    }

    /// The place after one.
    const fn after(&self, place: u32) -> u32 {
        (place + 1) % self.places()
    }

    /// How far it is from one place on to another.
    const fn distance(&self, from: u32, to: u32) -> u32 {
        (to + self.places() - from) % self.places()
    }

    /// Records in it. Records that were lost to damage count until they are passed.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.distance(self.head, self.tail)
    }

    /// Whether it has no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Whether it refuses a push.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.len() >= self.len_max as u32
    }

    fn key(&self, place: u32) -> [u8; KEY_BYTES] {
        let ([a, b, c], [d, e], [_, _, f, g]) = (self.id, self.len_max.to_be_bytes(), place.to_be_bytes());
        [a, b, c, d, e, f, g]
    }

    /// Puts a record behind the others.
    ///
    /// # Errors
    /// [`QueueError`]. After [`PutError::Medium`] the queue is as before; if nothing is pushed until the next mount, that may find
    /// the record.
    ///
    /// # Bounds
    /// Those of [`FlashTier::put`]. A record takes seven bytes of key and the header beside its own.
    pub fn push<M: Medium>(
        &mut self,
        tier: &mut FlashTier<'_, M>,
        now: Now,
        record: &[u8],
    ) -> Result<(), QueueError> {
        at_once(self.push_on(tier, now, record)).unwrap_or(Err(QueueError::Put(PUT_OFF)))
    }

    async fn push_on<T: RecordCalls>(
        &mut self,
        tier: &mut T,
        now: Now,
        record: &[u8],
    ) -> Result<(), QueueError> {
        if self.is_full() {
            return Err(QueueError::Full(self.len_max));
        }
        tier.put_record(now, &self.key(self.tail), record).await?;
        self.tail = self.after(self.tail);
        Ok(())
    }

    /// Puts a record behind the others, and drops the oldest first where the queue is full.
    ///
    /// # Errors
    /// As for [`push`](Self::push), but never [`QueueError::Full`]. The oldest record may be gone already.
    ///
    /// # Bounds
    /// Those of [`pop`](Self::pop) and [`push`](Self::push).
    pub fn push_over<M: Medium>(
        &mut self,
        tier: &mut FlashTier<'_, M>,
        now: Now,
        record: &[u8],
    ) -> Result<(), QueueError> {
        at_once(self.push_over_on(tier, now, record)).unwrap_or(Err(QueueError::Put(PUT_OFF)))
    }

    async fn push_over_on<T: RecordCalls>(
        &mut self,
        tier: &mut T,
        now: Now,
        record: &[u8],
    ) -> Result<(), QueueError> {
        self.end_drop(tier, now).await.map_err(not_read)?;
        while self.is_full() {
            // A pop that was put off drops the same record.
            if self.drop == HeadDrop::Nobody {
                self.drop = HeadDrop::PushOver;
            }
            self.drop_oldest(tier, now).await?;
            self.dropped();
        }
        self.push_on(tier, now, record).await
    }

    /// Takes the answer of a drop of the oldest record, where one was begun.
    async fn end_drop<T: RecordCalls>(&mut self, tier: &mut T, now: Now) -> Result<(), GetError> {
        let is_begun = self.drop != HeadDrop::Nobody && !self.is_empty();
        if is_begun && !tier.has_record(now, &self.key(self.head)).await? {
            self.head = self.after(self.head);
            self.dropped();
        }
        Ok(())
    }

    /// The drop that was begun is done.
    fn dropped(&mut self) {
        self.is_pop_owed |= self.drop == HeadDrop::Pop;
        self.drop = HeadDrop::Nobody;
    }

    /// Reads the oldest record into `out`; returns its part of `out`, or `None` where there is none. The record stays.
    ///
    /// # Errors
    /// [`GetError`]. A record that was [damaged](GetError::Damaged) since the mount stays the oldest until it is popped.
    ///
    /// # Bounds
    /// Those of [`FlashTier::get`], with one more look at the key. If records are missing, it also walks the index once for each gap.
    pub fn peek<'b, M: Medium>(
        &mut self,
        tier: &mut FlashTier<'_, M>,
        now: Now,
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError> {
        at_once(self.peek_on(tier, now, out)).unwrap_or(Err(GetError::Busy))
    }

    async fn peek_on<'b, T: RecordCalls>(
        &mut self,
        tier: &mut T,
        now: Now,
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError> {
        self.end_drop(tier, now).await?;
        while self.head != self.tail {
            let key = self.key(self.head);
            if tier.has_record(now, &key).await? {
                return tier.read_record(now, &key, out).await;
            }
            self.pass(tier, now).await?;
        }
        Ok(None)
    }

    /// Drops the oldest record, damaged or not; tells whether there was one.
    ///
    /// # Errors
    /// [`PutError`]; the record is still the oldest. After [`PutError::Medium`] the next mount may find it gone.
    ///
    /// # Bounds
    /// Those of [`FlashTier::remove`]. If records are missing, it also walks the index once for each gap. A tombstone takes seven bytes of
    /// key and the header.
    pub fn pop<M: Medium>(&mut self, tier: &mut FlashTier<'_, M>, now: Now) -> Result<bool, PutError> {
        at_once(self.pop_on(tier, now)).unwrap_or(Err(PUT_OFF))
    }

    async fn pop_on<T: RecordCalls>(&mut self, tier: &mut T, now: Now) -> Result<bool, PutError> {
        self.end_drop(tier, now).await.map_err(not_read)?;
        if core::mem::take(&mut self.is_pop_owed) {
            return Ok(true);
        }
        self.drop = HeadDrop::Pop;
        let dropped = self.drop_oldest(tier, now).await;
        if !matches!(dropped, Err(PutError::Busy(_))) {
            self.drop = HeadDrop::Nobody;
        }
        dropped
    }

    async fn drop_oldest<T: RecordCalls>(&mut self, tier: &mut T, now: Now) -> Result<bool, PutError> {
        while self.head != self.tail {
            if tier.drop_record(now, &self.key(self.head)).await? {
                self.head = self.after(self.head);
                return Ok(true);
            }
            self.pass(tier, now).await.map_err(not_read)?;
        }
        Ok(false)
    }

    /// Goes on from a place whose record is missing to the next one that has a record.
    async fn pass<T: RecordCalls>(&mut self, tier: &mut T, now: Now) -> Result<(), GetError> {
        let (mut position, mut next) = (0, self.tail);
        while let Some(found) = tier.find_place(now, position, self.id).await? {
            position = found.next;
            let is_nearer = self.distance(self.head, found.place) < self.distance(self.head, next);
            if found.place != self.head && self.has_place(&found) && is_nearer {
                next = found.place;
            }
        }
        self.head = next;
        Ok(())
    }
}

/// The error of a drop whose record was looked for in vain.
const fn not_read(error: GetError) -> PutError {
    match error {
        GetError::NotMounted => PutError::NotMounted,
        GetError::Busy => PUT_OFF,
        GetError::Medium(error) => PutError::Medium(error),
        _ => PutError::Damaged,
    }
}
