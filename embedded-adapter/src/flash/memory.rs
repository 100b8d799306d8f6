//! The memory of a flash tier: one value, sized when the firmware is built.

use core::fmt;

use coldpress_core::compaction::TaskMemory;
use coldpress_core::format::{Geometry, HEADER_BYTES, Identity, SEGMENTS_MIN, Sequence, Store};
use coldpress_core::segments::Segment;
use coldpress_core::writer::{Memory, Pending, SlotNotes};

use super::config::of_device;
use super::known::KnownKey;
use super::table::{STASH, WAYS};

/// Open segments: the one that is filled. Without footers it is sealed once its last record is written, so no other is needed
/// meanwhile.
const SLOTS: usize = 1;
/// The fewest keys of a batch, by default: an open segment has notes of two records in any case.
const BATCH_MIN: usize = 2;

/// Returns how many buckets the index of [`FlashMemory`] takes for `keys` keys.
///
/// Four entries of four bytes a bucket, nine of ten filled: 4.45 bytes a key.
///
/// ```
/// use coldpress_embedded::flash::buckets_for;
/// const BUCKETS: usize = buckets_for(2_400);
/// assert_eq!(BUCKETS * 16 * 100 / 2_400, 444);
/// ```
#[must_use]
pub const fn buckets_for(keys: usize) -> usize {
    let entries = (keys * 10).div_ceil(9);
    let buckets = entries.div_ceil(WAYS);
    if buckets < 2 { 2 } else { buckets }
}

/// All the memory of a flash tier but for the tier itself: segment table, open segment, read buffers, index, tasks, keys of a batch.
///
/// `SEGMENTS` is the number of segments of the medium, two or more. `BUCKETS` is the size of the index: [`buckets_for`] a number of keys.
/// `RECORD` is the longest record in bytes: header of up to 20 bytes, key, value, padding. It is at least 52, with write units of 8 bytes
/// at least 56, with units of 16 or 32 at least 64. `TASKS` is 0 for firmware that [schedules](super::FlashTier::schedule) no task: the
/// tier then takes none, and needs less RAM. `BATCH` is how many keys [`commit_batch`](super::FlashTier::commit_batch) takes at
/// most: two if it is left out, and each further one takes 112 bytes on a 32-bit part.
///
/// It is lent from a `static`, where it takes no space in the image. Lengths that can't work do not compile.
///
/// ```
/// use coldpress_embedded::TryCell;
/// use coldpress_embedded::flash::{FlashMemory, buckets_for};
///
/// type Memory = FlashMemory<64, { buckets_for(2_400) }, 128>;
/// static MEMORY: TryCell<Memory> = TryCell::new(Memory::new());
///
/// const _: () = assert!(Memory::INDEX_BYTES < 6 * 2_400 && Memory::RAM_BYTES < 20_000);
/// let memory: &'static mut Memory = MEMORY.take()?;
/// # Ok::<(), coldpress_embedded::Contended>(())
/// ```
pub struct FlashMemory<
    const SEGMENTS: usize,
    const BUCKETS: usize,
    const RECORD: usize,
    const TASKS: usize = 1,
    const BATCH: usize = 2,
> {
    segments: [Segment; SEGMENTS],
    slots: [SlotNotes; SLOTS],
    records: [[u8; RECORD]; SLOTS],
    placed: [[Pending; BATCH]; SLOTS],
    copy: [u8; RECORD],
    scan: [u8; RECORD],
    pub(super) buckets: [[u32; WAYS]; BUCKETS],
    pub(super) sequences: [Sequence; SEGMENTS],
    tasks: [TaskMemory; TASKS],
    known: [KnownKey; BATCH],
}

// The buffers hold headers, in which the secret of the store is, and values of clients.
impl<const SEGMENTS: usize, const BUCKETS: usize, const RECORD: usize, const TASKS: usize, const BATCH: usize>
    fmt::Debug for FlashMemory<SEGMENTS, BUCKETS, RECORD, TASKS, BATCH>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlashMemory").finish_non_exhaustive()
    }
}

