//! A store of each kind, and the calls that a program makes of it.

use core::hint::black_box;

use coldpress_embedded::TryCell;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, Now, buckets_for};
use embassy_futures::block_on;
use sequential_storage::cache::Cache;
use sequential_storage::map::{MapConfig, MapStorage};

use crate::flash::{Flash, SECTOR_BYTES, SECTORS};
use crate::rest;

/// Keys of the store.
const KEYS: usize = 20;
/// The longest value: with its key and a header of 20 bytes a record has 64 bytes.
const VALUE_BYTES: usize = 40;
/// Operations of a poll.
const BUDGET: u32 = 8;

type Memory = FlashMemory<SECTORS, { buckets_for(KEYS) }, 64, 0>;
type Tier<'m> = FlashTier<'m, NorMedium<Flash>>;

/// The RAM of the tier, in bytes, without the driver of the flash.
const RAM_BYTES: usize = Memory::RAM_BYTES + Tier::RAM_BYTES - size_of::<Flash>();

const _: () = assert!(RAM_BYTES <= 3_228, "the README states the RAM of this tier");

static FLASH: TryCell<[u8; SECTORS * SECTOR_BYTES]> = TryCell::new([0; SECTORS * SECTOR_BYTES]);
static MEMORY: TryCell<Memory> = TryCell::new(Memory::without_tasks());

/// The calls that a program makes; each step has those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Calls;

impl Calls {
    /// None: no store.
    pub const NONE: u8 = 0;
    /// The store is made, and mounted where it has a mount.
    pub const MOUNT: u8 = 1;
    /// A value is read.
    pub const GET: u8 = 2;
    /// A value is stored.
    pub const PUT: u8 = 3;
    /// Work is done in steps.
    pub const POLL: u8 = 4;
}

/// A program with the flash tier that makes these calls.
pub fn coldpress<const CALLS: u8>() -> ! {
    let _ = black_box(tier::<CALLS>());
    rest()
}

fn tier<const CALLS: u8>() -> Option<u8> {
    let flash = Flash(FLASH.take().ok()?);
    if CALLS < Calls::MOUNT {
        return Some(black_box(flash).0[0]);
    }
    let segment_bytes = u32::try_from(SECTOR_BYTES).ok()?;
    let config = FlashConfig::new(segment_bytes, 1);
    let mut tier = Tier::new(config, MEMORY.take().ok()?, NorMedium::new(flash)).ok()?;
    let now = black_box(Now { monotonic_ms: 0, wall_s: 0 });
    let (key, mut value) = (black_box(7u32).to_le_bytes(), black_box([7; VALUE_BYTES]));
    tier.mount(now).ok()?;
    if CALLS >= Calls::PUT {
        tier.put(now, &key, &value).ok()?;
    }
    if CALLS >= Calls::POLL {
        black_box(tier.poll(now, BUDGET));
    }
    if CALLS < Calls::GET {
        return Some(0);
    }
    tier.get(now, &key, &mut value).ok()??.first().copied()
}

/// A program with a map of `sequential-storage`, without a cache, that makes these calls. It has no mount and no poll.
pub fn sequential<const CALLS: u8>() -> ! {
    let _ = black_box(map::<CALLS>());
    rest()
}

fn map<const CALLS: u8>() -> Option<u8> {
    let flash = Flash(FLASH.take().ok()?);
    let end = u32::try_from(SECTORS * SECTOR_BYTES).ok()?;
    let mut map = MapStorage::<u32, _, _>::new(flash, MapConfig::new(0..end), Cache::new_uncached());
    let (key, value) = (black_box(7u32), black_box([7u8; VALUE_BYTES]));
    let mut buffer = [0; VALUE_BYTES + 24];
    if CALLS >= Calls::PUT {
        block_on(map.store_item(&mut buffer, &key, &value.as_slice())).ok()?;
    }
    block_on(map.fetch_item::<&[u8]>(&mut buffer, &key)).ok()??.first().copied()
}
