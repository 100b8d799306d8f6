//! The bytes that the log writes for fixed inputs: records, headers, footers, markers.
//!
//! The bytes follow from the section "Format" of `core/DESIGN.md`. They change with a new version of the format only.

use coldpress_core::codec::CodecId;
use coldpress_core::format::{
    EraseIntent, FooterEntry, FooterWriter, Geometry, Head, Header, Identity, KeyHash, Kind, Location,
    Marker, PIECE_EXPIRES_S, RecordHeader, SegmentIndex, Sequence, Store, Version, piece_prefix, read_record,
};

use crate::golden_stored::hex;

const STORE: Store =
    Store { id: 0x1122_3344_5566_7788, hash_key: *b"0123456789abcdef", partition: 1, partitions: 3 };
const SEQUENCE: u32 = 0x0001_0203;
const ORIGIN: Option<Version> = Some(Version { sequence: Sequence::new(0x0000_0405), offset: 0x60 });
const EXPIRES_S: Option<u32> = Some(0x6566_6768);

/// A device's flash: keys as they are, origins of 4 bytes, units of 4.
fn device() -> Geometry {
    Geometry::new(1024, 20, 4, 0xFF, Identity::KeyBytes).unwrap()
}

/// A service's file: hashed keys, origins of 6 bytes.
fn service() -> Geometry {
    Geometry::new(4096, 24, 1, 0x00, Identity::KeyedHash).unwrap()
}

/// A service's file of large segments: origins of 8 bytes.
fn large() -> Geometry {
    Geometry::new(128 << 10, 14, 1, 0x00, Identity::KeyedHash).unwrap()
}

/// A value that is encoded as it is, without expiry and origin.
fn plain(key: &[u8], value: &[u8]) -> RecordHeader {
    RecordHeader {
        kind: Kind::Value,
        codec: CodecId::Raw,
        key_bytes: key.len() as u32,
        value_bytes: value.len() as u32,
        expires_s: None,
        origin: None,
    }
}

/// The bytes of a record, padding included. Asserts that they read back as the same record.
fn record(geometry: &Geometry, header: RecordHeader, key: &[u8], value: &[u8]) -> String {
    let at = Location { segment: SegmentIndex::new(5), offset: 0x80, sequence: Sequence::new(SEQUENCE) };
    let seed = STORE.seed(geometry);
    let payload = seed.payload(key).then(value);
    let (fields, len) = header.encode(geometry, payload, at);
    assert_eq!(len, header.stored_bytes(geometry) as usize);
    let mut bytes = [&fields[..len], key, value].concat();
    bytes.resize(header.record_bytes(geometry) as usize, geometry.erase_value());
    let read = read_record(geometry, seed, at, &bytes).unwrap();
    assert_eq!((read.header, read.key, read.value), (header, key, value));
    hex(&bytes)
}

#[test]
fn record_of_each_kind_keeps_its_bytes() {
    let (key, value) = (b"key", b"value");
    let freed =
        EraseIntent { segment: SegmentIndex::new(9), sequence: Sequence::new(0x0101), erases: 3 }.to_bytes();
    let head = Head { generation: 2, pieces: 0x0103, bytes: 0x0004_0506 }.to_bytes();
    let piece = [&piece_prefix(2, 0x0102)[..], key].concat();
    let tagged = |kind, key: &[u8], value: &[u8]| RecordHeader { kind, ..plain(key, value) };
    for (geometry, expected) in [(service(), SERVICE_KINDS), (device(), DEVICE_KINDS)] {
        let expires_s = (geometry.identity() == Identity::KeyedHash).then_some(PIECE_EXPIRES_S);
        let found = [
            record(&geometry, plain(key, value), key, value),
            record(&geometry, tagged(Kind::Tombstone, key, b""), key, b""),
            record(&geometry, tagged(Kind::Tombstone, &[7; 12], b""), &[7; 12], b""),
            record(&geometry, tagged(Kind::EraseIntent, b"", &freed), b"", &freed),
            record(&geometry, tagged(Kind::Time, b"", &[1, 2, 3, 4]), b"", &[1, 2, 3, 4]),
            record(&geometry, tagged(Kind::Time, b"", &[8; 8]), b"", &[8; 8]),
            record(&geometry, RecordHeader { codec: CodecId::Chunked, ..plain(key, &head) }, key, &head),
            record(&geometry, RecordHeader { expires_s, ..plain(&piece, value) }, &piece, value),
        ];
        assert_eq!(found, expected);
    }
}

