use super::*;
use crate::format::Identity;

extern crate std;
use std::vec::Vec;

fn geometry(unit: u32) -> Geometry {
    Geometry::new(1 << 20, 16, unit, 0xFF, Identity::KeyedHash).unwrap()
}

fn header(key: u32, value: u32) -> RecordHeader {
    RecordHeader {
        kind: Kind::Value,
        codec: CodecId::Raw,
        key_bytes: key,
        value_bytes: value,
        expires_s: None,
        origin: None,
    }
}

const SEED: Seed = Seed::of(Checksum::resume(0x9E37_79B9));

const fn at(sequence: u32) -> Location {
    Location { segment: SegmentIndex::new(1), offset: 64, sequence: Sequence::new(sequence) }
}

fn stored(g: &Geometry, header: &RecordHeader, sequence: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    let (bytes, len) = header.encode(g, SEED.payload(key).then(value), at(sequence));
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
                    let origin = origin.map(|s| Version { sequence: Sequence::new(s), offset: 64 });
                    let h = RecordHeader { expires_s, origin, ..header(key_len, value_len) };
                    let key: Vec<u8> = (0..key_len).map(|i| i as u8).collect();
                    let value: Vec<u8> = (0..value_len).map(|i| (i / 3) as u8).collect();
                    let bytes = stored(&g, &h, 42, &key, &value);
                    assert_eq!(g.padded(bytes.len() as u32), h.record_bytes(&g));
                    let read = read_record(&g, SEED, at(42), &bytes).unwrap();
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
        assert!(read_record(&g, SEED, at(7), &bad).is_err(), "bit {bit}");
    }
    for cut in 0..bytes.len() {
        assert!(read_record(&g, SEED, at(7), &bytes[..cut]).is_err(), "cut {cut}");
    }
}

