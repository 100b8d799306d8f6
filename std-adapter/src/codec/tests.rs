//! The set of codecs against every codec id, with scratch shared between values of all lengths.

use proptest::prelude::*;

use super::*;

fn value() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let piece = (bytes, any::<bool>(), 1usize..200).prop_map(|(mut bytes, is_word, times)| {
        bytes.truncate(if is_word { 5 } else { 200 });
        bytes.repeat(if is_word { times } else { 1 })
    });
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_set_many_values_all_come_back(values in proptest::collection::vec(value(), 1..6)) {
        let mut codecs = CodecSet::new();
        let (mut payload, mut back) = (vec![9; 5], vec![9; 7]);
        for id in CodecId::ALL {
            for value in &values {
                let used = codecs.encode(id, value, &mut payload);
                prop_assert!(used == id || used == CodecId::Raw);
                prop_assert!(payload.len() <= value.len());
                prop_assert_eq!(codecs.decode(used, &payload, value.len(), &mut back), Ok(()));
                prop_assert_eq!(&back, value);
            }
        }
    }

    #[test]
    fn damaged_payload_decoded_is_an_error_or_stays_in_bounds(
        value in value(),
        flips in proptest::collection::vec(any::<u16>(), 1..6),
        cut in 0usize..64,
    ) {
        let mut codecs = CodecSet::new();
        let (mut payload, mut back) = (Vec::new(), Vec::new());
        for id in CodecId::ALL {
            let used = codecs.encode(id, &value, &mut payload);
            let whole = payload.len();
            for flip in &flips {
                if let Some(byte) = payload.get_mut(usize::from(*flip) / 8 % whole.max(1)) {
                    *byte ^= 1 << (flip % 8);
                }
            }
            payload.truncate(whole.saturating_sub(cut));
            let outcome = codecs.decode(used, &payload, 4096, &mut back);
            prop_assert!(back.len() <= 4096);
            prop_assert!(outcome.is_ok() || back.is_empty());
        }
    }
}

#[test]
fn value_over_the_readers_limit_is_refused_and_leaves_nothing() {
    let mut codecs = CodecSet::new();
    let (mut payload, mut back) = (Vec::new(), vec![1]);
    for id in CodecId::ALL {
        let used = codecs.encode(id, &[0; 2000], &mut payload);
        let refused = codecs.decode(used, &payload, 1999, &mut back);
        assert_eq!(refused, Err(CodecError::TooLong { len: 2000, max: 1999 }), "{id}");
        assert!(back.is_empty());
    }
}

#[test]
fn short_and_long_values_in_turn_keep_their_tables() {
    let mut codecs = CodecSet::new();
    let (mut payload, mut back) = (Vec::new(), Vec::new());
    for len in [100, 65_534, 65_535, 200_000, 100, 70_000] {
        let value: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[1]).collect();
        assert_eq!(codecs.encode(CodecId::Lz4, &value, &mut payload), CodecId::Lz4);
        assert_eq!(codecs.decode(CodecId::Lz4, &payload, 1 << 20, &mut back), Ok(()));
        assert!(back == value, "{len}");
    }
}

#[cfg(not(feature = "zstd"))]
#[test]
fn record_of_a_codec_left_out_of_the_build_is_lacking() {
    let mut codecs = CodecSet::new();
    let mut back = Vec::new();
    let outcome = codecs.decode(CodecId::Zstd, &[50, 0, 0, 0, 1, 2, 3], 100, &mut back);
    assert_eq!(outcome, Err(CodecError::Lacking(CodecId::Zstd)));
    assert_eq!(codecs.encode(CodecId::Zstd, &[0; 100], &mut back), CodecId::Raw);
}
