//! A partition that was grown: a tier is mounted with more segments than it was made with, and the power is cut anywhere.

use std::collections::BTreeMap;

use crate::ram::Ram;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashMountError, FlashTier, Medium, MediumError, MountError, NorMedium, Now,
    PutError, Started, buckets_for,
};
use embedded_storage::nor_flash::NorFlash as _;

const SECTOR: u32 = 512;
const OLD: usize = 14;
/// Up to 32 segments a device keeps one free.
const NEW: usize = 30;
/// With more it keeps several.
const MANY: usize = 40;
const KEYS: u32 = 36;
const NOW: Now = Now { monotonic_ms: 0, wall_s: 0 };

type Flash = Ram<4, { SECTOR as usize }>;
type Memory<const SEGMENTS: usize> = FlashMemory<SEGMENTS, { buckets_for(150) }, 96>;
type Model = BTreeMap<u32, Option<u8>>;

/// A flash whose power fails after so many changes, in the middle of the last one.
#[derive(Debug)]
struct Cut {
    flash: NorMedium<Flash>,
    changes_left: u32,
}

impl Cut {
    fn new(flash: Flash) -> Self {
        Self { flash: NorMedium::new(flash), changes_left: u32::MAX }
    }

    /// Whether a change is made: whole, half, or not at all.
    fn next(&mut self) -> Option<bool> {
        let left = self.changes_left;
        self.changes_left = left.saturating_sub(1);
        (left > 0).then_some(left > 1)
    }
}

impl Medium for Cut {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        self.flash.read(at, bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        match self.next() {
            Some(true) => self.flash.write(at, bytes),
            Some(false) => {
                let _ = self.flash.write(at, &bytes[..bytes.len() / 8 * 4])?;
                Err(MediumError::Io)
            }
            None => Err(MediumError::Io),
        }
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        match self.next() {
            Some(true) => self.flash.erase(at, bytes),
            _ => Err(MediumError::Io),
        }
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}

shape_of_flash!(Cut);

/// The bytes that lie where the partition grows to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Blank,
    Data,
    AnotherStore,
    SameStore,
}

/// Fills a store of 14 segments, and gives the flash a longer part.
fn filled<const NEW: usize>(behind: Behind) -> (Flash, Model) {
    let mut memory = Memory::<OLD>::new();
    let mut tier =
        FlashTier::new(FlashConfig::new(SECTOR, 1), &mut memory, Cut::new(Flash::new(OLD))).unwrap();
    tier.mount(NOW).unwrap();
    let mut model = Model::new();
    for number in 0..150u32 {
        change(&mut tier, &mut model, number).unwrap();
    }
    let old = tier.into_medium().flash.into_flash();
    let mut flash = Flash::new(NEW);
    let end = OLD * SECTOR as usize;
    match behind {
        Behind::Blank => {}
        Behind::Data => flash.bytes[end..].fill(0x5A),
        Behind::AnotherStore | Behind::SameStore => {
            let id = if behind == Behind::SameStore { 1 } else { 9 };
            let mut memory = Memory::<NEW>::new();
            let medium = Cut::new(flash);
            let mut tier = FlashTier::new(FlashConfig::new(SECTOR, id), &mut memory, medium).unwrap();
            tier.mount(NOW).unwrap();
            let mut other = Model::new();
            for number in 0..400u32 {
                change(&mut tier, &mut other, number).unwrap();
            }
            flash = tier.into_medium().flash.into_flash();
            if behind == Behind::SameStore {
                // The same store once had these segments, and its firmware erased only those in front of them.
                flash.bytes[end..].fill(0xFF);
            }
        }
    }
    flash.bytes[..end].copy_from_slice(&old.bytes);
    (programmed(&flash.bytes), model)
}

/// A flash that holds these bytes, each unit programmed once.
fn programmed(bytes: &[u8]) -> Flash {
    let mut flash = Flash::new(bytes.len() / SECTOR as usize);
    for (at, unit) in (0u32..).step_by(4).zip(bytes.chunks(4)).filter(|(_, unit)| *unit != [0xFF; 4]) {
        flash.write(at, unit).unwrap();
    }
    flash
}