/// The memory of a tier, borrowed in parts.
pub(super) struct Lent<'m> {
    pub(super) memory: Memory<'m>,
    pub(super) buckets: &'m mut [[u32; WAYS]],
    pub(super) sequences: &'m mut [Sequence],
    pub(super) known: &'m mut [KnownKey],
    pub(super) tasks: Option<&'m mut TaskMemory>,
    pub(super) record_bytes_max: u32,
}

impl<const SEGMENTS: usize, const BUCKETS: usize, const RECORD: usize, const TASKS: usize, const BATCH: usize>
    FlashMemory<SEGMENTS, BUCKETS, RECORD, TASKS, BATCH>
{
    const CHECKED: () = {
        assert!(
            SEGMENTS >= SEGMENTS_MIN as usize && SEGMENTS <= 1 << 24,
            "FlashMemory<SEGMENTS, ..>: SEGMENTS is at least 2, one to fill and one to relocate to"
        );
        assert!(
            BUCKETS >= 2 && BUCKETS <= 1 << 28,
            "FlashMemory<.., BUCKETS, ..>: BUCKETS is at least 2, as `buckets_for` returns it"
        );
        assert!(
            RECORD >= HEADER_BYTES as usize,
            "FlashMemory<.., RECORD>: RECORD is at least 52 bytes, since headers of segments are read into it"
        );
        assert!(RECORD <= 1 << 28, "FlashMemory<.., RECORD>: a record is shorter than a segment");
        assert!(TASKS <= 1, "FlashMemory<.., TASKS>: TASKS is 1 for a tier that takes tasks, else 0");
        assert!(
            BATCH >= BATCH_MIN,
            "FlashMemory<.., BATCH>: BATCH is at least 2, since an open segment has notes of two records"
        );
    };

    /// Bytes of RAM that the value takes.
    pub const RAM_BYTES: usize = size_of::<Self>();
    /// Bytes of these that hold the index.
    pub const INDEX_BYTES: usize = BUCKETS * WAYS * 4;
    /// Bytes of these that hold the segment table, and the sequences that the index knows of it.
    pub const TABLE_BYTES: usize = SEGMENTS * (size_of::<Segment>() + 4);
    /// Bytes of these that are for tasks.
    pub const TASK_BYTES: usize = TASKS * TaskMemory::RAM_BYTES;
    /// Keys with a value that fit at any time, however many were removed before: nine of ten entries. A piece of a long value
    /// counts as a key. The tenth entry is for keys that were removed and are still on the medium.
    pub const KEYS_MAX: usize = BUCKETS * WAYS * 9 / 10;
    /// Entries that the index takes: [`KEYS_MAX`](Self::KEYS_MAX), and for removed keys half of the others. The other half
    /// stays free, so that space for an entry is found nearby.
    pub(super) const PLACES_MAX: usize = Self::KEYS_MAX + (BUCKETS * WAYS - Self::KEYS_MAX + STASH) / 2;

    /// Bytes of keys and values that a flash of `SEGMENTS` segments is sure to hold, if all keys and all values have these lengths;
    /// usable in a `const`. The index must have an entry for each key, too.
    ///
    /// 0 where such a record is longer than `RECORD`, or where no flash has segments of this length in units of this length.
    ///
    /// ```
    /// use coldpress_embedded::flash::{FlashMemory, buckets_for};
    ///
    /// // 2 × 4 KiB in words of four bytes: 48 keys of 4 bytes with values of 64.
    /// type Memory = FlashMemory<2, { buckets_for(48) }, 80>;
    /// const _: () = assert!(Memory::usable_bytes(4096, 4, 4, 64) == 48 * 68, "the settings fit");
    /// ```
    ///
    /// Fewer than two segments do not compile:
    ///
    /// ```compile_fail
    /// let memory = coldpress_embedded::flash::FlashMemory::<1, 2, 80>::new();
    /// ```
    ///
    /// Nor does a record shorter than the header of a segment:
    ///
    /// ```compile_fail
    /// let memory = coldpress_embedded::flash::FlashMemory::<2, 2, 51>::new();
    /// ```
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "CHECKED bounds both")]
    pub const fn usable_bytes(segment_bytes: u32, write_unit: u32, key_bytes: u32, value_bytes: u32) -> u64 {
        const { Self::CHECKED }
        let geometry = Geometry::new(segment_bytes, SEGMENTS as u32, write_unit, 0xFF, Identity::KeyBytes);
        let Ok(geometry) = geometry else { return 0 };
        let store = Store { id: 0, hash_key: [0; 16], partition: 0, partitions: 1 };
        of_device(geometry, store, RECORD as u32).usable_bytes(key_bytes, value_bytes, false)
    }

    const fn unused() -> Self {
        const { Self::CHECKED }
        Self {
            segments: [const { Segment::new() }; SEGMENTS],
            slots: [const { SlotNotes::new() }; SLOTS],
            records: [[0; RECORD]; SLOTS],
            placed: [const { [const { Pending::new() }; BATCH] }; SLOTS],
            copy: [0; RECORD],
            scan: [0; RECORD],
            buckets: [[0; WAYS]; BUCKETS],
            sequences: [Sequence::NONE; SEGMENTS],
            tasks: [const { TaskMemory::new() }; TASKS],
            known: [const { KnownKey::Empty }; BATCH],
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "CHECKED bounds it")]
    pub(super) fn lend(&mut self) -> Lent<'_> {
        let memory = Memory {
            segments: &mut self.segments,
            slots: &mut self.slots,
            records: self.records.as_flattened_mut(),
            footers: &mut [],
            placed: self.placed.as_flattened_mut(),
            copy: &mut self.copy,
            scan: &mut self.scan,
            recode: &mut [],
        };
        Lent {
            memory,
            buckets: &mut self.buckets,
            sequences: &mut self.sequences,
            tasks: self.tasks.first_mut(),
            known: &mut self.known,
            record_bytes_max: RECORD as u32,
        }
    }
}

