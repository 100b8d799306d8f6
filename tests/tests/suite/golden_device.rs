//! The golden images of a device: made, mounted and checked.

use coldpress_core::codec::CodecId;
use coldpress_core::format::{Geometry, Header, Identity, Store};
use coldpress_embedded::flash::{
    Batch, CompactionTask, Cursor, FlashConfig, FlashMemory, GetError, Now, PutError, Schema, TypedGetError,
    TypedPutError, buckets_for,
};
use coldpress_std::image::{BuildError, Image, build_for};
use coldpress_tests::driver::{AnyNorTier, Driver};
use coldpress_tests::flash::Flash;
use serde::{Deserialize, Serialize};

use crate::golden_census::{Census, LONG, RECORDS, SEGMENTS};
use crate::golden_stored::{Contents, check_images, state_ends, text};

/// When the first record is put, in seconds.
pub(crate) const START_S: u32 = 1_700_000_000;
/// The longest record, in bytes.
const RECORD: usize = 400;
/// The longest piece of a value, in bytes.
const PIECE: usize = 200;
/// Segments of a device's flash.
pub(crate) const SEGMENTS_OF_DEVICE: usize = 20;
/// Calls that may be put off before compaction counts as stuck.
const CALLS_MAX: u32 = 10_000;
/// Rounds of overwriting in a life.
const ROUNDS: u32 = 8;
/// Lives after which every kind is there.
const LIVES_MAX: u32 = 100;

/// The image of a device with a secret.
pub(crate) const WITH_SECRET: &str = "device";
/// The image of a device without one.
pub(crate) const WITHOUT_SECRET: &str = "device-open";
/// The image of a device that a host built, encoded values included.
pub(crate) const BUILT: &str = "device-built";
/// The secret of the devices that have one.
pub(crate) const SECRET: [u8; 16] = *b"golden, not open";

pub(crate) type Memory = FlashMemory<SEGMENTS_OF_DEVICE, { buckets_for(200) }, RECORD, 1, 4>;
type Tier<'m, const UNIT: usize, const SECTOR: usize> = AnyNorTier<'m, Flash<UNIT, SECTOR>>;

/// A flash tier and its time.
pub(crate) struct Device<'m, const UNIT: usize, const SECTOR: usize> {
    tier: Tier<'m, UNIT, SECTOR>,
    now: Now,
}

impl<'m, const UNIT: usize, const SECTOR: usize> Device<'m, UNIT, SECTOR> {
    pub(crate) fn mount(
        memory: &'m mut Memory,
        driver: Driver,
        flash: Flash<UNIT, SECTOR>,
        secret: Option<[u8; 16]>,
        now_s: u32,
    ) -> Self {
        let config = FlashConfig::new(SECTOR as u32, 0x1234_5678_9ABC_DEF0);
        let config = secret.map_or(config, |secret| config.secret(secret));
        let mut tier = AnyNorTier::new(driver, config, memory, flash, 0xFF).unwrap();
        let now = Now { monotonic_ms: 1_000, wall_s: now_s };
        tier.mount(now).unwrap();
        while !tier.poll(now, 64).is_idle {}
        Self { tier, now }
    }

    pub(crate) fn into_flash(self) -> Flash<UNIT, SECTOR> {
        self.tier.into_flash()
    }

    pub(crate) fn pass(&mut self, seconds: u32) {
        self.now.wall_s += seconds;
        self.now.monotonic_ms += u64::from(seconds) * 1_000;
    }

    /// Makes a call until compaction has freed space for it.
    fn write<T>(
        &mut self,
        mut call: impl FnMut(&mut Tier<'m, UNIT, SECTOR>, Now) -> Result<T, PutError>,
    ) -> T {
        for _ in 0..CALLS_MAX {
            match call(&mut self.tier, self.now) {
                Err(PutError::NeedsCompaction | PutError::Busy(_)) => drop(self.tier.poll(self.now, 16)),
                result => return result.unwrap(),
            }
        }
        panic!("put off for ever: {:?}", self.tier.stats());
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], ttl_s: Option<u32>) {
        self.write(|tier, now| match ttl_s {
            Some(ttl_s) => tier.put_with_ttl(now, key, value, ttl_s),
            None => tier.put(now, key, value),
        });
    }

    pub(crate) fn put_in_pieces(&mut self, key: &[u8], value: &[u8], ttl_s: Option<u32>) {
        self.write(|tier, now| tier.begin(now, key, ttl_s));
        for piece in value.chunks(PIECE) {
            self.write(|tier, now| tier.put_piece(now, key, piece));
        }
        self.write(|tier, now| tier.commit(now, key));
    }

    pub(crate) fn put_typed<T: Schema + Serialize>(&mut self, key: &[u8], value: &T, buffer: &mut [u8]) {
        self.write(|tier, now| match tier.put_typed(now, key, value, buffer) {
            Err(TypedPutError::Put(error)) => Err(error),
            Err(error) => panic!("{error}"),
            Ok(()) => Ok(()),
        });
    }