/// Puts or removes, until it is taken.
fn change<M: Medium>(tier: &mut FlashTier<'_, M>, model: &mut Model, number: u32) -> Result<(), PutError> {
    let key = number * 7 % KEYS;
    let value = (!number.is_multiple_of(5)).then_some(number as u8);
    for _ in 0..10_000 {
        let result = match value {
            Some(value) => tier.put(NOW, &key.to_le_bytes(), &[value; 40]),
            None => tier.remove(NOW, &key.to_le_bytes()).map(drop),
        };
        match result {
            Err(PutError::NeedsCompaction) => {}
            Ok(()) => {
                model.insert(key, value);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    panic!("put off for ever: {:?}", tier.stats());
}

fn check<M: Medium>(tier: &mut FlashTier<'_, M>, model: &Model, or: Option<(u32, Option<u8>)>, when: &str) {
    for key in 0..KEYS {
        let mut out = [0; 40];
        let found = tier.get(NOW, &key.to_le_bytes(), &mut out).unwrap().map(|value| value[0]);
        let is_last = or == Some((key, found));
        assert!(found == model.get(&key).copied().flatten() || is_last, "{when}: key {key} is {found:?}");
    }
}

fn mounted<const SEGMENTS: usize>(
    memory: &mut Memory<SEGMENTS>,
    medium: Cut,
) -> Result<FlashTier<'_, Cut>, (FlashMountError, Cut)> {
    let mut tier = FlashTier::new(FlashConfig::new(SECTOR, 1), memory, medium).unwrap();
    match tier.mount(NOW) {
        Ok(_) => Ok(tier),
        Err(error) => Err((error, tier.into_medium())),
    }
}

#[test]
fn grown_store_keeps_its_values_and_takes_more() {
    grow::<NEW>();
    grow::<MANY>();
}

fn grow<const NEW: usize>() {
    for behind in [Behind::Blank, Behind::Data, Behind::AnotherStore, Behind::SameStore] {
        let (flash, mut model) = filled::<NEW>(behind);
        let mut memory = Memory::<OLD>::new();
        let capacity = mounted(&mut memory, Cut::new(flash.clone())).unwrap().stats().charge_bytes_max;
        let mut memory = Memory::<NEW>::new();
        let mut tier = mounted(&mut memory, Cut::new(flash)).map_err(|(error, _)| error).unwrap();
        check(&mut tier, &model, None, "grown");
        assert!(tier.stats().charge_bytes_max >= 2 * capacity, "it is there at once");
        assert_eq!(tier.stats().quarantined_segments, 0, "{behind:?}");
        let mut taken = 0u32;
        // More than the old number of segments holds.
        while u64::from(taken) * 52 < capacity {
            let key = (1_000 + taken).to_le_bytes();
            match tier.put(NOW, &key, &[7; 40]) {
                Ok(()) => taken += 1,
                Err(PutError::NeedsCompaction) => {}
                Err(error) => panic!("{error} after {taken}"),
            }
        }
        // So many that the old segments are opened again.
        for number in 0..400 {
            change(&mut tier, &mut model, number * 3).unwrap();
        }
        check(&mut tier, &model, None, "after it was grown");
        // The store has the new number from then on, whatever older headers state.
        let medium = tier.into_medium();
        let mut memory = Memory::<OLD>::new();
        let (error, medium) = mounted(&mut memory, medium).err().unwrap();
        let expected = MountError::FewerSegments { stored: NEW as u32, configured: OLD as u32 };
        assert_eq!(error, FlashMountError::Mount(expected));
        let mut memory = Memory::<NEW>::new();
        let mut tier = mounted(&mut memory, medium).map_err(|(error, _)| error).unwrap();
        check(&mut tier, &model, None, "mounted again");
        assert_eq!((tier.stats().quarantined_segments, tier.len() > taken), (0, true));
    }
}

#[test]
fn cut_while_a_store_grows_loses_nothing() {
    cut_growth::<NEW>();
    cut_growth::<MANY>();
}

fn cut_growth<const NEW: usize>() {
    for behind in [Behind::Blank, Behind::Data, Behind::AnotherStore] {
        let (flash, before) = filled::<NEW>(behind);
        for cut in 0..if cfg!(debug_assertions) { 20 } else { 130 } {
            let mut flash = flash.clone();
            let mut model = before.clone();
            // Three cuts in a row, each in the growth that the one before left.
            for round in 0..3 {
                let mut memory = Memory::<NEW>::new();
                let medium = Cut { changes_left: cut + 1, ..Cut::new(flash) };
                let mut tier = mounted(&mut memory, medium).map_err(|(error, _)| error).unwrap();
                check(&mut tier, &model, None, "mounted to be cut");
                let mut last = None;
                for number in 0..200u32 {
                    let number = number + cut * 11 + round;
                    if number.is_multiple_of(3) {
                        let _ = tier.poll(NOW, number % 5);
                    }
                    let held = model.clone();
                    let is_over = change_cut(&mut tier, &mut model, number);
                    if is_over {
                        let key = number * 7 % KEYS;
                        last = Some((key, (!number.is_multiple_of(5)).then_some(number as u8)));
                        model = held;
                        break;
                    }
                }
                flash = tier.into_medium().flash.into_flash();
                let mut memory = Memory::<NEW>::new();
                let mut tier =
                    mounted(&mut memory, Cut::new(flash.clone())).map_err(|(error, _)| error).unwrap();
                let when = format!("{behind:?}, cut at {cut}, round {round}");
                check(&mut tier, &model, last, &when);
                assert_eq!(tier.stats().quarantined_segments, 0, "{when}");
                if let Some((key, _)) = last {
                    let mut out = [0; 40];
                    let found = tier.get(NOW, &key.to_le_bytes(), &mut out).unwrap().map(|value| value[0]);
                    model.insert(key, found);
                }
            }
            let mut memory = Memory::<NEW>::new();
            let mut tier = mounted(&mut memory, Cut::new(flash)).map_err(|(error, _)| error).unwrap();
            for number in 0..120 {
                change(&mut tier, &mut model, number).unwrap();
            }
            check(&mut tier, &model, None, "gone on with");
        }
    }
}

/// As [`change`], until the power is cut; returns whether it was.
fn change_cut(tier: &mut FlashTier<'_, Cut>, model: &mut Model, number: u32) -> bool {
    let result = change(tier, model, number);
    let is_cut = tier.medium().changes_left == 0;
    assert!(result.is_ok() || is_cut, "{result:?}");
    is_cut && result.is_err()
}

#[test]
fn growth_that_changes_the_form_of_records_is_refused() {
    const PAGE: u32 = 4096;
    type Page = NorMedium<Ram<4, { PAGE as usize }>>;
    fn mount<const SEGMENTS: usize>(flash: Page) -> (Result<(), FlashMountError>, Page) {
        let mut memory = FlashMemory::<SEGMENTS, { buckets_for(150) }, 96>::new();
        let mut tier = FlashTier::new(FlashConfig::new(PAGE, 1), &mut memory, flash).unwrap();
        let result = tier.mount(NOW).map(drop);
        if result.is_ok() {
            while tier.put(NOW, b"key", b"value") == Err(PutError::NeedsCompaction) {}
        }
        (result, tier.into_medium())
    }
    let (made, flash) = mount::<32>(NorMedium::new(Ram::new(64)));
    assert_eq!(made, Ok(()));
    let (refused, flash) = mount::<64>(flash);
    let expected = MountError::MoreSegments { stored: 32, configured: 64, most: 41 };
    assert_eq!(refused, Err(FlashMountError::Mount(expected)));
    let (refused, flash) = mount::<42>(flash);
    let expected = MountError::MoreSegments { stored: 32, configured: 42, most: 41 };
    assert_eq!(refused, Err(FlashMountError::Mount(expected)));
    let (grown, _) = mount::<41>(flash);
    assert_eq!(grown, Ok(()));
}
