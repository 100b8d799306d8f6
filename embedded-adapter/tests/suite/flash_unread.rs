//! Flash that can't be read for a while: nothing is lost, no old value comes back, and it never becomes a blank store.

use core::cell::Cell;

use crate::ram::Ram;
use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::recovery::MountError;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashMountError, FlashTier, Medium, NorMedium, PutError, Started, buckets_for,
};

const SEGMENTS: usize = 16;
const SECTOR: u32 = 512;
const KEYS: u32 = 30;
type Memory = FlashMemory<SEGMENTS, { buckets_for(80) }, 96>;
type Tier<'m, 'f> = FlashTier<'m, Away<'f>>;

/// A medium of which a part can't be read.
struct Away<'f> {
    flash: NorMedium<Ram<4, 512>>,
    /// From, to, in bytes.
    unread: &'f Cell<(u32, u32)>,
}

impl Medium for Away<'_> {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        let (from, to) = self.unread.get();
        if at < u64::from(to) && at + bytes.len() as u64 > u64::from(from) {
            return Err(MediumError::Unreadable);
        }
        self.flash.read(at, bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.flash.write(at, bytes)
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.flash.erase(at, bytes)
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}

shape_of_flash!(Away<'_>);

const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };

fn value(key: u32, round: u32) -> [u8; 24] {
    let [a, b, ..] = (key * 100 + round).to_le_bytes();
    let mut value = [a; 24];
    value[0] = b;
    value
}

fn until_taken<T>(
    tier: &mut Tier<'_, '_>,
    mut call: impl FnMut(&mut Tier<'_, '_>) -> Result<T, PutError>,
) -> T {
    for _ in 0..2_000 {
        match call(tier) {
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => drop(tier.poll(NOW, 8)),
            result => return result.unwrap(),
        }
    }
    panic!("put off for ever: {:?}", tier.stats());
}

fn put(tier: &mut Tier<'_, '_>, key: u32, round: u32) {
    until_taken(tier, |tier| tier.put(NOW, &key.to_le_bytes(), &value(key, round)));
}

fn run(tier: &mut Tier<'_, '_>, task: CompactionTask) -> coldpress_core::compaction::Report {
    while tier.take_report().is_some() {}
    tier.schedule(task).unwrap();
    for _ in 0..2_000 {
        let _ = tier.poll(NOW, 8);
        if let Some(report) = tier.take_report() {
            return report;
        }
    }
    panic!("no report: {:?}", tier.stats());
}

fn built<'m, 'f, const SEGMENTS: usize>(
    memory: &'m mut FlashMemory<SEGMENTS, { buckets_for(80) }, 96>,
    flash: Ram<4, 512>,
    unread: &'f Cell<(u32, u32)>,
) -> Tier<'m, 'f> {
    let medium = Away { flash: NorMedium::new(flash), unread };
    FlashTier::new(FlashConfig::new(SECTOR, 1), memory, medium).unwrap()
}

/// A device whose segments were erased and filled several times.
fn lived() -> Ram<4, 512> {
    let (mut memory, unread) = (Memory::new(), Cell::new((0, 0)));
    let mut tier = built(&mut memory, Ram::new(SEGMENTS), &unread);
    tier.mount(NOW).unwrap();
    for round in 0..20 {
        for key in 0..KEYS {
            put(&mut tier, key, round);
        }
    }
    tier.into_medium().flash.into_flash()
}

fn all_read(tier: &mut Tier<'_, '_>, from: u32, what: &str) {
    for key in from..KEYS {
        let mut out = [0; 96];
        let found = tier.get(NOW, &key.to_le_bytes(), &mut out).unwrap();
        assert_eq!(found, Some(&value(key, 19)[..]), "key {key} {what}");
    }
}

#[test]
fn mount_of_unreadable_flash_fails_and_the_next_finds_all() {
    let (flash, unread) = (lived(), Cell::new((0, u32::MAX)));
    let (mut memory, segments) = (Memory::new(), SEGMENTS as u32);
    let mut tier = built(&mut memory, flash, &unread);
    let refused = FlashMountError::Mount(MountError::Unread { unread: segments, segments });
    assert_eq!(tier.mount(NOW).map(|report| report.is_new), Err(refused));
    let flash = tier.into_medium().flash.into_flash();
    unread.set((0, 0));
    let mut memory = Memory::new();
    let mut tier = built(&mut memory, flash, &unread);
    tier.mount(NOW).unwrap();
    all_read(&mut tier, 0, "after a mount that could read nothing");
}

#[test]
fn sector_unreadable_during_one_mount_loses_nothing() {
    let flash = lived();
    for sector in 0..SEGMENTS as u32 {
        for gives_back in [false, true] {
            let unread = Cell::new((sector * SECTOR, (sector + 1) * SECTOR));
            let mut memory = Memory::new();
            let mut tier = built(&mut memory, flash.clone(), &unread);
            let report = tier.mount(NOW).unwrap();
            assert_eq!(report.quarantined_segments, 1);
            // Key 0 may lie there; key 99 was never put.
            let removes = [0u32, 99];
            for key in removes {
                until_taken(&mut tier, |tier| tier.remove(NOW, &key.to_le_bytes()).map(drop));
            }
            for round in 0..2 {
                for key in 40..44 {
                    put(&mut tier, key, round);
                }
            }
            unread.set((0, 0));
            if gives_back {
                let report = run(&mut tier, CompactionTask::RebuildIndex);
                assert!(report.reread_segments <= 1, "{report:?}");
                all_read(&mut tier, 1, &format!("sector {sector} was given back"));
                assert_eq!(tier.stats().quarantined_segments, 0);
            }
            let flash = tier.into_medium().flash.into_flash();
            let mut memory = Memory::new();
            let mut tier = built(&mut memory, flash, &unread);
            tier.mount(NOW).unwrap();
            all_read(&mut tier, 1, &format!("sector {sector} was unreadable"));
            for key in removes {
                assert_eq!(tier.get(NOW, &key.to_le_bytes(), &mut [0; 96]), Ok(None), "key {key} came back");
            }
        }
    }
}