    pub(crate) fn get_typed<'b, T: Schema + Deserialize<'b>>(
        &mut self,
        key: &[u8],
        buffer: &'b mut [u8],
    ) -> Result<Option<T>, TypedGetError> {
        self.tier.get_typed(self.now, key, buffer)
    }

    pub(crate) fn commit_batch(&mut self, batch: &Batch<'_, 4>) {
        self.write(|tier, now| tier.commit_batch(now, batch));
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        self.write(|tier, now| tier.remove(now, key))
    }

    /// Compacts, and removes the pieces that belong to no value.
    pub(crate) fn compact(&mut self) {
        while self.write(|tier, now| tier.sweep(now)) {}
        self.tier.schedule(CompactionTask::CompactData).unwrap();
        for _ in 0..CALLS_MAX {
            let _ = self.tier.poll(self.now, 16);
            if self.tier.take_report().is_some() {
                return;
            }
        }
        panic!("compaction has no end: {:?}", self.tier.stats());
    }

    /// Asserts that the tier holds exactly the listed contents.
    pub(crate) fn check(&mut self, contents: &Contents) {
        let (now, mut cursor, mut out) = (self.now, Cursor::default(), [0; RECORD]);
        let mut keys = Vec::new();
        while let Some(found) = self.tier.next_key(now, &mut cursor, &mut out).unwrap() {
            let live = contents.live.get(found.key).unwrap_or_else(|| panic!("{:?} is listed", found.key));
            let expires_s = live.left_s.map(|left_s| contents.now_s + left_s);
            assert_eq!((found.value_bytes as usize, found.expires_s), (live.bytes, expires_s));
            keys.push(found.key.to_vec());
        }
        keys.sort();
        assert_eq!(keys, contents.keys());
        for (key, live) in &contents.live {
            let mut value = Vec::new();
            let len = self.tier.get_in_pieces(now, key, &mut out, |_, piece| value.extend_from_slice(piece));
            assert_eq!(len, Ok(Some(live.bytes as u32)));
            live.check(key, &value);
        }
        for key in &contents.gone {
            assert_eq!(self.tier.get(now, key, &mut out), Ok(None));
            assert_eq!(self.tier.contains(now, key), Ok(false));
        }
    }
}

/// The kinds that the image of a device holds.
pub(crate) fn kinds() -> Vec<&'static str> {
    [&RECORDS[..], &SEGMENTS, &LONG].concat()
}

/// Puts values of every form.
fn fill<const UNIT: usize, const SECTOR: usize>(
    device: &mut Device<'_, UNIT, SECTOR>,
    contents: &mut Contents,
) {
    // Values that are overwritten later lie among those that stay, so that compaction has something to move.
    let overwritten = |device: &mut Device<'_, UNIT, SECTOR>, n: u32| {
        device.put(format!("often {n}").as_bytes(), &[0; 90], None);
    };
    for n in 0..8_u32 {
        overwritten(device, n);
        let left_s = match n % 4 {
            1 => Some(1_000_000 + 1_000 * n),
            2 => Some(60 + n),
            _ => None,
        };
        // A short key is its own identity, a longer one is hashed.
        for key in [format!("k{n}"), format!("a longer key {n}")] {
            let value = text(n, 20 + 5 * n as usize);
            device.put(key.as_bytes(), &value, left_s);
            contents.put(key.as_bytes(), &value, left_s);
        }
    }
    let long_key = [b'k'; 300];
    for (key, value) in [(&b"k3"[..], &b"newer"[..]), (b"empty", b""), (&long_key, b"of a long key")] {
        device.put(key, value, None);
        contents.put(key, value, None);
    }
    for (key, bytes, left_s) in [(&b"long"[..], 900, None), (b"long, ends", 500, Some(2_000_000))] {
        overwritten(device, 8);
        device.put_in_pieces(key, &text(7, bytes), left_s);
        overwritten(device, 9);
        contents.put(key, &text(7, bytes), left_s);
    }
    assert!(device.remove(b"k7"));
    contents.remove(b"k7");
    device.pass(100);
    contents.pass(100);
}

/// Overwrites some keys and removes one, a few times, and compacts.
fn churn<const UNIT: usize, const SECTOR: usize>(
    device: &mut Device<'_, UNIT, SECTOR>,
    life: u32,
    contents: &mut Contents,
) {
    for round in 0..ROUNDS {
        device.pass(20);
        contents.pass(20);
        for n in 0..10 {
            let (key, value) = (format!("often {n}"), vec![(ROUNDS * life + round) as u8; 60]);
            device.put(key.as_bytes(), &value, None);
            contents.put(key.as_bytes(), &value, None);
        }
        let key = format!("removed {}", round % 4);
        device.put(key.as_bytes(), b"for a moment", None);
        assert!(device.remove(key.as_bytes()));
        contents.remove(key.as_bytes());
    }
    device.compact();
}

