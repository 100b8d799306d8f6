//! Bytes that someone made to harm: no reader panics, none works for longer than its stated bound, and none reads a value that
//! was never written.
//!
//! Each case follows from its seed. `COLDPRESS_HOSTILE=FROM..TO cargo test --release -p coldpress-tests --test suite hostile_images` tries
//! others, as many as there is time for.

use std::collections::BTreeMap;

use coldpress_core::codec::CodecId;
use coldpress_core::drive::Now;
use coldpress_core::format::{
    EraseIntent, FooterEntries, Geometry, Header, Identity, Kind, Location, Marker, Record, RecordHeader,
    SegmentIndex, Sequence, Store, Trailer, Version, mended_length, read_record,
};
use coldpress_core::recovery::{MountReport, SEARCH_TIMES_MAX};
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, buckets_for};
use coldpress_std::image::{Damage, Image, build};
use coldpress_tests::flash::Flash;

const NOW_S: u32 = 1_700_000_000;
const KEYS: u32 = 24;
/// Cases of an ordinary run, of which each takes some milliseconds.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 40_000 };

fn seeds() -> core::ops::Range<u64> {
    let Ok(range) = std::env::var("COLDPRESS_HOSTILE") else { return 0..SEEDS };
    let (from, to) = range.split_once("..").unwrap_or_else(|| panic!("COLDPRESS_HOSTILE is FROM..TO"));
    from.parse().unwrap()..to.parse().unwrap()
}

struct Rng(u64);

impl Rng {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.word() % most.max(1) as u64) as usize
    }
}

fn shapes() -> [Geometry; 4] {
    [
        Geometry::new(512, 16, 4, 0xFF, Identity::KeyBytes).unwrap(),
        Geometry::new(1024, 14, 1, 0x00, Identity::KeyBytes).unwrap(),
        Geometry::new(1024, 16, 1, 0x00, Identity::KeyedHash).unwrap(),
        Geometry::new(2048, 14, 8, 0xFF, Identity::KeyedHash).unwrap(),
    ]
}

const STORE: Store = Store { id: 7, hash_key: *b"known to nobody!", partition: 0, partitions: 1 };
/// The store as a client knows it: only its number.
const GUESSED: Store = Store { hash_key: [0; 16], ..STORE };

/// Every value that a key ever had.
type Written = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// A record that a client makes up for a place in a segment.
fn planted(geometry: &Geometry, rng: &mut Rng, at: Location) -> Vec<u8> {
    let key = format!("key {}", rng.below(KEYS as usize));
    let freed = EraseIntent {
        segment: SegmentIndex::new(rng.below(16) as u32),
        sequence: Sequence::new(rng.below(40) as u32),
        erases: 0,
    };
    let (kind, key, value) = match rng.below(3) {
        0 => (Kind::EraseIntent, Vec::new(), freed.to_bytes().to_vec()),
        1 => (Kind::Tombstone, key.into_bytes(), Vec::new()),
        _ => (Kind::Value, key.into_bytes(), b"planted".to_vec()),
    };
    let origin = (rng.below(4) == 0).then_some(Version { sequence: Sequence::new(u32::MAX), offset: 0 });
    let header = RecordHeader {
        kind,
        codec: CodecId::Raw,
        key_bytes: key.len() as u32,
        value_bytes: value.len() as u32,
        expires_s: None,
        origin,
    };
    let payload = GUESSED.seed(geometry).payload(&key).then(&value);
    let (bytes, len) = header.encode(geometry, payload, at);
    let mut record = [&bytes[..len], &key, &value].concat();
    record.resize(header.record_bytes(geometry) as usize, geometry.erase_value());
    record
}

/// An image with values that a client filled with forged records.
fn built(geometry: Geometry, rng: &mut Rng) -> (Vec<u8>, Written) {
    let mut written = Written::new();
    let mut puts = Vec::new();
    for _ in 0..60 + rng.below(60) {
        let key = format!("key {}", rng.below(KEYS as usize)).into_bytes();
        let mut value = vec![rng.word() as u8; rng.below(70)];
        if rng.below(3) == 0 {
            let at = Location {
                segment: SegmentIndex::new(0),
                offset: rng.below(400) as u32,
                sequence: Sequence::new(rng.below(30) as u32),
            };
            value = planted(&geometry, rng, at);
        }
        written.entry(key.clone()).or_default().push(value.clone());
        puts.push((key, value));
    }
    let bytes = build(geometry, STORE, NOW_S, |image| {
        for (nth, (key, value)) in puts.iter().enumerate() {
            let codec = if nth % 2 == 0 { CodecId::Raw } else { CodecId::Lz4 };
            image.put(key, value, codec, None)?;
            if nth % 11 == 10 {
                image.remove(key)?;
            }
        }
        Ok::<_, coldpress_std::image::BuildError>(())
    });
    (bytes.unwrap(), written)
}

