//! The properties of every codec of the core, checked on all of them alike.

extern crate std;

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Runs a check on every codec that this build has.
fn each_codec(mut check: impl FnMut(&mut dyn Codec)) {
    check(&mut Raw);
    #[cfg(feature = "heatshrink")]
    check(&mut Heatshrink);
    #[cfg(feature = "lz4")]
    {
        check(&mut Lz4::new(&mut Lz4Table::short()));
        check(&mut Lz4::new(&mut Lz4Table::long()));
    }
}

/// Compresses with space to spare; `None` without gain.
fn payload(codec: &mut dyn Codec, value: &[u8]) -> Option<Vec<u8>> {
    let mut dst = vec![0xA5; codec.id().dst_len(value.len())];
    match codec.compress(value, &mut dst) {
        Ok(len) => {
            dst.truncate(len);
            Some(dst)
        }
        Err(CodecError::NoGain) => None,
        Err(other) => panic!("{}: {other}", codec.id()),
    }
}

/// Values of short repeated words, single bytes and noise: some compress, some do not.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..80);
    let piece = (bytes, any::<bool>(), 1usize..60).prop_map(|(mut bytes, is_word, times)| {
        bytes.truncate(if is_word { 5 } else { 80 });
        bytes.repeat(if is_word { times } else { 1 })
    });
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_compressed_comes_back(value in value()) {
        each_codec(|codec| {
            let Some(payload) = payload(codec, &value) else { return };
            let id = codec.id();
            assert!(id == CodecId::Raw || payload.len() < value.len());
            assert_eq!(uncompressed_len(id, &payload, value.len()), Ok(value.len()));
            let mut back = vec![0; value.len()];
            assert_eq!(codec.decompress(&payload, &mut back), Ok(value.len()));
            assert_eq!(back, value);
        });
    }

    #[test]
    fn any_payload_cut_short_is_an_error(value in value(), cut in 0usize..1000) {
        each_codec(|codec| {
            let Some(payload) = payload(codec, &value) else { return };
            if codec.id() == CodecId::Raw {
                return;
            }
            let cut = payload.len() * cut / 1000;
            let mut back = vec![0; value.len()];
            assert_eq!(codec.decompress(&payload[..cut], &mut back), Err(CodecError::Damaged(codec.id())));
        });
    }

    #[test]
    fn any_bytes_decompressed_stay_within_the_stated_length(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        stated in 0u32..600,
        spare in 0usize..40,
    ) {
        each_codec(|codec| {
            let mut payload = stated.to_le_bytes().to_vec();
            payload.extend_from_slice(&body);
            let mut dst = vec![0xA5; stated as usize + spare];
            let outcome = codec.decompress(&payload, &mut dst);
            if codec.id() != CodecId::Raw {
                assert!(dst[stated as usize..].iter().all(|byte| *byte == 0xA5));
                assert!(outcome.is_err() || outcome == Ok(stated as usize));
            }
        });
    }

    #[test]
    fn any_payload_with_flipped_bits_never_panics(value in value(), flips in proptest::collection::vec(any::<u16>(), 1..8)) {
        each_codec(|codec| {
            let Some(mut payload) = payload(codec, &value) else { return };
            for flip in &flips {
                if let Some(byte) = payload.get_mut(usize::from(*flip) / 8 % value.len().max(1)) {
                    *byte ^= 1 << (flip % 8);
                }
            }
            let mut dst = vec![0; value.len() + 64];
            let _ = codec.decompress(&payload, &mut dst);
        });
    }

    #[test]
    fn any_destination_too_short_is_refused(value in value(), short in 1usize..2000) {
        each_codec(|codec| {
            let Some(payload) = payload(codec, &value) else { return };
            let mut dst = vec![0; payload.len().saturating_sub(short)];
            if dst.len() < payload.len() {
                let refused = codec.compress(&value, &mut dst);
                assert!(matches!(refused, Err(CodecError::DstTooSmall { .. })), "{}: {refused:?}", codec.id());
            }
            let mut dst = vec![0; value.len().saturating_sub(short)];
            if dst.len() < value.len() {
                let refused = codec.decompress(&payload, &mut dst);
                assert_eq!(refused, Err(CodecError::DstTooSmall { needed: value.len() }), "{}", codec.id());
            }
        });
    }
}

#[test]
fn tags_of_blank_flash_name_no_codec() {
    for tag in 0..=u8::MAX {
        let parsed = CodecId::try_from(tag);
        match tag {
            1..7 => assert_eq!(parsed.map(CodecId::tag), Ok(tag)),
            _ => assert_eq!(parsed, Err(CodecError::Unknown(tag))),
        }
    }
    assert!(CodecId::ALL.iter().all(|id| (1..7).contains(&id.tag())));
}

#[test]
fn prefix_over_a_limit_is_refused_before_anything_is_allocated() {
    let stated = |len: u32| [&len.to_le_bytes()[..], &[0; 10]].concat();
    let max = LEN_MAX;
    let over = LEN_MAX + 1;
    let read = |len: u32, max| uncompressed_len(CodecId::Lz4, &stated(len), max);
    assert_eq!(read(100, 100), Ok(100));
    assert_eq!(read(101, 100), Err(CodecError::TooLong { len: 101, max: 100 }));
    assert_eq!(read(8 << 20, usize::MAX), Ok(LEN_MAX));
    assert_eq!(read((8 << 20) + 1, usize::MAX), Err(CodecError::TooLong { len: over, max }));
    assert_eq!(read(14, 100), Err(CodecError::Damaged(CodecId::Lz4)), "raw would have been no longer");
    assert_eq!(uncompressed_len(CodecId::Zstd, &[1, 0, 0], 9), Err(CodecError::Damaged(CodecId::Zstd)));
    assert_eq!(uncompressed_len(CodecId::Raw, &[0; 3], 2), Err(CodecError::TooLong { len: 3, max: 2 }));
}

#[test]
fn value_over_the_limit_is_not_compressed() {
    let value = vec![0u8; LEN_MAX + 1];
    let mut dst = vec![0; CodecId::Lz4.dst_len(value.len())];
    each_codec(|codec| {
        if codec.id() != CodecId::Raw {
            let len = value.len();
            assert_eq!(codec.compress(&value, &mut dst), Err(CodecError::TooLong { len, max: LEN_MAX }));
        }
    });
}

#[cfg(feature = "lz4")]
#[test]
fn longest_value_of_one_byte_round_trips() {
    // The longest run that a payload can spell: the sum of length bytes comes nearest its limit.
    let value = vec![7u8; LEN_MAX];
    let mut table = Lz4Table::long();
    let mut lz4 = Lz4::new(&mut table);
    let payload = payload(&mut lz4, &value).expect("gains");
    let mut back = vec![0; LEN_MAX];
    assert_eq!(lz4.decompress(&payload, &mut back), Ok(LEN_MAX));
    assert!(back == value);
}