/// Writes a long value as far as that goes, and commits it if asked.
fn put_long(tier: &mut Tier<'_, '_>, byte: u8, commits: bool) -> Result<(), PutError> {
    until_taken(tier, |tier| match tier.begin(NOW, b"long", None) {
        Err(PutError::Damaged) => Ok(Err(PutError::Damaged)),
        result => result.map(Ok),
    })?;
    for _ in 0..3 {
        until_taken(tier, |tier| tier.put_piece(NOW, b"long", &[byte; 40]));
    }
    if commits {
        until_taken(tier, |tier| tier.commit(NOW, b"long"));
    }
    Ok(())
}

fn long(tier: &mut Tier<'_, '_>) -> Vec<u8> {
    let mut value = Vec::new();
    tier.get_in_pieces(NOW, b"long", &mut [0; 96], |_, piece| value.extend(piece)).unwrap();
    value
}

// Without the rule the new pieces have the names of the pieces of an unread head, which is found again later.
#[test]
fn long_value_begun_while_a_sector_is_unread_spares_the_old() {
    let first = lived();
    let mut refused = 0;
    for byte in [b'a', b'b'] {
        let unread = Cell::new((0, 0));
        let mut memory = Memory::new();
        let mut tier = built(&mut memory, first.clone(), &unread);
        tier.mount(NOW).unwrap();
        for byte in b'a'..=byte {
            for key in 0..8 {
                put(&mut tier, key, 19);
            }
            put_long(&mut tier, byte, true).unwrap();
        }
        let flash = tier.into_medium().flash.into_flash();
        for sector in 0..SEGMENTS as u32 {
            let unread = Cell::new((sector * SECTOR, (sector + 1) * SECTOR));
            let mut memory = Memory::new();
            let mut tier = built(&mut memory, flash.clone(), &unread);
            tier.mount(NOW).unwrap();
            refused += u32::from(put_long(&mut tier, b'x', false).is_err());
            let flash = tier.into_medium().flash.into_flash();
            unread.set((0, 0));
            let mut memory = Memory::new();
            let mut tier = built(&mut memory, flash, &unread);
            tier.mount(NOW).unwrap();
            assert_eq!(long(&mut tier), [byte; 120], "sector {sector} was unreadable");
        }
        // Where the key was removed first, the remove outranks all that is read later.
        for sector in 0..SEGMENTS as u32 {
            let unread = Cell::new((sector * SECTOR, (sector + 1) * SECTOR));
            let mut memory = Memory::new();
            let mut tier = built(&mut memory, flash.clone(), &unread);
            tier.mount(NOW).unwrap();
            until_taken(&mut tier, |tier| tier.remove(NOW, b"long"));
            put_long(&mut tier, b'x', true).unwrap();
            let flash = tier.into_medium().flash.into_flash();
            unread.set((0, 0));
            let mut memory = Memory::new();
            let mut tier = built(&mut memory, flash, &unread);
            tier.mount(NOW).unwrap();
            assert_eq!(long(&mut tier), [b'x'; 120], "sector {sector} was unreadable");
        }
    }
    assert!(refused > 0);
}

/// The second look finds older records of keys that are being put. The flash is full, so puts wait for it.
#[test]
fn second_look_during_puts_leaves_one_entry_a_key() {
    const FEW: usize = 4;
    type Memory = FlashMemory<FEW, { buckets_for(80) }, 96>;
    let readable = Cell::new((0, 0));
    let (mut memory, mut keys) = (Memory::new(), 0);
    let mut tier = built(&mut memory, Ram::new(FEW), &readable);
    tier.mount(NOW).unwrap();
    while tier.stats().charged_bytes + 44 <= tier.stats().charge_bytes_max {
        put(&mut tier, keys, 0);
        keys += 1;
    }
    for round in 0..20 {
        (0..keys).for_each(|key| put(&mut tier, key, round));
    }
    let flash = tier.into_medium().flash.into_flash();
    for sector in 0..FEW as u32 {
        for polls in 0..keys {
            let unread = Cell::new((sector * SECTOR, (sector + 1) * SECTOR));
            let mut memory = Memory::new();
            let mut tier = built(&mut memory, flash.clone(), &unread);
            tier.mount(NOW).unwrap();
            unread.set((0, 0));
            // Each key is once the one that waits.
            for key in 0..keys {
                put(&mut tier, (key + polls) % keys, 20);
            }
            while !tier.poll(NOW, 8).is_idle {}
            for key in 0..keys {
                let mut out = [0; 96];
                let found = tier.get(NOW, &key.to_le_bytes(), &mut out).unwrap();
                assert_eq!(found, Some(&value(key, 20)[..]), "key {key}, sector {sector}, {polls} steps");
            }
            assert_eq!(tier.len(), keys, "sector {sector}, {polls} steps: one live entry a key");
        }
    }
}
