//! A put of the value that is stored already is skipped where that promises the same, and written where it does not.

use core::cell::Cell;

use crate::ram::Ram;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, GetError, Medium, MediumError, NorMedium, Now, PutError, Started,
    Wait, buckets_for,
};

const SEGMENTS: usize = 14;
const SECTOR: u32 = 512;

type Memory = FlashMemory<SEGMENTS, { buckets_for(90) }, 96>;
type Tier<'m> = FlashTier<'m, Faulty>;

/// A medium that fails its next write or sync on request, reads one segment as unreadable, and one byte wrong.
struct Faulty {
    flash: NorMedium<Ram<4, { SECTOR as usize }>>,
    fails_write: Cell<bool>,
    fails_sync: Cell<bool>,
    unread_segment: Option<u32>,
    wrong_at: Cell<Option<u32>>,
    programs: u32,
}

impl Faulty {
    fn new() -> Self {
        Self {
            flash: NorMedium::new(Ram::new(SEGMENTS)),
            fails_write: Cell::new(false),
            fails_sync: Cell::new(false),
            unread_segment: None,
            wrong_at: Cell::new(None),
            programs: 0,
        }
    }
}

impl Medium for Faulty {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        if self.unread_segment.map(u64::from) == Some(at / u64::from(SECTOR)) {
            return Err(MediumError::Unreadable);
        }
        self.flash.read(at, bytes)?;
        let wrong =
            self.wrong_at.get().and_then(|wrong| bytes.get_mut(u64::from(wrong).checked_sub(at)? as usize));
        if let Some(byte) = wrong {
            *byte ^= 4;
        }
        Ok(())
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.programs += 1;
        if self.fails_write.take() {
            return Err(MediumError::Io);
        }
        self.flash.write(at, bytes)
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.flash.erase(at, bytes)
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        if self.fails_sync.take() { Err(MediumError::Io) } else { Ok(Started::Done) }
    }
}

shape_of_flash!(Faulty);

fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, wall_s: 1_000 + (ms / 1_000) as u32 }
}

fn mounted(memory: &mut Memory, medium: Faulty) -> Tier<'_> {
    let mut tier = FlashTier::new(FlashConfig::new(SECTOR, 1), memory, medium).unwrap();
    tier.mount(at(0)).unwrap();
    for _ in 0..200 {
        let _ = tier.poll(at(0), 8);
    }
    tier
}

fn taken<T>(tier: &mut Tier<'_>, ms: u64, mut call: impl FnMut(&mut Tier<'_>) -> Result<T, PutError>) -> T {
    for _ in 0..1_000 {
        match call(tier) {
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => drop(tier.poll(at(ms), 8)),
            result => return result.unwrap_or_else(|error| panic!("{error}")),
        }
    }
    panic!("put off a thousand times");
}

/// Puts, and returns whether the put was skipped; each put is counted either as skipped or as a record.
fn is_skipped(tier: &mut Tier<'_>, ms: u64, key: &[u8], value: &[u8], ttl_s: Option<u32>) -> bool {
    let before = tier.stats().counters;
    taken(tier, ms, |tier| match ttl_s {
        Some(ttl_s) => tier.put_with_ttl(at(ms), key, value, ttl_s),
        None => tier.put(at(ms), key, value),
    });
    let after = tier.stats().counters;
    let skipped = after.unchanged_puts - before.unchanged_puts;
    assert_eq!(skipped + after.fresh_records - before.fresh_records, 1);
    let mut out = [0; 96];
    assert_eq!(tier.get(at(ms), key, &mut out), Ok(Some(value)));
    skipped == 1
}

#[test]
fn same_value_is_written_once_and_counted() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Faulty::new());
    for key in [b"key".as_slice(), b"a key that is hashed"] {
        for len in [0, 1, 20, 60] {
            let value = [len as u8; 60];
            assert!(!is_skipped(&mut tier, 1, key, &value[..len], None));
            let programs = tier.medium().programs;
            for _ in 0..5 {
                assert!(is_skipped(&mut tier, 1, key, &value[..len], None));
            }
            assert_eq!(tier.medium().programs, programs);
        }
        // Each byte counts, and so does the length.
        let mut value = [60; 60];
        for place in [0, 31, 59] {
            value[place] ^= 1;
            assert!(!is_skipped(&mut tier, 1, key, &value, None));
        }
        assert!(!is_skipped(&mut tier, 1, key, &value[..59], None));
        // A removed key is not there.
        assert!(taken(&mut tier, 1, |tier| tier.remove(at(1), key)));
        assert!(!is_skipped(&mut tier, 1, key, &value[..59], None));
    }
    let medium = tier.into_medium();
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, medium);
    assert!(is_skipped(&mut tier, 1, b"key", &[&[61], [60; 30].as_slice(), &[61], &[60; 27]].concat(), None));
}

#[test]
fn same_value_is_written_again_where_the_option_is_off() {
    let mut memory = Memory::new();
    let config = FlashConfig { skips_unchanged: false, ..FlashConfig::new(SECTOR, 1) };
    let mut tier = FlashTier::new(config, &mut memory, Faulty::new()).unwrap();
    tier.mount(at(0)).unwrap();
    for _ in 0..3 {
        assert!(!is_skipped(&mut tier, 1, b"key", b"value", None));
    }
}