#[test]
fn record_with_a_flipped_tag_or_length_tells_its_length() {
    let g = geometry(4);
    for (key_len, value_len) in [(4, 0), (3, 90), (300, 70)] {
        for (expires_s, origin) in
            [(None, None), (Some(7), Some(Version { sequence: Sequence::new(9), offset: 64 }))]
        {
            let h = RecordHeader { expires_s, origin, ..header(key_len, value_len) };
            let key: Vec<u8> = (0..key_len).map(|i| i as u8).collect();
            let value: Vec<u8> = (0..value_len).map(|i| (i * 7) as u8).collect();
            let mut bytes = stored(&g, &h, 42, &key, &value);
            let last = bytes.len() - 1;
            // The bytes behind it do not matter.
            bytes.extend([0x21; 70_000]);
            let lengths = |bytes: &[u8]| -> Vec<u32> {
                (0..LENGTH_BITS)
                    .filter_map(|bit| mended_bytes(&g, SEED, at(42), bytes, bit, u32::MAX).0)
                    .collect()
            };
            assert_eq!(lengths(&bytes), [], "whole");
            let tag_and_lengths = if key_len > 255 { 7 } else { 4 };
            for bit in 0..tag_and_lengths * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(lengths(&bad), [h.record_bytes(&g)], "bit {bit}");
                let (mended, checked) = mended_length(&g, SEED, at(42), &bad, u32::MAX);
                assert_eq!(mended, Some(h.record_bytes(&g)));
                assert!(checked >= u64::from(h.payload_bytes()));
                let none = mended_length(&g, SEED, at(42), &bad, h.record_bytes(&g) - 1).0;
                assert_eq!(none, None, "longer than any record");
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
    assert!(read_record(&g, SEED, at(7), &bytes).is_ok());
    assert_eq!(read_record(&g, SEED, at(8), &bytes), Err(RecordError::Mismatch(10)));
}

#[test]
fn record_of_another_store_or_place_does_not_validate() {
    let g = geometry(1);
    let bytes = stored(&g, &header(1, 1), 7, b"k", b"v");
    let other = Seed::of(Checksum::resume(1));
    assert_eq!(read_record(&g, other, at(7), &bytes), Err(RecordError::Mismatch(10)));
    let elsewhere = Location { offset: 65, ..at(7) };
    assert_eq!(read_record(&g, SEED, elsewhere, &bytes), Err(RecordError::Mismatch(10)));
}

/// A client may have chosen the bytes of a torn record. A checksum without a secret accepts the length that the client wants,
/// for any sequence; this one does not.
#[test]
fn shorter_length_that_a_client_chose_is_not_believed() {
    let old = geometry(1).in_format(Format::One);
    // The stored length is 0x140; with one bit turned it is 0x40. The last four bytes make the checksums meet.
    let mut value: Vec<u8> = (0..0x140).map(|i| i as u8).collect();
    let (long, short) = (header(1, 0x140), header(1, 0x40));
    let sums = |g: &Geometry, seed: Seed, value: &[u8]| {
        let sum = |h: &RecordHeader, value: &[u8]| {
            let (bytes, len) = h.encode(g, seed.payload(b"k").then(value), at(7));
            u32::from_le_bytes(*bytes[..len].last_chunk().unwrap())
        };
        sum(&long, value) ^ sum(&short, &value[..0x40])
    };
    // The difference is linear in those four bytes: one bit after the other shows what each changes.
    let forge = |g: &Geometry, seed: Seed, value: &mut [u8]| {
        let word = |value: &mut [u8], bits: u32| value[0x13C..0x140].copy_from_slice(&bits.to_le_bytes());
        word(value, 0);
        let target = sums(g, seed, value);
        let mut rows: Vec<(u32, u32)> = (0..32)
            .map(|bit| {
                word(value, 1 << bit);
                (sums(g, seed, value) ^ target, 1 << bit)
            })
            .collect();
        let (mut rest, mut bits) = (target, 0);
        for pivot in (0..32).rev() {
            let Some(found) = rows.iter().position(|(sum, _)| sum >> pivot == 1) else { continue };
            let (sum, word) = rows.swap_remove(found);
            for row in rows.iter_mut().filter(|row| row.0 >> pivot & 1 == 1) {
                *row = (row.0 ^ sum, row.1 ^ word);
            }
            if rest >> pivot & 1 == 1 {
                (rest, bits) = (rest ^ sum, bits ^ word);
            }
        }
        word(value, bits);
        rest
    };
    assert_eq!(forge(&old, Seed::NONE, &mut value), 0, "such bytes exist");
    for sequence in [7, 8, 1_000_000] {
        let (bytes, len) = long.encode(&old, Checksum::of(b"k").then(&value), at(sequence));
        let mut torn = [&bytes[..len], b"k", &value].concat();
        torn[0x40 + len + 1..].fill(0);
        let believed = mended_length(&old, Seed::NONE, at(sequence), &torn, u32::MAX).0;
        assert_eq!(believed, Some(short.record_bytes(&old)), "without a secret, sequence {sequence}");
    }
    // The client knows the format, and not the secret.
    let new = geometry(1);
    forge(&new, Seed::of(Checksum::resume(0)), &mut value);
    for sequence in 0..1000 {
        let (bytes, len) = long.encode(&new, SEED.payload(b"k").then(&value), at(sequence));
        let mut torn = [&bytes[..len], b"k", &value].concat();
        torn[0x40 + len + 1..].fill(0);
        assert_eq!(mended_length(&new, SEED, at(sequence), &torn, u32::MAX).0, None, "sequence {sequence}");
    }
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
    let intent = EraseIntent { segment: SegmentIndex::new(3), sequence: Sequence::new(77), erases: 12 };
    assert_eq!(EraseIntent::from_bytes(&intent.to_bytes()), Some(intent));
    assert_eq!(EraseIntent::from_bytes(&intent.to_bytes()[..11]), None);
}

#[test]
fn member_of_a_batch_reads_as_raw_with_its_mark() {
    let (g, key, value) = (geometry(4), b"key", b"value");
    for kind in [Kind::Value, Kind::Tombstone] {
        for expires_s in [None, Some(7)] {
            let h = RecordHeader { kind, expires_s, ..header(3, 5) };
            let (bytes, len) = h.encode_member(&g, SEED.payload(key).then(value), at(42));
            let bytes = [&bytes[..len], key, value].concat();
            let read = read_record(&g, SEED, at(42), &bytes).unwrap();
            assert_eq!((read.header, read.value, read.is_member), (h, &value[..], true));
            assert!(!read_record(&g, SEED, at(42), &stored(&g, &h, 42, key, value)).unwrap().is_member);
        }
    }
}

#[test]
fn mark_of_a_member_without_a_key_is_refused() {
    for tag in 0xE0..=0xFF_u8 {
        let blank_at_zero = Geometry::new(1 << 20, 16, 4, 0, Identity::KeyBytes).unwrap();
        let decoded = RecordHeader::decode(&blank_at_zero, &[&[tag][..], &[1; 32]].concat());
        let is_keyed = matches!(tag & 3, 0 | 1);
        assert_eq!(decoded.is_ok(), is_keyed, "{tag:#04x}");
        assert!(is_keyed || decoded == Err(RecordError::Malformed));
    }
}
