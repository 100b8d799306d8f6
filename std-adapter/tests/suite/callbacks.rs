//! Code of the user that panics while a tier calls it: the tier releases all that it holds for the call.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::panic::catch_unwind;

use coldpress_std::clock::Clock;
use coldpress_std::{PersistentColdTier, PutError, PutOptions, TierError};

use crate::common::{SYNCED, eventually, open, pools, recount, small, value};

/// A clock that panics on threads of clients, at the call of this number.
#[derive(Debug)]
struct Panics(AtomicU32);

impl Clock for Panics {
    fn wall_s(&self) -> u32 {
        let is_client = std::thread::current().name().is_none_or(|name| !name.starts_with("coldpress-"));
        if is_client && self.0.load(SeqCst) > 0 {
            assert!(self.0.fetch_sub(1, SeqCst) != 1, "the clock was told to panic");
        }
        1_760_000_000
    }
}

#[test]
fn clock_that_panics_in_a_client_keeps_no_permit_and_no_lock() {
    static CLOCK: Panics = Panics(AtomicU32::new(0));
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).pending_bytes_max(1 << 17).value_bytes_max(30_000).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with(b"key", b"before", SYNCED).unwrap();
    let mut panics = 0;
    // More rounds than the pending bytes allow, if each kept some.
    for round in 0..1_000u32 {
        CLOCK.0.store(1 + round % 3, SeqCst);
        let ttl = PutOptions { ttl: core::time::Duration::from_secs(60).into(), ..PutOptions::default() };
        let call = AssertUnwindSafe(|| match round % 4 {
            0 | 1 => tier.put_with(b"other", &value(round, 0, 20_000), ttl).map(|()| true).map_err(drop),
            2 => tier.remove(b"other").map_err(drop),
            _ => tier.get(b"key").map(|found| found.is_some()).map_err(drop),
        });
        match catch_unwind(call) {
            Ok(result) => assert!(result.is_ok()),
            Err(_) => panics += 1,
        }
    }
    assert!(panics > 200, "{panics}");
    CLOCK.0.store(0, SeqCst);
    assert_eq!(tier.get(b"key").unwrap(), Some(b"before".to_vec()));
    tier.put_with(b"key", b"after", SYNCED).unwrap();
    tier.flush().unwrap();
    eventually("nothing is pending", || tier.stats().pending_bytes == 0);
    recount(&tier);
    tier.close().unwrap();
}

#[test]
fn clock_that_panics_in_a_worker_poisons_and_is_reported() {
    #[derive(Debug)]
    struct Dies(AtomicU32);
    impl Clock for Dies {
        fn wall_s(&self) -> u32 {
            let is_worker = std::thread::current().name().is_some_and(|name| name.starts_with("coldpress-"));
            assert!(!is_worker || self.0.load(SeqCst) == 0, "the clock was told to panic");
            1_760_000_000
        }
    }
    static CLOCK: Dies = Dies(AtomicU32::new(0));
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with(b"key", b"value", SYNCED).unwrap();
    CLOCK.0.store(1, SeqCst);
    assert_eq!(tier.put_with(b"key", b"new", SYNCED), Err(PutError::Tier(TierError::Poisoned)));
    drop(tier);
    CLOCK.0.store(0, SeqCst);
    assert!(open(dir.path(), &config, &pools).contains(b"key").unwrap());
}

/// A value whose code panics on request.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Touchy(u8);

impl serde::Serialize for Touchy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != 13, "told to panic");
        serializer.serialize_u8(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Touchy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = <u8 as serde::Deserialize>::deserialize(deserializer)?;
        assert!(value != 14, "told to panic");
        Ok(Self(value))
    }
}

#[test]
fn types_that_panic_in_their_own_code_keep_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().base_dir(dir.path()).build().unwrap();
    let tier = PersistentColdTier::<Touchy, Touchy>::new(config, "test", pools).unwrap();
    tier.put(&Touchy(1), &Touchy(14)).unwrap();
    for _ in 0..200 {
        assert!(catch_unwind(AssertUnwindSafe(|| tier.put(&Touchy(2), &Touchy(13)))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| tier.get(&Touchy(1)))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| tier.get(&Touchy(13)))).is_err());
    }
    tier.put(&Touchy(2), &Touchy(2)).unwrap();
    assert_eq!(tier.get(&Touchy(2)), Ok(Some(Touchy(2))));
    assert_eq!(tier.len(), Ok(2));
    tier.close().unwrap();
}