#[test]
fn value_with_another_expiry_is_written() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Faulty::new());
    assert!(!is_skipped(&mut tier, 1, b"key", b"value", Some(60)));
    assert!(is_skipped(&mut tier, 2, b"key", b"value", Some(60)), "it expires in the same second");
    assert!(!is_skipped(&mut tier, 2, b"key", b"value", Some(61)));
    assert!(!is_skipped(&mut tier, 1_002, b"key", b"value", Some(61)));
    assert!(!is_skipped(&mut tier, 1_002, b"key", b"value", None));
    assert!(is_skipped(&mut tier, 1_002, b"key", b"value", None));
    assert!(!is_skipped(&mut tier, 1_002, b"key", b"value", Some(5)));
    assert_eq!(tier.get(at(9_000), b"key", &mut [0; 8]), Ok(None));
    assert!(!is_skipped(&mut tier, 9_000, b"key", b"value", None));
}

#[test]
fn value_beside_a_write_that_failed_is_written() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Faulty::new());
    assert!(!is_skipped(&mut tier, 1, b"key", b"old", None));
    tier.medium().fails_write.set(true);
    assert_eq!(tier.put(at(1), b"key", b"new"), Err(PutError::Medium(MediumError::Io)));
    // A mount may find the new value, which must not outrank the next put.
    assert!(!is_skipped(&mut tier, 60_000, b"key", b"old", None));
    assert!(is_skipped(&mut tier, 60_000, b"key", b"old", None));
}

#[test]
fn value_under_suspicion_is_written() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Faulty::new());
    assert!(!is_skipped(&mut tier, 1, b"key", b"value", None));
    tier.medium().fails_sync.set(true);
    assert_eq!(tier.sync(at(1)), Err(PutError::Medium(MediumError::Io)));
    // A cut may lose records that the failed sync should have made durable, so the stored record promises nothing.
    assert!(!is_skipped(&mut tier, 60_000, b"key", b"value", None));
    taken(&mut tier, 120_000, |tier| tier.sync(at(120_000)));
    assert!(is_skipped(&mut tier, 120_000, b"key", b"value", None));
}

#[test]
fn value_while_a_segment_is_unread_is_written() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Faulty::new());
    for number in 0..40u32 {
        let _ = is_skipped(&mut tier, 1, &(number % 8).to_le_bytes(), &number.to_le_bytes(), None);
    }
    let mut medium = tier.into_medium();
    let has_header = |segment: &u32| {
        let at = (segment * SECTOR) as usize;
        medium.flash.flash().bytes[at + 16..][..2] == *b"cp"
    };
    medium.unread_segment = (0..SEGMENTS as u32).find(|segment| !has_header(segment));
    let mut memory = Memory::new();
    let mut tier = FlashTier::new(FlashConfig::new(SECTOR, 1), &mut memory, medium).unwrap();
    tier.mount(at(2)).unwrap();
    // The unread segment may hold a newer value of any key.
    let key = 39u32 % 8;
    assert!(!is_skipped(&mut tier, 2, &key.to_le_bytes(), &39u32.to_le_bytes(), None));
}

#[test]
fn damaged_value_is_written() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Faulty::new());
    assert!(!is_skipped(&mut tier, 1, b"key", b"the value of it", None));
    let bytes = &tier.medium().flash.flash().bytes;
    let value_at = bytes.windows(15).position(|bytes| bytes == b"the value of it").unwrap();
    tier.medium().wrong_at.set(Some(value_at as u32 + 3));
    assert_eq!(tier.get(at(1), b"key", &mut [0; 32]), Err(GetError::Damaged));
    let records = tier.stats().counters.fresh_records;
    taken(&mut tier, 1, |tier| tier.put(at(1), b"key", b"the value of it"));
    assert_eq!(tier.stats().counters.fresh_records, records + 1);
}

#[test]
fn value_in_pieces_is_never_taken_for_a_short_one() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Faulty::new());
    for _ in 0..2 {
        taken(&mut tier, 1, |tier| tier.begin(at(1), b"key", None));
        taken(&mut tier, 1, |tier| tier.put_piece(at(1), b"key", b"piece"));
        taken(&mut tier, 1, |tier| tier.commit(at(1), b"key"));
        let mut found = Vec::new();
        let len = tier.get_in_pieces(at(1), b"key", &mut [0; 32], |_, piece| found.extend_from_slice(piece));
        assert_eq!((len, found.as_slice()), (Ok(Some(5)), b"piece".as_slice()));
    }
    assert_eq!(tier.stats().counters.unchanged_puts, 0);
    // The bytes of the head, as a value.
    assert!(!is_skipped(&mut tier, 1, b"key", &[1, 1, 0, 5, 0, 0, 0], None));
}

#[test]
fn skipped_put_leaves_appended_records_to_the_next_sync() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Faulty::new());
    assert!(!is_skipped(&mut tier, 1, b"key", b"value", None));
    assert!(is_skipped(&mut tier, 1, b"key", b"value", None));
    tier.medium().fails_sync.set(true);
    // The record was never synced: the sync after the put that was skipped is one that can fail.
    assert_eq!(tier.sync(at(1)), Err(PutError::Medium(MediumError::Io)));
    assert_eq!(tier.sync(at(1)), Err(PutError::Busy(Wait::Retry)));
}
