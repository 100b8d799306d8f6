//! Bad input: each kind is a clear typed error that says the limit, and nothing is lost or half done.

use coldpress_std::{BatchError, ColdTier, GetError, OpenError, PersistentColdTier, PutError, RemoveError};

use crate::common::{open, pools, small};

#[test]
fn keys_and_values_over_their_limits_are_refused_with_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let (key_max, value_max) = (config.key_bytes_max(), config.value_bytes_max());
    let tier = open(dir.path(), &config, &pools);
    let long_key = vec![1; key_max as usize + 1];
    let bytes = long_key.len();
    assert_eq!(tier.put(&long_key, b"v"), Err(PutError::KeyTooLong { bytes, max: key_max }));
    assert_eq!(tier.get(&long_key), Err(GetError::KeyTooLong { bytes, max: key_max }));
    assert_eq!(tier.contains(&long_key), Err(GetError::KeyTooLong { bytes, max: key_max }));
    assert_eq!(tier.remove(&long_key), Err(RemoveError::KeyTooLong { bytes, max: key_max }));
    let long_value = vec![1; value_max as usize + 1];
    let refused = tier.put(b"k", &long_value);
    assert_eq!(refused, Err(PutError::ValueTooLong { bytes: long_value.len(), max: value_max }));
    tier.flush().unwrap();
    let stats = tier.stats();
    assert_eq!((tier.len().unwrap(), stats.charged_bytes, stats.pending_bytes), (0, 0, 0));
    assert_eq!((stats.puts, stats.bytes_put, stats.fresh_bytes), (0, 0, 0), "{stats:?}");
    let wide = small().capacity_bytes(1 << 30).segment_bytes(4 << 20).build().unwrap();
    assert_eq!(wide.key_bytes_max(), 65_535);
}

#[test]
fn batch_with_a_bad_pair_tells_which() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let long = vec![0; config.value_bytes_max() as usize + 1];
    let refused = tier.put_batch(&[(&b"a"[..], &b"1"[..]), (b"b", &long), (b"c", b"3")], Default::default());
    let refused = refused.unwrap_err();
    assert_eq!(refused.index, 1);
    assert!(matches!(refused.error, PutError::ValueTooLong { .. }));
    assert!(tier.contains(b"a").unwrap() && !tier.contains(b"b").unwrap() && !tier.contains(b"c").unwrap());
    let refused = tier.get_batch(&[&b"a"[..], &[0; 70_000]]).unwrap_err();
    assert!(matches!(refused, BatchError { index: 1, error: GetError::KeyTooLong { .. } }), "{refused}");
}

#[test]
fn cache_ids_that_lead_elsewhere_make_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    for id in ["", "..", "../up", "a/b", "/abs", ".hidden", "nul\0", "sp ace", &"x".repeat(65)] {
        let refused = ColdTier::open(dir.path(), id, small().build().unwrap(), pools.clone());
        assert!(matches!(refused, Err(OpenError::CacheId)), "{id:?}");
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn typed_tier_without_a_base_directory_is_refused() {
    let (_manager, pools) = pools();
    let refused = PersistentColdTier::<u8, u8>::new(small().build().unwrap(), "a", pools);
    assert!(matches!(refused, Err(OpenError::NoBaseDir)));
}

#[test]
fn value_that_can_not_be_encoded_is_refused() {
    struct Stubborn;
    impl serde::Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().base_dir(dir.path()).build().unwrap();
    let tier = PersistentColdTier::<u8, Stubborn>::new(config, "a", pools).unwrap();
    assert_eq!(tier.put(&1, &Stubborn), Err(PutError::Encode));
    assert_eq!(tier.put_batch(&[(1, Stubborn)], Default::default()).unwrap_err().error, PutError::Encode);
    assert!(tier.is_empty().unwrap());
}

#[test]
fn every_error_names_its_subject() {
    let texts = [
        PutError::KeyTooLong { bytes: 70_000, max: 65_535 }.to_string(),
        PutError::Full { needed: 5000, available: 10 }.to_string(),
        OpenError::Geometry { expected_bytes: 1024, found_bytes: 2048 }.to_string(),
        OpenError::Partitions { expected: 2, found: 3 }.to_string(),
    ];
    for (text, number) in texts.iter().zip(["65535", "5000", "2048", "3"]) {
        assert!(text.contains(number), "{text}");
    }
}