/// Changes an image as chance, a cut or an attacker without the secret would.
fn harm(geometry: &Geometry, rng: &mut Rng, bytes: &mut [u8]) {
    for _ in 0..1 + rng.below(6) {
        let at = rng.below(bytes.len());
        let most = [4, 64, 600][rng.below(3)];
        let len = 1 + rng.below(most).min(bytes.len() - at - 1);
        let range = at..at + len;
        match rng.below(7) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[range].fill(rng.word() as u8),
            2 => bytes[range].fill(geometry.erase_value()),
            3 => bytes[range].iter_mut().for_each(|byte| *byte = rng.word() as u8),
            4 => {
                let from = rng.below(bytes.len() - len);
                bytes.copy_within(from..from + len, at);
            }
            5 => {
                let segment = at as u32 / geometry.segment_bytes();
                let offset = at as u32 % geometry.segment_bytes();
                let sequence = rng.below(30) as u32;
                let record = planted(
                    geometry,
                    rng,
                    Location {
                        segment: SegmentIndex::new(segment),
                        offset,
                        sequence: Sequence::new(sequence),
                    },
                );
                let len = record.len().min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&record[..len]);
            }
            // The same byte from a random place to the end of its segment: so any header that it makes is everywhere.
            _ => {
                let end = (at / geometry.segment_bytes() as usize + 1) * geometry.segment_bytes() as usize;
                let byte = rng.word() as u8;
                bytes[at..end.min(at + 900)].fill(byte);
            }
        }
    }
}

fn check_bound(report: &MountReport, geometry: &Geometry, seed: u64) {
    let medium = geometry.medium_bytes();
    let searched_max = 2 * (SEARCH_TIMES_MAX + 1) * medium;
    assert!(report.searched_bytes <= searched_max, "seed {seed}: {report:?}");
    assert!(report.scanned_bytes <= 8 * medium + searched_max, "seed {seed}: {report:?}");
}

#[test]
fn harmed_images_yield_only_written_values() {
    let shapes = shapes();
    let mut mounted = 0;
    for seed in seeds() {
        let rng = &mut Rng(seed);
        let geometry = shapes[rng.below(shapes.len())];
        let (mut bytes, written) = built(geometry, rng);
        harm(&geometry, rng, &mut bytes);
        let Ok(image) = Image::read_from(bytes) else { continue };
        mounted += 1;
        check_bound(&image.mount_report(), &geometry, seed);
        for segment in 0..geometry.segment_count() {
            for record in image.examine(segment).unwrap().records.iter().filter(|r| r.kind == Kind::Value) {
                let value = record.value().unwrap();
                let values = written.get(&record.key);
                assert!(values.is_some_and(|values| values.contains(&value)), "seed {seed}: {record:?}");
            }
        }
        for key in 0..KEYS {
            let key = format!("key {key}").into_bytes();
            if let Ok(Some(value)) = image.get(&key, NOW_S) {
                assert!(written[&key].contains(&value), "seed {seed}: {value:?}");
            }
        }
    }
    assert!(mounted as u64 * 2 > seeds().end - seeds().start, "half of them are still images: {mounted}");
}

#[test]
fn harmed_flash_yields_only_written_values() {
    type Memory = FlashMemory<16, { buckets_for(60) }, 128>;
    let geometry = shapes()[0];
    for seed in seeds() {
        let rng = &mut Rng(seed ^ 0xF1A5);
        let (mut bytes, written) = built(geometry, rng);
        harm(&geometry, rng, &mut bytes);
        let mut memory = Memory::new();
        let medium = NorMedium::new(Flash::<4, 512>::with_bytes(&bytes, 0xFF));
        let mut tier = FlashTier::new(FlashConfig::new(512, 7), &mut memory, medium).unwrap();
        let now = Now { monotonic_ms: 0, wall_s: NOW_S };
        let Ok(report) = tier.mount(now) else { continue };
        check_bound(&report, &geometry, seed);
        let mut out = [0; 128];
        for key in 0..KEYS {
            let key = format!("key {key}").into_bytes();
            if let Ok(Some(value)) = tier.get(now, &key, &mut out) {
                assert!(written[&key].iter().any(|one| one == value), "seed {seed}: {value:?}");
            }
        }
        for _ in 0..40 {
            let _ = tier.poll(now, 8);
        }
        let _ = tier.put(now, b"key 1", b"after");
    }
}