/// Makes the first record on the flash impossible to read.
fn spoil<const UNIT: usize, const SECTOR: usize>(flash: &mut Flash<UNIT, SECTOR>) {
    let image = Image::read_from(flash.bytes().to_vec()).unwrap();
    let geometry = image.geometry();
    let is_headed = |segment: &usize| {
        Header::decode(geometry, &flash.bytes()[segment * SECTOR + geometry.header_at() as usize..]).is_ok()
    };
    let segment = (0..SEGMENTS_OF_DEVICE).find(is_headed).unwrap();
    flash.spoil(segment * SECTOR + geometry.records_at() as usize);
}

/// Makes the flash of a device.
///
/// A device has one stream, in which a record that is moved gets a new version. It keeps its version as an origin only while something
/// can't be read; so in every second life there is such a unit, which can be read again later.
pub(crate) fn make<const UNIT: usize, const SECTOR: usize>(secret: Option<[u8; 16]>) -> (Vec<u8>, Contents) {
    let mut contents = Contents { now_s: START_S, ..Contents::default() };
    let mut bytes = vec![0xFF; SEGMENTS_OF_DEVICE * SECTOR];
    let mut lacks = Vec::new();
    for life in 0..LIVES_MAX {
        let mut memory = Memory::new();
        let mut flash = Flash::<UNIT, SECTOR>::with_bytes(&bytes, 0xFF);
        if life % 2 == 1 {
            spoil(&mut flash);
        }
        let mut device = Device::mount(&mut memory, Driver::Blocking, flash, secret, contents.now_s);
        if life == 0 {
            fill(&mut device, &mut contents);
        }
        churn(&mut device, life, &mut contents);
        bytes = device.into_flash().bytes().to_vec();
        // With one free segment in reserve the headers state the time. The stored images are of an earlier build.
        let made: Vec<_> = kinds().into_iter().filter(|kind| *kind != "time").collect();
        lacks = Census::of(&bytes).lacks(&made);
        if lacks.is_empty() {
            state_ends(&[Image::read_from(bytes.clone()).unwrap()], &mut contents);
            return (bytes, contents);
        }
    }
    panic!("no {lacks:?} after {LIVES_MAX} lives: {:?}", Census::of(&bytes));
}

/// Asserts that flash holds exactly the listed contents, to a reader of images and to both drivers of a device.
pub(crate) fn check<const UNIT: usize, const SECTOR: usize>(bytes: &[u8], contents: &Contents) {
    check_images(&[Image::read_from(bytes.to_vec()).unwrap()], contents);
    for driver in Driver::BOTH {
        let mut memory = Memory::new();
        let flash = Flash::<UNIT, SECTOR>::with_bytes(bytes, 0xFF);
        // The secret is read from the flash.
        Device::mount(&mut memory, driver, flash, None, contents.now_s).check(contents);
    }
}

/// Makes the flash of a device as a host builds it, with every codec that a device's image may have.
pub(crate) fn make_built() -> (Vec<u8>, Contents) {
    let segments = SEGMENTS_OF_DEVICE as u32;
    let geometry = Geometry::new(1024, segments, 4, 0xFF, Identity::KeyBytes).unwrap();
    let store = Store { id: 7, hash_key: SECRET, partition: 0, partitions: 1 };
    let mut contents = Contents { now_s: START_S, ..Contents::default() };
    let bytes = build_for(geometry, store, RECORD as u32, START_S, |image| {
        for codec in [CodecId::Raw, CodecId::Lz4, CodecId::Heatshrink] {
            for n in 0..4 {
                let (key, value) = (format!("{} {n}", codec.name()), text(n, 200));
                let left_s = (n == 1).then_some(5_000);
                image.put(key.as_bytes(), &value, codec, left_s.map(|left_s| START_S + left_s))?;
                contents.put(key.as_bytes(), &value, left_s);
            }
            let removed = format!("{} 3", codec.name());
            image.remove(removed.as_bytes())?;
            contents.remove(removed.as_bytes());
        }
        Ok::<_, BuildError>(())
    });
    (bytes.unwrap(), contents)
}

/// Asserts that a built image holds exactly the listed contents, and that a device names the codecs of values that it can't decode.
pub(crate) fn check_built(bytes: &[u8], contents: &Contents) {
    check_images(&[Image::read_from(bytes.to_vec()).unwrap()], contents);
    for driver in Driver::BOTH {
        let mut memory = Memory::new();
        let flash = Flash::<4, 1024>::with_bytes(bytes, 0xFF);
        let mut device = Device::mount(&mut memory, driver, flash, None, contents.now_s);
        let mut out = [0; RECORD];
        for (key, live) in &contents.live {
            let found = device.tier.get(device.now, key, &mut out);
            match &key[..3] {
                b"raw" => live.check(key, found.unwrap().unwrap()),
                b"lz4" => assert_eq!(found, Err(GetError::Codec(CodecId::Lz4))),
                _ => assert_eq!(found, Err(GetError::Codec(CodecId::Heatshrink))),
            }
        }
        for key in &contents.gone {
            assert_eq!(device.tier.get(device.now, key, &mut out), Ok(None));
        }
    }
}
