//! A close that can't wait for the end of its workers.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;

use coldpress_std::CloseError;

use crate::common::{SYNCED, eventually, open_on, pools, small, value};
use crate::double::Double;

#[test]
fn worker_stuck_beyond_its_close_writes_nothing_more() {
    let (_manager, pools) = pools();
    let config =
        small().op_timeout(Duration::from_secs(1)).close_timeout(Duration::from_millis(50)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    double.holds_writes.store(true, SeqCst);
    // With its worker stuck nobody allocates blocks: how many more puts find some is a matter of time.
    let put = |key: u32| tier.put(&key.to_le_bytes(), &value(key, 0, 3_000));
    let taken = (0..600).take_while(|key| put(*key).is_ok()).count();
    assert!(taken > 0);
    eventually("a write is stuck", || double.held_writes.load(SeqCst) == 1);
    let writes = double.writes.load(SeqCst);
    assert_eq!(tier.close(), Err(CloseError::TimedOut));
    double.holds_writes.store(false, SeqCst);
    eventually("it came loose", || double.held_writes.load(SeqCst) == 0);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(double.writes.load(SeqCst), writes);
    // Nothing of it is in the way of the next one.
    let tier = open_on(&double, &small().build().unwrap(), &pools);
    tier.put_with(b"new", b"v", SYNCED).unwrap();
    tier.close().unwrap();
}
