//! A medium that fails for a moment, and the key that was being written.

use core::cell::Cell;

use crate::ram::Ram;
use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::{MediumError, Now};
use coldpress_embedded::flash::{
    DeviceMedium, FlashConfig, FlashMemory, FlashTier, GetError, Medium, NorMedium, PutError, Started,
    buckets_for,
};

/// The failures that the test sets.
#[derive(Default)]
struct Faults {
    /// Makes the next write fail, with its bytes written or not.
    write: Cell<Option<bool>>,
    /// Every read fails.
    reads: Cell<bool>,
    /// A place, and how many bytes from there can't be read; reads longer than those of a single record succeed.
    unreadable: Cell<(u32, u32)>,
    /// The next read of a byte has a bit wrong.
    flip: Cell<Option<(u32, u8)>>,
    /// Where the last write went.
    written: Cell<u32>,
}

struct Failing<'f> {
    flash: NorMedium<Ram<4, 4096>>,
    faults: &'f Faults,
}

impl<'f> Failing<'f> {
    fn new(faults: &'f Faults) -> Self {
        Self { flash: NorMedium::new(Ram::new(16)), faults }
    }
}

impl Medium for Failing<'_> {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        let (from, len) = self.faults.unreadable.get();
        if self.faults.reads.get() {
            return Err(MediumError::Io);
        }
        if bytes.len() <= 32 && at < u64::from(from + len) && at + bytes.len() as u64 > u64::from(from) {
            return Err(MediumError::Unreadable);
        }
        self.flash.read(at, bytes)?;
        let is_here = |(place, _): &(u32, u8)| (at..at + bytes.len() as u64).contains(&u64::from(*place));
        if let Some((place, bit)) = self.faults.flip.get().filter(is_here) {
            bytes[(u64::from(place) - at) as usize] ^= 1 << bit;
            self.faults.flip.set(None);
        }
        Ok(())
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.faults.written.set(u32::try_from(at).unwrap());
        match self.faults.write.take() {
            None => self.flash.write(at, bytes),
            Some(lands) => {
                if lands {
                    let _ = self.flash.write(at, bytes)?;
                }
                Err(MediumError::Io)
            }
        }
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.flash.erase(at, bytes)
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}

impl DeviceMedium for Failing<'_> {
    fn write_unit_bytes(&self) -> u32 {
        4
    }
    fn erase_unit_bytes(&self) -> u32 {
        4096
    }
    fn medium_bytes(&self) -> u64 {
        self.flash.medium_bytes()
    }
}

type Memory = FlashMemory<16, { buckets_for(400) }, 128>;
type Tier<'m, 'f> = FlashTier<'m, Failing<'f>>;

fn mounted<'m, 'f>(memory: &'m mut Memory, medium: Failing<'f>, now: Now) -> Tier<'m, 'f> {
    let mut tier = FlashTier::new(FlashConfig::new(4096, 1), memory, medium).unwrap();
    tier.mount(now).unwrap();
    tier
}

fn idle(tier: &mut Tier<'_, '_>, now: &mut Now) {
    for _ in 0..5_000 {
        now.monotonic_ms += 1;
        if tier.poll(*now, 64).is_idle {
            return;
        }
    }
    panic!("never idle");
}

// A failed put may have been written. A remove of the key must then keep it away from the next mount.
#[test]
fn key_removed_after_a_failed_but_written_put_stays_away() {
    let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
    let mut tier = mounted(&mut memory, Failing::new(&faults), now);
    idle(&mut tier, &mut now);
    tier.put(now, b"oth", &[9; 64]).unwrap();
    faults.write.set(Some(true));
    assert_eq!(tier.put(now, b"key", b"value"), Err(PutError::Medium(MediumError::Io)));
    now.monotonic_ms += 100_000;
    idle(&mut tier, &mut now);
    assert_eq!(tier.remove(now, b"key"), Ok(false));
    idle(&mut tier, &mut now);
    let medium = tier.into_medium();
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, medium, now);
    assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(None));
}

