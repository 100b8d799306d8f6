//! A medium in memory that fails, stalls or panics on request.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::Mutex;

use coldpress_std::medium::{Medium, MediumError, MediumFailure, ServiceMedium, Started};

/// The name of a thread whose reads may be held; so may those of a tier's reader.
pub(crate) const HELD: &str = "held";

/// Whether the reads of this thread may be held.
fn may_be_held() -> bool {
    let thread = std::thread::current();
    thread.name().is_some_and(|name| name == HELD || name.starts_with("coldpress-reader"))
}

/// The bytes and what goes wrong; leaked, so that the views share it without counting.
#[derive(Debug, Default)]
pub(crate) struct Double {
    bytes: Mutex<Vec<u8>>,
    pub(crate) writes_fail: AtomicU32,
    pub(crate) syncs_fail: AtomicU32,
    pub(crate) erases_fail: AtomicU32,
    /// A failed sync loses all writes since the last good one, as a system does that drops the pages.
    pub(crate) failed_sync_loses: AtomicBool,
    /// The writes and erases since the last sync: their places, and the bytes that were there before.
    unsynced: Mutex<Vec<(usize, Vec<u8>)>>,
    /// Where reads fail for a while: from, to, in bytes; and how many more reads succeed first.
    pub(crate) unread: Mutex<(Range<u64>, u32)>,
    pub(crate) is_full: AtomicBool,
    pub(crate) panics_on_write: AtomicBool,
    pub(crate) panics_on_sync: AtomicBool,
    /// Somebody put another file in its place.
    pub(crate) is_lost: AtomicBool,
    pub(crate) sync_ms: AtomicU64,
    pub(crate) write_ms: AtomicU64,
    /// Syncs wait for as long as this is set.
    pub(crate) holds_syncs: AtomicBool,
    pub(crate) syncs: AtomicU32,
    pub(crate) writes: AtomicU32,
    /// Writes wait for as long as this is set.
    pub(crate) holds_writes: AtomicBool,
    /// Reads of threads with the name [`HELD`] wait for as long as this is set; and how many do.
    pub(crate) holds_reads: AtomicBool,
    pub(crate) held_reads: AtomicU32,
    /// Reads of such threads that do not wait, before those that do.
    pub(crate) free_reads: AtomicU32,
    /// Writes that wait.
    pub(crate) held_writes: AtomicU32,
}

impl Double {
    pub(crate) fn new(bytes: u64) -> &'static Self {
        let bytes = Mutex::new(vec![0; usize::try_from(bytes).unwrap()]);
        Box::leak(Box::new(Self { bytes, ..Self::default() }))
    }

    /// A medium that holds the bytes of this one as a cut would leave them now, and does not fail.
    pub(crate) fn cut(&self) -> &'static Self {
        let bytes = Mutex::new(self.bytes.lock().unwrap().clone());
        Box::leak(Box::new(Self { bytes, ..Self::default() }))
    }

    /// The places of the writes since the last sync.
    pub(crate) fn unsynced(&self) -> Vec<Range<usize>> {
        self.unsynced.lock().unwrap().iter().map(|(at, before)| *at..at + before.len()).collect()
    }

    /// Puts on this medium what a cut of `whole` leaves now if it loses some of what was not synced.
    pub(crate) fn cut_from(&self, whole: &Self, mut is_lost: impl FnMut() -> bool) {
        let unsynced = whole.unsynced.lock().unwrap();
        let mut bytes = self.bytes.lock().unwrap();
        bytes.copy_from_slice(&whole.bytes.lock().unwrap());
        for (at, before) in unsynced.iter().rev().filter(|_| is_lost()) {
            bytes[*at..at + before.len()].copy_from_slice(before);
        }
    }

    /// Puts on this medium what a cut of `whole` leaves if it loses only these bytes of a write: they are as in `before`.
    pub(crate) fn tear(&self, whole: &Self, before: &Self, lost: Range<usize>) {
        let mut bytes = self.bytes.lock().unwrap();
        bytes.copy_from_slice(&whole.bytes.lock().unwrap());
        bytes[lost.clone()].copy_from_slice(&before.bytes.lock().unwrap()[lost]);
    }

    /// Changes the last byte of these bytes wherever they lie; returns whether they lie anywhere.
    pub(crate) fn damage(&self, found: &[u8]) -> bool {
        let mut bytes = self.bytes.lock().unwrap();
        let places: Vec<_> =
            bytes.windows(found.len()).enumerate().filter(|(_, w)| *w == found).map(|(at, _)| at).collect();
        places.iter().for_each(|at| bytes[at + found.len() - 1] ^= 1);
        !places.is_empty()
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut [u8]), len: usize) {
        let mut unsynced = self.unsynced.lock().unwrap();
        let mut bytes = self.bytes.lock().unwrap();
        let place = &mut bytes[at..at + len];
        unsynced.push((at, place.to_vec()));
        change(place);
    }

    fn wait_while_held(&self) {
        self.held_writes.fetch_add(1, SeqCst);
        while self.holds_writes.load(SeqCst) {
            std::thread::sleep(core::time::Duration::from_millis(1));
        }
        self.held_writes.fetch_sub(1, SeqCst);
    }
}

