//! Values read as another type than they were stored as: left-over bytes, and the schema of a typed tier.

use std::fs;
use std::path::Path;

use coldpress_std::pool::PoolCoordinator;
use coldpress_std::{ColdTierConfig, GetError, OpenError, PersistentColdTier, PersistentColdTierHandle};

use crate::common::{pools, small};

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Account {
    user: u64,
    balance: u64,
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Swapped {
    balance: u64,
    user: u64,
}

fn config(schema: Option<&str>, is_adopted: bool) -> ColdTierConfig {
    let config = small().adopt_schema(is_adopted);
    schema.into_iter().fold(config, |config, schema| config.schema(schema)).build().unwrap()
}

fn try_open<V>(
    base: &Path,
    config: ColdTierConfig,
    pools: &PoolCoordinator,
) -> Result<PersistentColdTier<u32, V>, OpenError> {
    PersistentColdTier::open(base, "test", config, pools.clone())
}

/// All files of the tier, but the one that other processes lock.
fn bytes(base: &Path) -> Vec<Vec<u8>> {
    let read = |name| fs::read(base.join("test").join(name)).unwrap();
    ["part-000.cold", "tier.meta"].into_iter().map(read).collect()
}

#[test]
fn bytes_left_over_by_a_shorter_type_are_an_error() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = try_open::<Account>(base.path(), config(None, false), &pools).unwrap();
    tier.put(&300, &Account { user: 7, balance: 900 }).unwrap();
    let shorter = PersistentColdTierHandle::<u32, u64>::from(tier.bytes());
    assert_eq!(shorter.get(&300), Err(GetError::Decode));
    let longer = PersistentColdTierHandle::<u32, [u64; 3]>::from(tier.bytes());
    assert_eq!(longer.get(&300), Err(GetError::Decode));
    let other_keys = PersistentColdTierHandle::<bool, Account>::from(tier.bytes());
    assert_eq!(other_keys.keys().next(), Some(Err(GetError::Decode)));
    let bytes = PersistentColdTierHandle::<u8, u8>::from(tier.bytes());
    assert_eq!(bytes.keys().next(), Some(Err(GetError::Decode)), "a key is of two bytes");
    assert_eq!(tier.get(&300), Ok(Some(Account { user: 7, balance: 900 })));
}

#[test]
fn other_schema_is_refused_naming_both_and_touching_nothing() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = try_open::<Account>(base.path(), config(Some("account v1"), false), &pools).unwrap();
    tier.put(&1, &Account { user: 7, balance: 900 }).unwrap();
    tier.close().unwrap();
    let before = bytes(base.path());
    for (schema, said) in [(Some("account v2"), "the schema \"account v2\""), (None, "no schema")] {
        let refused = try_open::<Swapped>(base.path(), config(schema, false), &pools).unwrap_err();
        let OpenError::Schema { stored, configured } = &refused else { panic!("{refused}") };
        assert_eq!((stored.as_deref(), configured.as_deref()), (Some("account v1"), schema));
        let text = refused.to_string();
        assert!(text.contains("the schema \"account v1\"") && text.contains(said), "{text}");
        assert!(bytes(base.path()) == before);
    }
    let tier = try_open::<Account>(base.path(), config(Some("account v1"), false), &pools).unwrap();
    assert_eq!(tier.get(&1), Ok(Some(Account { user: 7, balance: 900 })));
}

#[test]
fn tier_without_a_schema_takes_one_while_it_is_empty() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    try_open::<u8>(base.path(), config(None, false), &pools).unwrap().close().unwrap();
    let tier = try_open::<u8>(base.path(), config(Some("a"), false), &pools).unwrap();
    tier.put(&1, &1).unwrap();
    tier.remove(&1).unwrap();
    tier.close().unwrap();
    let refused = try_open::<u8>(base.path(), config(Some("b"), false), &pools);
    assert!(matches!(refused, Err(OpenError::Schema { .. })), "an empty one keeps the schema that it has");
    try_open::<u8>(base.path(), config(Some("b"), true), &pools).unwrap().close().unwrap();
    try_open::<u8>(base.path(), config(Some("b"), false), &pools).unwrap().close().unwrap();
    try_open::<u8>(base.path(), config(None, true), &pools).unwrap().close().unwrap();
    try_open::<u8>(base.path(), config(None, false), &pools).unwrap();
}

#[test]
fn values_without_a_schema_are_refused_until_it_is_adopted() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = try_open::<Account>(base.path(), config(None, false), &pools).unwrap();
    tier.put(&1, &Account { user: 7, balance: 900 }).unwrap();
    tier.close().unwrap();
    // Once with the files of a tier that was made before schemas were kept.
    for is_old in [false, true] {
        if is_old {
            fs::remove_file(base.path().join("test/tier.meta")).unwrap();
        }
        let refused = try_open::<Account>(base.path(), config(Some("account"), false), &pools).unwrap_err();
        assert!(matches!(&refused, OpenError::Schema { stored: None, .. }), "{refused}");
        let tier = try_open::<Account>(base.path(), config(None, false), &pools).unwrap();
        assert_eq!(tier.get(&1), Ok(Some(Account { user: 7, balance: 900 })), "as before");
        tier.close().unwrap();
    }
    try_open::<Account>(base.path(), config(Some("account"), true), &pools).unwrap().close().unwrap();
    let tier = try_open::<Account>(base.path(), config(Some("account"), false), &pools).unwrap();
    assert_eq!(tier.get(&1), Ok(Some(Account { user: 7, balance: 900 })));
}

#[test]
fn damaged_metadata_is_refused_and_leftovers_of_a_cut_are_not() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let path = base.path().join("test/tier.meta");
    let tier = try_open::<u8>(base.path(), config(Some("a"), false), &pools).unwrap();
    tier.put(&1, &1).unwrap();
    tier.close().unwrap();
    let whole = fs::read(&path).unwrap();
    for damaged in [&b""[..], b"mine", &whole[..whole.len() - 1], &[&whole[..], b"x"].concat(), &[0; 5000]] {
        fs::write(&path, damaged).unwrap();
        let refused = try_open::<u8>(base.path(), config(Some("a"), false), &pools).unwrap_err();
        assert!(matches!(&refused, OpenError::Metadata(named) if *named == path), "{refused}");
        assert!(fs::read(&path).unwrap() == damaged);
    }
    fs::write(&path, whole).unwrap();
    fs::write(base.path().join("test/tier.meta.new"), "half").unwrap();
    let refused = try_open::<u8>(base.path(), config(Some("b"), false), &pools).unwrap_err();
    assert!(matches!(&refused, OpenError::Schema { .. }), "{refused}");
    try_open::<u8>(base.path(), config(Some("b"), true), &pools).unwrap().close().unwrap();
    assert!(!base.path().join("test/tier.meta.new").exists());
    assert_eq!(try_open::<u8>(base.path(), config(Some("b"), false), &pools).unwrap().get(&1), Ok(Some(1)));
}
