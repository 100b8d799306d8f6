use super::*;
use crate::log::Identity;

extern crate std;
use std::vec::Vec;

fn geometry(unit: u32) -> Geometry {
    Geometry::new(1 << 20, 16, unit, 0xFF, Identity::KeyedHash).unwrap()
}

fn header(key: u32, value: u32) -> RecordHeader {
    RecordHeader {
        kind: Kind::Value,
        codec: 1,
        key_bytes: key,
        value_bytes: value,
        expires_s: None,
        origin: None,
    }
}

fn stored(g: &Geometry, header: &RecordHeader, sequence: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    let (bytes, len) = header.encode(g, Checksum::of(key).then(value), sequence);
    [&bytes[..len], key, value].concat()
}

#[test]
fn fresh_small_record_costs_eight_bytes() {
    assert_eq!(header(4, 64).record_bytes(&geometry(1)), 4 + 64 + 8);
}

#[test]
fn every_form_round_trips() {
    for unit in [1, 4, 32] {
        let g = geometry(unit);
        for key_len in [0, 1, 255, 256, 1000] {
            for value_len in [0, 1, 100, 65_535, 65_536] {
                for (expires_s, origin) in
                    [(None, None), (Some(7), None), (None, Some(9)), (Some(u32::MAX), Some(u32::MAX))]
                {
                    let origin = origin.map(|s| Version { sequence: s, offset: 64 });
                    let h = RecordHeader { expires_s, origin, ..header(key_len, value_len) };
                    let key: Vec<u8> = (0..key_len).map(|i| i as u8).collect();
                    let value: Vec<u8> = (0..value_len).map(|i| (i / 3) as u8).collect();
                    let bytes = stored(&g, &h, 42, &key, &value);
                    assert_eq!(g.padded(bytes.len() as u32), h.record_bytes(&g));
                    let read = read_record(&g, 42, &bytes).unwrap();
                    assert_eq!((read.header, read.key, read.value), (h, &key[..], &value[..]));
                }
            }
        }
    }
}

/// I-LOG-2: a record is whole or invisible, whichever bit flips and wherever it is cut.
#[test]
fn any_flipped_bit_or_cut_hides_the_record() {
    let g = geometry(1);
    let h = RecordHeader { expires_s: Some(5), ..header(3, 9) };
    let bytes = stored(&g, &h, 7, b"key", b"some-text");
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(read_record(&g, 7, &bad).is_err(), "bit {bit}");
    }
    for cut in 0..bytes.len() {
        assert!(read_record(&g, 7, &bytes[..cut]).is_err(), "cut {cut}");
    }
}

#[test]
fn record_whose_tag_or_length_lost_a_bit_tells_its_length_and_a_torn_one_none() {
    let g = geometry(4);
    for (key_len, value_len) in [(4, 0), (3, 90), (300, 70)] {
        for (expires_s, origin) in [(None, None), (Some(7), Some(Version { sequence: 9, offset: 64 }))] {
            let h = RecordHeader { expires_s, origin, ..header(key_len, value_len) };
            let key: Vec<u8> = (0..key_len).map(|i| i as u8).collect();
            let value: Vec<u8> = (0..value_len).map(|i| (i * 7) as u8).collect();
            let mut bytes = stored(&g, &h, 42, &key, &value);
            let last = bytes.len() - 1;
            // What lies behind it does not matter.
            bytes.extend([0x21; 70_000]);
            let lengths = |bytes: &[u8]| -> Vec<u32> {
                (0..LENGTH_BITS).filter_map(|bit| mended_bytes(&g, 42, bytes, bit)).collect()
            };
            assert_eq!(lengths(&bytes), [], "whole");
            let tag_and_lengths = if key_len > 255 { 7 } else { 4 };
            for bit in 0..tag_and_lengths * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(lengths(&bad), [h.record_bytes(&g)], "bit {bit}");
                assert_eq!(mended_length(&g, 42, &bad), Some(h.record_bytes(&g)));
                bad[last] ^= 4;
                assert_eq!(lengths(&bad), [], "bit {bit} and another one");
            }
            assert_eq!(lengths(&stored(&g, &h, 41, &key, &value)), [], "an earlier life");
        }
    }
}

#[test]
fn earlier_life_of_the_segment_does_not_validate() {
    let g = geometry(1);
    let bytes = stored(&g, &header(1, 1), 7, b"k", b"v");
    assert!(read_record(&g, 7, &bytes).is_ok());
    assert_eq!(read_record(&g, 8, &bytes), Err(RecordError::Mismatch(10)));
}

#[test]
fn erased_bytes_are_blank_and_never_a_tag() {
    for erase in [0x00, 0xFF] {
        let g = Geometry::new(1 << 20, 16, 1, erase, Identity::KeyedHash).unwrap();
        assert_eq!(RecordHeader::decode(&g, &[erase; 32]).unwrap_err(), RecordError::Blank);
        assert_eq!(RecordHeader::decode(&g, &[!erase; 32]).unwrap_err(), RecordError::Malformed);
    }
}

#[test]
fn freed_round_trips() {
    let freed = Freed { segment: 3, sequence: 77, erases: 12 };
    assert_eq!(Freed::from_bytes(&freed.to_bytes()), Some(freed));
    assert_eq!(Freed::from_bytes(&freed.to_bytes()[..11]), None);
}