/// Counts down to zero; tells whether it was above.
fn strikes(count: &AtomicU32) -> bool {
    count.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok()
}

impl Medium for &'static Double {
    type Error = MediumFailure;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_shared(offset, buffer)
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<Started, MediumFailure> {
        assert!(!self.panics_on_write.load(SeqCst), "the medium was told to panic");
        if self.is_full.load(SeqCst) {
            return Err(MediumError::NoSpace.into());
        }
        self.writes.fetch_add(1, SeqCst);
        std::thread::sleep(core::time::Duration::from_millis(self.write_ms.load(SeqCst)));
        self.wait_while_held();
        assert!(!self.panics_on_write.load(SeqCst), "the medium was told to panic while it was held");
        let at = usize::try_from(offset).unwrap();
        let fails = strikes(&self.writes_fail);
        // A failed write leaves a part of its bytes.
        let from = if fails { &from[..from.len() / 2] } else { from };
        self.change(at, |bytes| bytes.copy_from_slice(from), from.len());
        if fails { Err(MediumError::Io.into()) } else { Ok(Started::Done) }
    }

    fn erase(&mut self, offset: u64, bytes: u64) -> Result<Started, MediumFailure> {
        if strikes(&self.erases_fail) {
            return Err(MediumError::Io.into());
        }
        let at = usize::try_from(offset).unwrap();
        self.change(at, |bytes| bytes.fill(0), usize::try_from(bytes).unwrap());
        Ok(Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        assert!(!self.panics_on_sync.load(SeqCst), "the medium was told to panic");
        self.syncs.fetch_add(1, SeqCst);
        std::thread::sleep(core::time::Duration::from_millis(self.sync_ms.load(SeqCst)));
        while self.holds_syncs.load(SeqCst) {
            std::thread::sleep(core::time::Duration::from_millis(1));
        }
        let unsynced = core::mem::take(&mut *self.unsynced.lock().unwrap());
        if !strikes(&self.syncs_fail) {
            return Ok(Started::Done);
        }
        if self.failed_sync_loses.load(SeqCst) {
            let mut bytes = self.bytes.lock().unwrap();
            unsynced.iter().for_each(|(at, before)| bytes[*at..at + before.len()].fill(0));
        }
        Err(MediumError::Io.into())
    }
}

impl ServiceMedium for &'static Double {
    fn read_shared(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        let is_held = self.holds_reads.load(SeqCst) && may_be_held();
        if is_held && !strikes(&self.free_reads) {
            self.held_reads.fetch_add(1, SeqCst);
            while self.holds_reads.load(SeqCst) {
                std::thread::sleep(core::time::Duration::from_millis(1));
            }
            self.held_reads.fetch_sub(1, SeqCst);
        }
        let (range, left) = &mut *self.unread.lock().unwrap();
        if range.contains(&offset) {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                // The error of a file whose device is gone for a moment.
                None => return Err(MediumError::Unreadable.into()),
            }
        }
        let at = usize::try_from(offset).unwrap();
        let bytes = self.bytes.lock().unwrap();
        buffer.copy_from_slice(bytes.get(at..at + buffer.len()).ok_or(MediumError::Unreadable)?);
        Ok(())
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        Ok(Box::new(*self))
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn is_in_place(&self) -> Result<bool, MediumFailure> {
        Ok(!self.is_lost.load(SeqCst))
    }
}