// The entry of a put that failed names a place. Once that place is erased and written again, its record is another one.
#[test]
fn key_written_to_the_place_of_its_own_failed_put_is_found() {
    let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
    let mut tier = mounted(&mut memory, Failing::new(&faults), now);
    idle(&mut tier, &mut now);
    for _ in 0..17 {
        tier.put(now, b"oth", &[9; 64]).unwrap();
    }
    faults.write.set(Some(false));
    assert_eq!(tier.put(now, b"key", &[1; 64]), Err(PutError::Medium(MediumError::Io)));
    now.monotonic_ms += 100_000;
    idle(&mut tier, &mut now);
    for n in 0..100_000_u32 {
        let mut value = [0; 64];
        value[..4].copy_from_slice(&n.to_le_bytes());
        let value = &value[..4 + (n.wrapping_mul(2_654_435_761) >> 20) as usize % 60];
        tier.put(now, b"key", value).unwrap();
        idle(&mut tier, &mut now);
        assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(Some(value)), "put {n}");
    }
}

// While the newest record can't be read, no other is written beside it: it would stay live, and come back.
#[test]
fn write_whose_key_can_not_be_read_for_a_moment_is_refused() {
    let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
    let mut tier = mounted(&mut memory, Failing::new(&faults), now);
    idle(&mut tier, &mut now);
    tier.put(now, b"key", b"old").unwrap();
    faults.reads.set(true);
    assert_eq!(tier.put(now, b"key", b"new"), Err(PutError::Medium(MediumError::Io)));
    assert_eq!(tier.remove(now, b"key"), Err(PutError::Medium(MediumError::Io)));
    faults.reads.set(false);
    assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(Some(b"old".as_slice())));
    tier.put(now, b"key", b"new").unwrap();
    assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(Some(b"new".as_slice())));
}

/// Writes a value beside an older one that can't be read for a moment; returns where it lies.
fn written_beside(tier: &mut Tier<'_, '_>, faults: &Faults, now: &mut Now, fails: Option<bool>) -> u32 {
    idle(tier, now);
    tier.put(*now, b"key", &[1; 40]).unwrap();
    let older = faults.written.get();
    // The two records come to lie in two segments.
    for _ in 0..60 {
        put(tier, now, b"oth", &[9; 64]);
    }
    faults.unreadable.set((older, 40));
    faults.write.set(fails);
    let result = tier.put(*now, b"key", &[2; 40]);
    assert_eq!(result.is_err(), fails.is_some());
    faults.unreadable.set((0, 0));
    now.monotonic_ms += 100_000;
    faults.written.get()
}

// A key has an older record beside its newest one, which can't be read for a moment. The older one is never returned, and
// compaction does not drop the newest one for it.
#[test]
fn newest_record_unreadable_for_a_moment_beats_an_older_one() {
    for first in [0, 4] {
        let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
        let mut tier = mounted(&mut memory, Failing::new(&faults), now);
        let newest = written_beside(&mut tier, &faults, &mut now, None);
        faults.unreadable.set((newest + first, 40));
        let mut out = [0; 128];
        let found = tier.get(now, b"key", &mut out);
        assert!(matches!(found, Err(GetError::Damaged | GetError::Medium(_))), "{found:?}");
        for n in 0..60 {
            put(&mut tier, &mut now, &[n % 8], &[9; 64]);
        }
        tier.schedule(CompactionTask::CompactData).unwrap();
        idle(&mut tier, &mut now);
        faults.unreadable.set((0, 0));
        assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(Some([2; 40].as_slice())));
    }
}

// A failed put beside a record that could not be read for a moment counts for nothing, whatever it left.
#[test]
fn failed_put_beside_a_record_in_doubt_hides_nothing() {
    for lands in [false, true] {
        let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
        let mut tier = mounted(&mut memory, Failing::new(&faults), now);
        let failed = written_beside(&mut tier, &faults, &mut now, Some(lands));
        faults.unreadable.set((failed, 40));
        assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(Some([1; 40].as_slice())));
        faults.unreadable.set((0, 0));
        assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(Some([1; 40].as_slice())));
        assert_eq!(tier.contains(now, b"key"), Ok(true));
        put(&mut tier, &mut now, b"key", &[3; 40]);
        assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(Some([3; 40].as_slice())));
        assert_eq!(tier.len(), 2, "one live entry a key");
    }
}

