//! A completed task leaves nothing that a second one would do.

use crate::ram::Ram;
use coldpress_core::compaction::{CompactionTask, Outcome, Report};
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, buckets_for};

type Flash = Ram<4, 4096>;
type Memory = FlashMemory<16, { buckets_for(400) }, 128>;
type Tier<'m> = FlashTier<'m, NorMedium<Flash>>;

const NOW: Now = Now { monotonic_ms: 1_000, wall_s: 1_000_000 };

fn compact(tier: &mut Tier<'_>) -> Report {
    tier.schedule(CompactionTask::CompactData).unwrap();
    for _ in 0..10_000 {
        let _ = tier.poll(NOW, 64);
        if let Some(report) = tier.take_report() {
            return report;
        }
    }
    panic!("the task does not end: {:?}", tier.stats());
}

fn until_taken<T>(tier: &mut Tier<'_>, mut call: impl FnMut(&mut Tier<'_>) -> Result<T, PutError>) -> T {
    for _ in 0..1_000 {
        match call(tier) {
            Ok(done) => return done,
            Err(PutError::NeedsCompaction) => {
                let _ = tier.poll(NOW, 64);
            }
            Err(error) => panic!("{error}: {:?}", tier.stats()),
        }
    }
    panic!("no space after 1,000 polls: {:?}", tier.stats());
}

#[test]
fn compaction_completed_leaves_nothing_for_a_second() {
    let mut memory = Memory::new();
    let mut tier: Tier<'_> =
        FlashTier::new(FlashConfig::new(4096, 7), &mut memory, NorMedium::new(Flash::new(16))).unwrap();
    tier.mount(NOW).unwrap();
    for key in 0..300u32 {
        until_taken(&mut tier, |tier| tier.put(NOW, &key.to_le_bytes(), &[7; 80]));
    }
    for key in (0..300u32).filter(|key| key % 8 != 0) {
        until_taken(&mut tier, |tier| tier.remove(NOW, &key.to_le_bytes()));
    }
    let first = compact(&mut tier);
    assert_eq!(first.outcome, Outcome::Completed, "{first:?}");
    let second = compact(&mut tier);
    assert_eq!((second.victims.first, second.victims.freed), (None, 0), "{first:?}\n{second:?}");
    let mut out = [0; 128];
    for key in 0..300u32 {
        let expected = (key % 8 == 0).then_some([7; 80].as_slice());
        assert_eq!(tier.get(NOW, &key.to_le_bytes(), &mut out), Ok(expected), "{key}");
    }
}