#[test]
fn record_of_each_form_keeps_its_bytes() {
    let (key, value) = (b"key", b"value");
    for (geometry, expected) in [(device(), DEVICE_FORMS), (service(), SERVICE_FORMS), (large(), LARGE_FORMS)]
    {
        let form = |expires_s, origin, codec: CodecId| {
            let header = RecordHeader { expires_s, origin, codec, ..plain(key, value) };
            record(&geometry, header, key, value)
        };
        let found = [
            form(EXPIRES_S, None, CodecId::Raw),
            form(None, ORIGIN, CodecId::Lz4),
            form(EXPIRES_S, ORIGIN, CodecId::Heatshrink),
            form(None, None, CodecId::Zstd),
        ];
        assert_eq!(found, expected);
    }
}

#[test]
fn record_with_long_lengths_keeps_its_bytes() {
    for (geometry, expected) in [(device(), DEVICE_LONG), (service(), SERVICE_LONG), (large(), LARGE_LONG)] {
        let lengths = [(256, 3), (255, 65_536), (65_535, 70_000)];
        let found = lengths.map(|(key_bytes, value_bytes)| {
            let (key, value) = (vec![b'k'; key_bytes], vec![b'v'; value_bytes]);
            let header = RecordHeader { expires_s: EXPIRES_S, origin: ORIGIN, ..plain(&key, &value) };
            let whole = record(&geometry, header, &key, &value);
            // Key, value and padding follow as they are.
            let fields = 2 * header.stored_bytes(&geometry) as usize;
            assert_eq!(whole.len(), 2 * header.record_bytes(&geometry) as usize);
            assert!(whole[fields..].starts_with(&hex(&[&key[..], &value].concat())));
            whole[..fields].to_owned()
        });
        assert_eq!(found, expected);
        let short = plain(&[b'k'; 255], &[b'v'; 65_535]);
        assert_eq!(short.stored_bytes(&geometry), 8);
    }
}

#[test]
fn header_of_both_forms_keeps_its_bytes() {
    let header = Header {
        store: STORE,
        sequence: Sequence::new(SEQUENCE),
        time_s: 0x6553_F100,
        stream: 5,
        record_bytes_max: 0x0000_0190,
    };
    for (geometry, expected) in [(device(), DEVICE_HEADER), (service(), SERVICE_HEADER)] {
        let (bytes, len) = header.encode(&geometry);
        assert_eq!(hex(&bytes[..len]), expected);
        let read = Header::decode(&geometry, &bytes[..len]).unwrap();
        let is_keyed = geometry.identity() == Identity::KeyedHash;
        let (partition, partitions) = if is_keyed { (1, 3) } else { (0, 1) };
        assert_eq!(read, Header { store: Store { partition, partitions, ..STORE }, ..header });
    }
}

#[test]
fn marker_keeps_its_bytes() {
    let marker = Marker { erases: 0x0000_0102, sequence_issued: Sequence::new(SEQUENCE) };
    let bytes = marker.encode();
    assert_eq!(hex(&bytes), MARKER);
    assert_eq!(Marker::decode(&bytes), Some(marker));
}

#[test]
fn footer_and_trailer_keep_their_bytes() {
    let padded = Geometry::new(4096, 24, 32, 0xFF, Identity::KeyedHash).unwrap();
    for (geometry, expected) in
        [(service(), SERVICE_FOOTER), (large(), LARGE_FOOTER), (padded, PADDED_FOOTER)]
    {
        let entry = |kind, offset, expires_s, origin| FooterEntry {
            hash: KeyHash(core::array::from_fn(|at| at as u8)),
            offset,
            kind,
            expires_s,
            origin,
        };
        let entries = [
            entry(Kind::Value, 0x48, None, None),
            entry(Kind::Tombstone, 0x60, None, ORIGIN),
            entry(Kind::Value, 0x80, EXPIRES_S, None),
            entry(Kind::Value, 0xA0, EXPIRES_S, ORIGIN),
            entry(Kind::EraseIntent, 0xC0, None, None),
            entry(Kind::Time, 0x0102, None, None),
        ];
        let (mut writer, mut buffer) = (FooterWriter::new(), [0; 256]);
        for entry in &entries {
            assert!(writer.push(&geometry, &mut buffer, entry));
        }
        let total = writer
            .finish(&geometry, &mut buffer, STORE.seed(&geometry), Sequence::new(SEQUENCE), 0x0120)
            .unwrap();
        assert_eq!(hex(&buffer[..total as usize]), expected);
    }
}