/// Puts as the firmware does: where the index is full of removed keys it compacts, else it polls.
fn put(tier: &mut Tier<'_, '_>, now: &mut Now, key: &[u8], value: &[u8]) {
    for _ in 0..20 {
        match tier.put(*now, key, value) {
            Ok(()) => return,
            Err(PutError::KeysFull) => drop(tier.schedule(CompactionTask::CompactData).unwrap()),
            Err(PutError::Busy(_) | PutError::NeedsCompaction) => {}
            Err(error) => panic!("{error}"),
        }
        idle(tier, now);
    }
    panic!("never taken\n{:?}", tier.stats());
}

// The places of the index that failed puts take come back, as does the space of their records.
#[test]
fn failed_puts_after_erase_of_their_segments_leave_nothing() {
    for lands in [false, true] {
        let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
        let mut tier = mounted(&mut memory, Failing::new(&faults), now);
        idle(&mut tier, &mut now);
        let mut failed = 0;
        for n in 0..2_000_u32 {
            let name = [b"fails ".as_slice(), &n.to_le_bytes()[..2 + n as usize % 2]].concat();
            // Some fail twice in a row; some are written after all. All are removed in the end.
            for _ in 0..1 + u32::from(n % 3 == 0) {
                faults.write.set(Some(lands));
                // Else the failed write was that of a segment to be opened first.
                failed += u32::from(matches!(tier.put(now, &name, &[1; 40]), Err(PutError::Medium(_))));
                now.monotonic_ms += 100_000;
            }
            faults.write.set(None);
            idle(&mut tier, &mut now);
            if n % 5 == 0 {
                put(&mut tier, &mut now, &name, &[3; 40]);
            }
            tier.remove(now, &name).unwrap();
            assert_eq!(tier.get(now, &name, &mut [0; 128]), Ok(None));
            for m in 0..8_u8 {
                put(&mut tier, &mut now, &[m % 4], &[m; 64]);
            }
            // As many puts as are remembered have failed since.
            tier.schedule(CompactionTask::CompactData).unwrap();
            idle(&mut tier, &mut now);
        }
        assert!(failed > 900, "{failed} puts failed");
        for _ in 0..4 {
            tier.schedule(CompactionTask::CompactData).unwrap();
            idle(&mut tier, &mut now);
            put(&mut tier, &mut now, b"more", &[5; 64]);
        }
        let stats = tier.stats();
        assert!(stats.entries <= 40, "{stats:?}");
        let medium = tier.into_medium();
        let mut memory = Memory::new();
        let tier = mounted(&mut memory, medium, now);
        assert_eq!(tier.len(), 5);
    }
}

/// Writes a value in two pieces; returns the result of the commit.
fn write_long(
    tier: &mut Tier<'_, '_>,
    faults: &Faults,
    now: Now,
    value: &[u8; 180],
    fails: Option<bool>,
) -> Result<(), PutError> {
    tier.begin(now, b"long", None)?;
    for piece in value.chunks(90) {
        tier.put_piece(now, b"long", piece)?;
    }
    faults.write.set(fails);
    tier.commit(now, b"long")
}

fn read_long(tier: &mut Tier<'_, '_>, now: Now) -> Vec<u8> {
    let mut whole = Vec::new();
    let len = tier.get_in_pieces(now, b"long", &mut [0; 128], |_, piece| whole.extend_from_slice(piece));
    assert_eq!(len, Ok(Some(180)), "{whole:?}");
    whole
}