impl<const SEGMENTS: usize, const BUCKETS: usize, const RECORD: usize, const BATCH: usize>
    FlashMemory<SEGMENTS, BUCKETS, RECORD, 1, BATCH>
{
    /// Memory that no tier uses yet; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self::unused()
    }
}

impl<const SEGMENTS: usize, const BUCKETS: usize, const RECORD: usize, const BATCH: usize>
    FlashMemory<SEGMENTS, BUCKETS, RECORD, 0, BATCH>
{
    /// Memory of a tier that takes no tasks, used by none yet; usable in a `static`.
    ///
    /// ```
    /// use coldpress_embedded::TryCell;
    /// use coldpress_embedded::flash::{FlashMemory, buckets_for};
    ///
    /// type Memory = FlashMemory<16, { buckets_for(100) }, 128, 0>;
    /// static MEMORY: TryCell<Memory> = TryCell::new(Memory::without_tasks());
    ///
    /// const _: () = assert!(Memory::TASK_BYTES == 0);
    /// ```
    #[must_use]
    pub const fn without_tasks() -> Self {
        Self::unused()
    }
}

impl<const SEGMENTS: usize, const BUCKETS: usize, const RECORD: usize, const BATCH: usize> Default
    for FlashMemory<SEGMENTS, BUCKETS, RECORD, 1, BATCH>
{
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "defmt")]
impl<const SEGMENTS: usize, const BUCKETS: usize, const RECORD: usize, const TASKS: usize, const BATCH: usize>
    defmt::Format for FlashMemory<SEGMENTS, BUCKETS, RECORD, TASKS, BATCH>
{
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "FlashMemory({=usize} bytes)", Self::RAM_BYTES);
    }
}
