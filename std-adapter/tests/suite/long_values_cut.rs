//! Long values cut short where their heads are on their way to the medium.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;

use coldpress_std::{CodecId, ColdTier, Durability};

use crate::common::{eventually, open_on, pools, small, value};
use crate::double::Double;

const LEN: usize = 14_000;
/// How far two places of a cut are apart, and how many are tried of one write.
const STEP_BYTES: usize = 8;
const CUTS_MAX: usize = 200;

/// A write overtakes a long value of which the head was appended, and not written. Each write of the flush behind it is torn.
fn overtaken_head(write: impl Fn(&ColdTier), short: Option<&[u8]>) {
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).keep_hot_values(false).durability(Durability::Buffered);
    let config = config.flush_after(Duration::from_secs(60)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let long = value(1, 1, LEN);
    tier.put(b"key", &long).unwrap();
    // The head is in the buffer of the log by then.
    std::thread::sleep(Duration::from_millis(100));
    write(&tier);
    // The worker had time to look for pieces that are left over.
    std::thread::sleep(Duration::from_millis(300));
    let before = double.cut();
    double.holds_syncs.store(true, SeqCst);
    let syncs = double.syncs.load(SeqCst);
    let handle = tier.handle();
    let flush = std::thread::spawn(move || handle.flush());
    eventually("all is written", || double.syncs.load(SeqCst) > syncs);
    std::thread::sleep(Duration::from_millis(100));
    let (whole, unsynced) = (double.cut(), double.unsynced());
    double.holds_syncs.store(false, SeqCst);
    flush.join().unwrap().unwrap();
    assert!(!unsynced.is_empty());
    let left = Double::new(config.capacity_bytes());
    for written in unsynced {
        for from in written.clone().step_by(STEP_BYTES).take(CUTS_MAX) {
            left.tear(whole, before, from..written.end);
            let found = open_on(&left, &config, &pools).get(b"key");
            let found = found.unwrap_or_else(|error| panic!("cut at {from}: {error}"));
            let is_one = found.is_none() || found.as_ref() == Some(&long) || found.as_deref() == short;
            assert!(is_one, "cut at {from}: {:?} bytes", found.map(|found| found.len()));
        }
    }
    assert_eq!(tier.get(b"key").unwrap().as_deref(), short);
    eventually("the pieces are swept", || tier.flush().is_ok() && tier.stats().swept_pieces >= 4);
}

#[test]
fn long_value_overwritten_before_its_head_cut_anywhere_is_whole() {
    overtaken_head(|tier| tier.put(b"key", b"short").unwrap(), Some(b"short"));
}

#[test]
fn long_value_removed_before_its_head_cut_anywhere_is_whole() {
    overtaken_head(|tier| assert!(tier.remove(b"key").unwrap()), None);
}
