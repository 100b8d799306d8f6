//! Readers of long values that are overtaken by the drop of the value and by the pieces of the next one.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;

use coldpress_std::clock::ManualClock;
use coldpress_std::{CodecId, ColdTier, ColdTierConfigBuilder, CompactionTask, Durability};

use crate::common::{PATIENCE, eventually, open_on, pools, small, value};
use crate::double::{Double, HELD};

const LEN: usize = 14_000;

/// A reader has read the head and the first piece of a value when it is dropped and the pieces of another one have its names.
fn overtaken_reader(config: ColdTierConfigBuilder, drop_value: impl Fn(&ColdTier, &ManualClock)) {
    let clock: &'static ManualClock = Box::leak(Box::new(ManualClock::new(1_000_000)));
    let (_manager, pools) = pools();
    let config = config.codec(CodecId::Raw).keep_hot_values(false).durability(Durability::Buffered);
    let config = config.clock(clock).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let (old, new) = (value(1, 1, LEN), value(2, 2, LEN));
    tier.put(b"key", &old).unwrap();
    tier.flush().unwrap();
    let handle = tier.handle();
    std::thread::scope(|scope| {
        double.free_reads.store(2, SeqCst);
        double.holds_reads.store(true, SeqCst);
        let held = std::thread::Builder::new().name(HELD.to_owned());
        let reader = held.spawn_scoped(scope, move || handle.get(b"key")).unwrap();
        eventually("the reader waits", || double.held_reads.load(SeqCst) == 1);
        drop_value(&tier, clock);
        eventually("the pieces are swept", || tier.stats().swept_pieces >= 4);
        tier.flush().unwrap();
        let charged_bytes = tier.stats().charged_bytes;
        double.holds_syncs.store(true, SeqCst);
        let writer = scope.spawn(|| handle.put(b"key", &new));
        eventually("the new pieces are there", || tier.stats().charged_bytes >= charged_bytes + LEN as u64);
        double.holds_reads.store(false, SeqCst);
        let found = reader.join().unwrap().unwrap();
        double.holds_syncs.store(false, SeqCst);
        writer.join().unwrap().unwrap();
        let is_one = found.is_none() || found.as_ref() == Some(&old) || found.as_ref() == Some(&new);
        let of_old = found.iter().flatten().zip(&old).take_while(|(a, b)| a == b).count();
        assert!(is_one, "a mixture: {of_old} bytes of the old value");
    });
}

fn expire(tier: &ColdTier, clock: &ManualClock) {
    clock.advance_s(30);
    tier.compaction().run_compaction(CompactionTask::CleanupExpired, PATIENCE).unwrap();
}

#[test]
fn reader_overtaken_by_expiry_and_a_new_value_reads_no_mixture() {
    overtaken_reader(small().ttl(Duration::from_secs(10)), expire);
}

#[test]
fn reader_overtaken_by_idle_end_and_new_value_reads_no_mix() {
    overtaken_reader(small().idle(Duration::from_secs(10)), expire);
}