const SERVICE_KINDS: [&str; 8] = [
    "20030500634cacf06b657976616c7565",
    "21030000d3c162056b6579",
    "210c00000c781a71070707070707070707070707",
    "22000c00dd792043090000000101000003000000",
    "230004002a15748401020304",
    "23000800cba443060808080808080808",
    "c0030700e80f23636b657902030106050400",
    "24090500feffffff419e78a6ff63700202016b657976616c7565",
];
const DEVICE_KINDS: [&str; 8] = [
    "20030500634cacf06b657976616c7565",
    "21030000d3c162056b6579ff",
    "210c00000c781a71070707070707070707070707",
    "22000c00dd792043090000000101000003000000",
    "230004002a15748401020304",
    "23000800cba443060808080808080808",
    "c0030700e80f23636b657902030106050400ffff",
    "20090500d67538faff63700202016b657976616c7565ffff",
];
const DEVICE_FORMS: [&str; 4] = [
    "24030500686766654fac711c6b657976616c7565",
    "48030500180504002450f52a6b657976616c7565",
    "6c0305006867666518050400d068ef276b657976616c7565",
    "80030500dd3cb10b6b657976616c7565",
];
const SERVICE_FORMS: [&str; 4] = [
    "24030500686766654fac711c6b657976616c7565",
    "48030500050400006000ad5c85e96b657976616c7565",
    "6c030500686766650504000060006b0faf596b657976616c7565",
    "80030500dd3cb10b6b657976616c7565",
];
const LARGE_FORMS: [&str; 4] = [
    "24030500686766654fac711c6b657976616c7565",
    "480305006000000005040000f38844d06b657976616c7565",
    "6c030500686766656000000005040000317c2aff6b657976616c7565",
    "80030500dd3cb10b6b657976616c7565",
];
const DEVICE_LONG: [&str; 3] = [
    "3c0001030000006867666518050400edc4e3e8",
    "3cff0000000100686766651805040045181fd7",
    "3cffff701101006867666518050400f7a60cf3",
];
const SERVICE_LONG: [&str; 3] = [
    "3c000103000000686766650504000060008192d536",
    "3cff000000010068676665050400006000455919b1",
    "3cffff70110100686766650504000060002c68bc33",
];
const LARGE_LONG: [&str; 3] = [
    "3c000103000000686766656000000005040000268fa413",
    "3cff000000010068676665600000000504000034d8fe03",
    "3cffff70110100686766656000000005040000eaee5ccf",
];
const DEVICE_HEADER: &str = "637002aa000400001400000088776655443322110302010000f153659001000030313233343536373839616263646566\
    c146ba84";
const SERVICE_HEADER: &str = "637002b0001000001800000088776655443322110302010000f153659001000030313233343536373839616263646566\
    01000300cf6d0e6b";
const MARKER: &str = "637045310201000003020100d5119bc1";
const SERVICE_FOOTER: &str = "000102030405060708090a0b48000000000102030405060708090a0b6000005005040000600000010203040506070809\
    0a0b8000008068676665000102030405060708090a0ba00000c068676665050400006000000102030405060708090a0b\
    c0000020000102030405060708090a0b0201003063704631060000007400000020010000020000000302010047cae64e";
const LARGE_FOOTER: &str = "000102030405060708090a0b48000000000102030405060708090a0b6000005060000000050400000001020304050607\
    08090a0b8000008068676665000102030405060708090a0ba00000c06867666560000000050400000001020304050607\
    08090a0bc0000020000102030405060708090a0b02010030637046310600000078000000200100000200000003020100\
    519d0cec";
const PADDED_FOOTER: &str = "000102030405060708090a0b48000000000102030405060708090a0b6000005083020200000102030405060708090a0b\
    8000008068676665000102030405060708090a0ba00000c06867666583020200000102030405060708090a0bc0000020\
    000102030405060708090a0b02010030ffffffffffffffffffffffffffffffff63704631060000007000000020010000\
    0200000003020100a4892753ffffffff";