#[test]
fn readers_of_single_structures_take_any_bytes() {
    let shapes = shapes();
    for seed in seeds() {
        let rng = &mut Rng(seed ^ 0xDEC0DE);
        let geometry = shapes[rng.below(shapes.len())];
        let mut bytes: Vec<u8> = (0..rng.below(200)).map(|_| rng.word() as u8).collect();
        if rng.below(2) == 0 {
            let at = Location { segment: SegmentIndex::new(0), offset: 64, sequence: Sequence::new(3) };
            bytes = [planted(&geometry, rng, at), bytes].concat();
        }
        let at = Location { segment: SegmentIndex::new(0), offset: 64, sequence: Sequence::new(3) };
        let secret = STORE.seed(&geometry);
        assert_eq!(read_record(&geometry, secret, at, &bytes).ok(), None::<Record<'_>>, "seed {seed}");
        assert_eq!(mended_length(&geometry, secret, at, &bytes, 4_096).0, None, "seed {seed}");
        let mut entries = FooterEntries::new(geometry, &bytes);
        while entries.next_entry().is_ok() {}
        assert!(entries.position() <= bytes.len());
        // A header that was read has the same bytes once it is written again.
        if let Ok((header, len, _)) = RecordHeader::decode(&geometry, &bytes) {
            let (again, again_len) = header.encode(&geometry, secret.begin(), at);
            if again_len == len {
                // A header does not keep the mark of a member of a batch: it is that of a raw record then.
                let tag =
                    if bytes[0] >> 5 == 7 { bytes[0] & 0x1F | CodecId::Raw.tag() << 5 } else { bytes[0] };
                let same = [&[tag], &bytes[1..len - 4]].concat();
                assert_eq!(&again[..len - 4], &same, "seed {seed}");
            }
        }
        let magic: [&[u8]; 3] = [b"cp\x02", b"cpE1", b"cpF1"];
        let framed = [magic[rng.below(3)], &bytes].concat();
        for bytes in [&bytes, &framed] {
            assert!(Header::probe(bytes).is_err(), "seed {seed}");
            assert!(Marker::decode(bytes).is_none(), "seed {seed}");
            if let Ok(trailer) = Trailer::decode(&geometry, Sequence::new(rng.below(4) as u32), bytes) {
                assert!(trailer.records_end <= trailer.entries_at(&geometry), "seed {seed}");
            }
        }
    }
}

/// A value holds a forged record, and the record that carries the value is damaged: the search behind it looks at each unit.
/// With the secret the planted record is believed, which shows that the search comes there; without it is not.
#[test]
fn record_planted_in_a_value_is_believed_only_with_the_secret() {
    let geometry = shapes()[0];
    let built = |value: &[u8]| {
        build(geometry, STORE, NOW_S, |image| {
            image.put(b"user", b"alice", CodecId::Raw, None)?;
            image.put(b"note", value, CodecId::Raw, None)?;
            image.put(b"last", b"1", CodecId::Raw, None)
        })
        .unwrap()
    };
    let plain = Image::read_from(built(&[0x55; 60])).unwrap();
    let records = (0..geometry.segment_count()).flat_map(|at| plain.examine(at).unwrap().records);
    let note = records.into_iter().find(|record| record.key == b"note").unwrap().location;
    // A header with an origin, and the key.
    let value_at = note.offset + 8 + geometry.origin_bytes() + 4;
    let place = Location { offset: value_at.next_multiple_of(geometry.write_unit()) + 8, ..note };
    let header = RecordHeader {
        kind: Kind::Value,
        codec: CodecId::Raw,
        key_bytes: 4,
        value_bytes: 7,
        expires_s: None,
        origin: Some(Version { sequence: note.sequence, offset: geometry.segment_bytes() - 4 }),
    };
    for (store, user) in [(STORE, &b"mallory"[..]), (GUESSED, b"alice")] {
        let payload = store.seed(&geometry).payload(b"usermallory");
        let (bytes, len) = header.encode(&geometry, payload, place);
        let record = [&bytes[..len], b"usermallory"].concat();
        let mut value = [0x55; 60];
        value[(place.offset - value_at) as usize..][..record.len()].copy_from_slice(&record);
        let mut image = built(&value);
        // Damages the tag and the lengths of the record that carries it: no single bit can mend these.
        let at = (note.segment.get() * geometry.segment_bytes() + note.offset) as usize;
        image[at..at + 4].fill(0xE0);
        let host = Image::read_from(image.clone()).unwrap();
        assert_eq!(host.get(b"user", NOW_S).unwrap().as_deref(), Some(user));
        assert_eq!(host.get(b"last", NOW_S).unwrap().as_deref(), Some(&b"1"[..]));
        let mut memory = FlashMemory::<16, { buckets_for(60) }, 128>::new();
        let medium = NorMedium::new(Flash::<4, 512>::with_bytes(&image, 0xFF));
        let mut tier = FlashTier::new(FlashConfig::new(512, 7), &mut memory, medium).unwrap();
        let now = Now { monotonic_ms: 0, wall_s: NOW_S };
        tier.mount(now).unwrap();
        assert_eq!(tier.get(now, b"user", &mut [0; 16]).unwrap(), Some(user));
    }
}

/// A segment in which every byte is the same, or begins a record of the longest kind, is given up at the bound. It is not
/// reported as sound.
#[test]
fn segment_made_to_take_for_ever_is_given_up_and_reported() {
    let geometry = Geometry::new(1 << 16, 14, 1, 0xFF, Identity::KeyBytes).unwrap();
    let bytes = build(geometry, STORE, NOW_S, |image| image.put(b"k", b"v", CodecId::Raw, None)).unwrap();
    let sound = Image::read_from(bytes.clone()).unwrap();
    let record = sound.examine(0).unwrap().records.last().unwrap().clone();
    let first = (record.location.offset + record.record_bytes) as usize;
    let base = geometry.segment_bytes() as usize * record.location.segment.get() as usize;
    let end = base + geometry.trailer_at() as usize;
    // The byte 0x31 repeated is a header of a long value: a key of 0x31 bytes and 0x3131 bytes of value.
    for byte in (0..=0xFE_u8).filter(|byte| !matches!(byte >> 5, 0 | 7)).step_by(5) {
        let mut hostile = bytes.clone();
        hostile[base + first..end].fill(byte);
        let image = Image::read_from(hostile).unwrap();
        check_bound(&image.mount_report(), &geometry, u64::from(byte));
        let contents = image.examine(record.location.segment.get()).unwrap();
        let is_unsearched = contents.damage.iter().any(|damage| matches!(damage, Damage::Unsearched { .. }));
        let given_up = image.mount_report().unsearched_segments;
        assert_eq!(is_unsearched, given_up > 0, "{byte:#x}: {:?}", image.mount_report());
        if !is_unsearched {
            assert!(contents.torn_bytes > 0, "{byte:#x}: the report has bytes there");
        }
    }
    let mut hostile = bytes.clone();
    // A tag, a key of no bytes, a value as long as a record may be.
    let longest = sound.mount_report().record_bytes_max - 16;
    let header = [0x20, 0, longest as u8, (longest >> 8) as u8];
    hostile[base + first..end].chunks_mut(4).for_each(|chunk| chunk.copy_from_slice(&header[..chunk.len()]));
    let image = Image::read_from(hostile).unwrap();
    check_bound(&image.mount_report(), &geometry, 0);
    assert_eq!(image.mount_report().unsearched_segments, 1);
    assert!(image.get(b"k", NOW_S).unwrap().is_some(), "what lies before it is read");
}

/// A record with the highest possible version does not use up the sequences. The header of the segment that the version names
/// may be gone, but not the headers of so many later ones.
#[test]
fn version_beyond_all_segments_leaves_the_sequences() {
    let geometry = shapes()[0];
    let bytes = build(geometry, STORE, NOW_S, |image| image.put(b"fill", &[0x55; 15], CodecId::Raw, None));
    let mut bytes: Vec<u8> = bytes.unwrap();
    let image = Image::read_from(bytes.clone()).unwrap();
    let records = (0..geometry.segment_count()).flat_map(|at| image.examine(at).unwrap().records);
    let place = records.into_iter().find(|record| record.key == b"fill").unwrap().location;
    let header = RecordHeader {
        kind: Kind::Value,
        codec: CodecId::Raw,
        key_bytes: 4,
        value_bytes: 11,
        expires_s: None,
        origin: Some(Version { sequence: geometry.sequence_max(), offset: 64 }),
    };
    let payload = STORE.seed(&geometry).payload(b"userhello there");
    let (fields, len) = header.encode(&geometry, payload, place);
    let at = (place.segment.get() * geometry.segment_bytes() + place.offset) as usize;
    let record = [&fields[..len], b"userhello there"].concat();
    bytes[at..at + record.len()].copy_from_slice(&record);

    let mut memory = FlashMemory::<16, { buckets_for(60) }, 128>::new();
    let medium = NorMedium::new(Flash::<4, 512>::with_bytes(&bytes, 0xFF));
    let mut tier = FlashTier::new(FlashConfig::new(512, 7), &mut memory, medium).unwrap();
    let now = Now { monotonic_ms: 0, wall_s: NOW_S };
    tier.mount(now).unwrap();
    assert_eq!(tier.get(now, b"user", &mut [0; 16]).unwrap(), Some(&b"hello there"[..]), "it was made right");
    for round in 0..400_u32 {
        let key = (round % 20).to_le_bytes();
        let mut offer = || match tier.put(now, &key, &round.to_le_bytes()) {
            Err(PutError::Busy(_) | PutError::NeedsCompaction) => {
                let _ = tier.poll(now, 8);
                None
            }
            result => Some(result),
        };
        assert_eq!((0..1_000).find_map(|_| offer()), Some(Ok(())), "round {round}");
    }
}