// A mount finds the head of the failed commit with all pieces that it names, and none of a later attempt.
#[test]
fn long_value_after_a_failed_commit_is_whole() {
    for (is_long_before, begins, sweeps) in [
        (true, 1, false),
        (true, 2, false),
        (true, 0, true),
        (true, 1, true),
        (false, 1, true),
        (false, 2, false),
    ] {
        let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
        let mut tier = mounted(&mut memory, Failing::new(&faults), now);
        idle(&mut tier, &mut now);
        if is_long_before {
            write_long(&mut tier, &faults, now, &[1; 180], None).unwrap();
        } else {
            tier.put(now, b"long", &[1; 90]).unwrap();
        }
        let failed = Err(PutError::Medium(MediumError::Io));
        assert_eq!(write_long(&mut tier, &faults, now, &[2; 180], Some(true)), failed);
        now.monotonic_ms += 100_000;
        idle(&mut tier, &mut now);
        if begins == 2 {
            assert_eq!(write_long(&mut tier, &faults, now, &[3; 180], Some(false)), failed);
            now.monotonic_ms += 100_000;
            idle(&mut tier, &mut now);
        }
        if begins > 0 {
            tier.begin(now, b"long", None).unwrap();
            tier.put_piece(now, b"long", &[4; 90]).unwrap();
        }
        tier.begin(now, b"other", None).unwrap();
        while sweeps && tier.sweep(now).unwrap() {}
        let medium = tier.into_medium();
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory, medium, now);
        assert_eq!(read_long(&mut tier, now), [2; 180], "{is_long_before} {begins} {sweeps}");
        // Nothing is in doubt any more, so pieces that belong to no value go.
        while tier.sweep(now).unwrap() {}
        assert_eq!(read_long(&mut tier, now), [2; 180]);
    }
}

// A head that is read with a bit wrong for once still keeps its pieces.
#[test]
fn wrong_bit_in_a_read_of_a_head_removes_no_piece() {
    for at in 0..24 * 8 {
        for begins in [false, true] {
            let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
            let mut tier = mounted(&mut memory, Failing::new(&faults), now);
            idle(&mut tier, &mut now);
            write_long(&mut tier, &faults, now, &[1; 180], None).unwrap();
            faults.flip.set(Some((faults.written.get() + at / 8, at.to_le_bytes()[0] % 8)));
            if begins {
                // Where it is taken for damaged nothing is begun.
                if tier.begin(now, b"long", None).is_ok() {
                    tier.put_piece(now, b"long", &[2; 90]).unwrap();
                }
            } else {
                while tier.sweep(now).unwrap() {}
            }
            faults.flip.set(None);
            assert_eq!(read_long(&mut tier, now), [1; 180], "bit {at}, {begins}");
        }
    }
}

// A record that is read with a bit wrong for once reads as right or damaged, never as absent or as another value.
#[test]
fn wrong_bit_in_a_read_takes_no_value_away() {
    let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
    let mut tier = mounted(&mut memory, Failing::new(&faults), now);
    idle(&mut tier, &mut now);
    for key in [b"short".as_slice(), &[7; 60]] {
        tier.put(now, key, &[1; 40]).unwrap();
        let at = faults.written.get();
        for bit in 0..108 * 8 {
            faults.flip.set(Some((at + bit / 8, bit.to_le_bytes()[0] % 8)));
            let mut out = [0; 128];
            match tier.get(now, key, &mut out) {
                Ok(found) => assert_eq!(found, Some([1; 40].as_slice()), "bit {bit}"),
                Err(error) => assert_eq!(error, GetError::Damaged, "bit {bit}"),
            }
        }
        faults.flip.set(None);
    }
}

// A failed commit that was repeated leaves nothing in doubt.
#[test]
fn commit_done_again_lets_pieces_be_swept() {
    let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
    let mut tier = mounted(&mut memory, Failing::new(&faults), now);
    idle(&mut tier, &mut now);
    write_long(&mut tier, &faults, now, &[1; 180], None).unwrap();
    let failed = write_long(&mut tier, &faults, now, &[2; 180], Some(true));
    assert_eq!(failed, Err(PutError::Medium(MediumError::Io)));
    now.monotonic_ms += 100_000;
    idle(&mut tier, &mut now);
    tier.commit(now, b"long").unwrap();
    assert!(tier.sweep(now).unwrap(), "the pieces of the value before are left over");
    while tier.sweep(now).unwrap() {}
    assert_eq!(read_long(&mut tier, now), [2; 180]);
    tier.remove(now, b"long").unwrap();
    assert!(tier.sweep(now).unwrap());
}
