//! A flash that is in use becomes a new store, whether it has data of other programs, other stores, or the tier's own.

use crate::ram::Ram;
use coldpress_embedded::flash::{
    DeviceMedium, FlashConfig, FlashMemory, FlashMountError, FlashTier, GetError, Medium, MediumError,
    MountError, NorMedium, Now, PutError, Started, buckets_for,
};

const SECTOR: u32 = 512;
const SEGMENTS: usize = 14;
const NOW: Now = Now { monotonic_ms: 0, wall_s: 0 };

type Flash = Ram<4, { SECTOR as usize }>;
type Memory<const RECORD: usize = 96> = FlashMemory<SEGMENTS, { buckets_for(90) }, RECORD>;

/// A flash whose erases fail from one on, or end later.
struct Erasing {
    flash: NorMedium<Flash>,
    erases: u32,
    fails_at: Option<u32>,
    takes_time: bool,
    under_way: Option<Result<(), MediumError>>,
}

impl Erasing {
    fn new(flash: Flash) -> Self {
        Self { flash: NorMedium::new(flash), erases: 0, fails_at: None, takes_time: false, under_way: None }
    }
}

impl Medium for Erasing {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        self.flash.read(at, bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.flash.write(at, bytes)
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.erases += 1;
        let result = if self.fails_at.take_if(|at| *at == self.erases).is_some() {
            Err(MediumError::Io)
        } else {
            self.flash.erase(at, bytes).map(|_| ())
        };
        if self.takes_time {
            self.under_way = Some(result);
            return Ok(Started::UnderWay);
        }
        result.map(|()| Started::Done)
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
    fn is_done(&mut self) -> Option<Result<(), MediumError>> {
        self.under_way.take()
    }
}

shape_of_flash!(Erasing);

fn other_data() -> Flash {
    let mut flash = Flash::new(SEGMENTS);
    flash.bytes.fill(0x5A);
    flash
}

fn put_all<M: Medium>(tier: &mut FlashTier<'_, M>, puts: u32, value: u8) {
    for number in 0..puts {
        while tier.put(NOW, &(number % 30).to_le_bytes(), &[value; 40]) == Err(PutError::NeedsCompaction) {}
    }
}

/// Fills a store of its own and gives the flash back.
fn in_use(config: FlashConfig) -> Flash {
    let mut memory = Memory::<96>::new();
    let mut tier = FlashTier::new(config, &mut memory, NorMedium::new(Flash::new(SEGMENTS))).unwrap();
    tier.mount(NOW).unwrap();
    put_all(&mut tier, 200, 1);
    tier.into_medium().into_flash()
}

/// Formats, fills, and mounts once more: no old data is there.
fn check_formatted<M: Medium + DeviceMedium>(mut tier: FlashTier<'_, M>, config: FlashConfig) {
    tier.format();
    let mut out = [0; 40];
    assert_eq!(tier.get(NOW, &7u32.to_le_bytes(), &mut out), Err(GetError::NotMounted));
    assert!(tier.mount(NOW).unwrap().is_new && tier.is_empty());
    assert_eq!(tier.get(NOW, &7u32.to_le_bytes(), &mut out), Ok(None));
    put_all(&mut tier, 120, 2);
    for number in 0..29u32 {
        while tier.remove(NOW, &number.to_le_bytes()) == Err(PutError::NeedsCompaction) {}
    }
    let mut memory = Memory::<96>::new();
    let mut tier = FlashTier::new(config, &mut memory, tier.into_medium()).unwrap();
    let report = tier.mount(NOW).unwrap();
    assert_eq!((tier.len(), report.quarantined_segments), (1, 0));
    assert_eq!(tier.get(NOW, &29u32.to_le_bytes(), &mut out), Ok(Some([2; 40].as_slice())));
}

#[test]
fn formatted_flash_with_other_data_becomes_a_store() {
    let (config, mut memory) = (FlashConfig::new(SECTOR, 1), Memory::<96>::new());
    let mut tier = FlashTier::new(config, &mut memory, NorMedium::new(other_data())).unwrap();
    assert_eq!(tier.mount(NOW), Err(FlashMountError::Mount(MountError::Foreign)));
    assert_eq!(
        tier.mount(NOW),
        Err(FlashMountError::Mount(MountError::Foreign)),
        "nothing is erased unasked"
    );
    check_formatted(tier, config);
}

#[test]
fn formatted_store_in_use_is_empty_for_good() {
    let config = FlashConfig::new(SECTOR, 1);
    let mut memory = Memory::<96>::new();
    let mut tier = FlashTier::new(config, &mut memory, NorMedium::new(in_use(config))).unwrap();
    tier.mount(NOW).unwrap();
    assert_eq!(tier.len(), 30);
    // Work of all kinds is half done.
    tier.begin(NOW, b"long", None).unwrap();
    while tier.put_piece(NOW, b"long", &[1; 40]) == Err(PutError::NeedsCompaction) {}
    let _ = tier.poll(NOW, 3);
    check_formatted(tier, config);
}

#[test]
fn formatted_store_with_another_shape_or_secret_is_made_anew() {
    let config = FlashConfig::new(SECTOR, 1).secret([3; 16]);
    let mut memory = Memory::<96>::new();
    let other = FlashConfig::new(SECTOR, 9).secret([4; 16]);
    check_formatted(FlashTier::new(config, &mut memory, NorMedium::new(in_use(other))).unwrap(), config);
    // Longer records, which this memory could not hold.
    let mut longer = Memory::<256>::new();
    let mut tier = FlashTier::new(other, &mut longer, NorMedium::new(Flash::new(SEGMENTS))).unwrap();
    tier.mount(NOW).unwrap();
    put_all(&mut tier, 50, 3);
    let flash = tier.into_medium().into_flash();
    let mut memory = Memory::<96>::new();
    let mut tier = FlashTier::new(config, &mut memory, NorMedium::new(flash)).unwrap();
    assert!(matches!(tier.mount(NOW), Err(FlashMountError::Mount(MountError::LongerRecords { .. }))));
    check_formatted(tier, config);
}

#[test]
fn polled_format_erases_one_segment_a_call() {
    for takes_time in [false, true] {
        let (config, mut memory) = (FlashConfig::new(SECTOR, 1), Memory::<96>::new());
        let medium = Erasing { takes_time, ..Erasing::new(other_data()) };
        let mut tier = FlashTier::new(config, &mut memory, medium).unwrap();
        tier.format();
        for segment in 0..SEGMENTS as u32 {
            assert_eq!(tier.medium().erases, segment);
            let work = tier.poll(NOW, 100);
            assert_eq!((work.erases, work.is_waiting), (1, takes_time));
        }
        while tier.mount(NOW) == Err(FlashMountError::Busy) {}
        assert!(tier.mounted().unwrap().is_new);
        put_until_taken(&mut tier);
    }
}

fn put_until_taken(tier: &mut FlashTier<'_, Erasing>) {
    let taken = (0..1_000).any(|_| tier.put(NOW, b"key", b"value") == Ok(()));
    assert!(taken, "{:?}", tier.stats());
}

#[test]
fn erase_that_fails_in_a_format_is_reported_and_made_again() {
    for takes_time in [false, true] {
        let (config, mut memory) = (FlashConfig::new(SECTOR, 1), Memory::<96>::new());
        let medium = Erasing { takes_time, fails_at: Some(5), ..Erasing::new(other_data()) };
        let mut tier = FlashTier::new(config, &mut memory, medium).unwrap();
        tier.format();
        let mounted = |tier: &mut FlashTier<'_, Erasing>| {
            (0..1_000).map(|_| tier.mount(NOW)).find(|found| *found != Err(FlashMountError::Busy)).unwrap()
        };
        assert_eq!(mounted(&mut tier), Err(FlashMountError::Format(MediumError::Io)));
        assert_eq!(mounted(&mut tier).map(|report| report.is_new), Ok(true));
        assert_eq!(tier.medium().erases, SEGMENTS as u32 + 1);
        assert!(!tier.medium().flash.flash().bytes.contains(&0x5A));
        put_until_taken(&mut tier);
    }
}

#[test]
fn format_cut_short_leaves_foreign_data_refused() {
    let config = FlashConfig::new(SECTOR, 1);
    for erased in 0..SEGMENTS {
        let mut memory = Memory::<96>::new();
        let mut tier = FlashTier::new(config, &mut memory, NorMedium::new(other_data())).unwrap();
        tier.format();
        for _ in 0..erased {
            let _ = tier.poll(NOW, 1);
        }
        let medium = tier.into_medium();
        let mut memory = Memory::<96>::new();
        let mut tier = FlashTier::new(config, &mut memory, medium).unwrap();
        assert_eq!(tier.mount(NOW), Err(FlashMountError::Mount(MountError::Foreign)), "{erased} erased");
        check_formatted(tier, config);
    }
}
