//! The typed handle beside that of bytes, and one error type for all.

use std::collections::BTreeSet;
use std::path::Path;

use coldpress_std::medium::MediumError;
use coldpress_std::pool::{AllocationManager, HotError, PoolConfig, PoolError};
use coldpress_std::{
    BatchError, ColdTier, Durability, Error, FileError, GetError, OpenError, PersistentColdTier, PutError,
    PutOptions, TierError,
};

use crate::common::{open, pools, small};

/// The public methods in the `impl` blocks of a type, over all sources of the tier.
fn methods(of: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let Ok(source) = std::fs::read_to_string(&path) else { continue };
        let mut is_inside = false;
        for line in source.lines() {
            match line.strip_prefix("impl") {
                Some(rest) => {
                    let (_, subject) =
                        rest.split_once("> ").filter(|_| rest.starts_with('<')).unwrap_or(("", rest));
                    let name = subject.trim_start().split(['<', ' ']).next();
                    is_inside = !rest.contains(" for ") && name == Some(of);
                }
                None if line.starts_with('}') => is_inside = false,
                None => {}
            }
            let method = line.trim_start().strip_prefix("pub ").map(|rest| rest.trim_start_matches("const "));
            if let (true, Some(method)) = (is_inside, method.and_then(|rest| rest.strip_prefix("fn "))) {
                found.insert(method.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
        }
    }
    found
}

#[test]
fn typed_handle_has_every_method_of_the_byte_handle() {
    let (bytes, typed) = (methods("ColdTierHandle"), methods("PersistentColdTierHandle"));
    assert!(bytes.contains("put_batch") && bytes.contains("keys") && bytes.len() >= 22, "{bytes:?}");
    assert_eq!(bytes.difference(&typed).collect::<Vec<_>>(), Vec::<&String>::new());
    let (bytes, typed) = (methods("ColdTier"), methods("PersistentColdTier"));
    assert!(bytes.contains("with_own_pools"), "{bytes:?}");
    // A tier on the caller's media is opened as a tier of bytes, and then made a typed one.
    assert_eq!(bytes.difference(&typed).collect::<Vec<_>>(), ["open_with"]);
}

#[test]
fn typed_handle_reads_batches_and_into_a_value() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = PersistentColdTier::<u32, String>::from(open(dir.path(), &small().build().unwrap(), &pools));
    tier.put_batch(&[(1, "one".into()), (2, "two".into())], PutOptions::default()).unwrap();
    tier.flush_to(Durability::Flushed).unwrap();
    let (one, two) = (Some("one".to_owned()), Some("two".to_owned()));
    assert_eq!(tier.get_batch(&[2, 3, 1]), Ok(vec![two, None, one]));
    let mut value = "before".to_owned();
    assert_eq!((tier.get_into(&3, &mut value), &*value), (Ok(false), "before"));
    assert_eq!((tier.get_into(&1, &mut value), &*value), (Ok(true), "one"));
    tier.bytes().put(&[9], b"\xff").unwrap();
    let error = tier.get_batch(&[1, 9]).unwrap_err();
    assert_eq!((error.index, error.error), (1, GetError::Decode));
    assert!(tier.is_open() && tier.is_recount_exact().unwrap() && !tier.segments().unwrap().is_empty());
    assert_eq!((tier.confirm_clock(), tier.give_up_unread()), (Ok(()), Ok(())));
    assert!(!tier.pool_coordinator().is_closed());
}

#[test]
fn every_error_turns_into_the_one_type_and_keeps_its_words() {
    fn said(error: impl Into<Error> + core::fmt::Display) -> bool {
        let words = error.to_string();
        error.into().to_string() == words
    }
    let file = |error| match error {
        OpenError::Io(error) => error,
        error => panic!("{error}"),
    };
    let config = small().base_dir("/dev/null").build().unwrap();
    let open_error = || ColdTier::with_own_pools(config.clone(), "t").unwrap_err();
    let file_error: FileError = file(open_error());
    assert!(said(open_error()) && said(file_error));
    assert!(said(small().capacity_bytes(0).build().unwrap_err()) && said(TierError::Closed));
    assert!(
        said(PutError::Busy)
            && said(GetError::Damaged)
            && said(PoolError::QueueFull)
            && said(coldpress_std::MediumFailure::from(MediumError::NoSpace))
    );
    assert!(
        said(BatchError { index: 3, error: PutError::Encode })
            && said(BatchError { index: 3, error: GetError::Decode })
    );
    assert!(
        said(HotError::TooLarge { max_bytes: 1 })
            && said(PoolConfig::builder().partitions(0).build().unwrap_err())
    );
    assert!(said(std::io::Error::from_raw_os_error(11)));
    let cause = Error::from(PutError::Tier(TierError::Medium(MediumError::NoSpace.into())));
    assert_eq!(cause.to_string(), "No space left on device");
    assert!(core::error::Error::source(&cause).is_some());
}

#[test]
fn tier_with_its_own_pools_keeps_hot_values() {
    let dir = tempfile::tempdir().unwrap();
    let config = small().base_dir(dir.path()).build().unwrap();
    for round in 0..2 {
        let tier = PersistentColdTier::<u32, u32>::with_own_pools(config.clone(), "t").unwrap();
        assert_eq!(tier.get(&1).unwrap(), (round > 0).then_some(7));
        tier.put(&1, &7).unwrap();
        tier.flush().unwrap();
        // It enters the pools at its second read.
        assert_eq!([(); 3].map(|()| tier.get(&1)), [const { Ok(Some(7)) }; 3]);
        assert!(tier.stats().hot_hits >= 1);
        let pools = tier.pool_coordinator().clone();
        assert!(!pools.is_closed());
        if round == 0 {
            tier.close().unwrap()
        } else {
            drop(tier)
        }
        assert!(pools.is_closed());
    }
}

#[test]
fn base_directory_said_twice_is_refused_unless_it_is_the_same() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_manager, pools) = pools();
    let config = small().base_dir(dir.path()).build().unwrap();
    let refused = ColdTier::open(other.path(), "t", config.clone(), pools.clone()).unwrap_err();
    assert!(matches!(&refused, OpenError::BaseDirs { .. }), "{refused}");
    assert!(refused.to_string().contains(&*dir.path().to_string_lossy()), "{refused}");
    assert_eq!(other.path().read_dir().unwrap().count(), 0);
    ColdTier::open(&dir.path().join("."), "t", config.clone(), pools.clone()).unwrap().close().unwrap();
    ColdTier::new(config, "t", pools.clone()).unwrap().put(b"a", b"1").unwrap();
    let refused = ColdTier::new(small().build().unwrap(), "t", pools).unwrap_err();
    assert!(matches!(refused, OpenError::NoBaseDir) && refused.to_string().contains("`base_dir`"));
}

#[test]
fn refusal_of_other_partitions_names_setting_and_way_over() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    drop(open(dir.path(), &small().build().unwrap(), &pools));
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    tier.put(b"a", b"1").unwrap();
    tier.close().unwrap();
    let config = small().partitions(2).capacity_bytes(8 << 20).build().unwrap();
    let words = ColdTier::open(dir.path(), "test", config, pools).unwrap_err().to_string();
    for said in ["set `partitions(1)`", "open a new tier under another cache id"] {
        assert!(words.contains(said), "{words}");
    }
    drop(manager);
}
