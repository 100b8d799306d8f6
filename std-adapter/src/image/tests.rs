use coldpress_core::codec::CodecId;
use coldpress_core::format::{Geometry, Header, Identity, Kind, Store};
use coldpress_core::segments::SegmentState;

use coldpress_core::codec::CodecError;

use super::build::ImageWriter;
use super::error::{BuildError, ImageError};
use super::examine::Damage;
use super::{Image, build};

const NOW_S: u32 = 1_700_000_000;

fn store(identity: Identity) -> Store {
    let hash_key = if identity == Identity::KeyedHash { [9; 16] } else { [0; 16] };
    Store { id: 77, hash_key, partition: 0, partitions: 1 }
}

fn shapes() -> Vec<Geometry> {
    let shape =
        |bytes, count, unit, blank, identity| Geometry::new(bytes, count, unit, blank, identity).unwrap();
    vec![
        shape(4096, 16, 4, 0xFF, Identity::KeyBytes),
        shape(1024, 40, 1, 0xFF, Identity::KeyBytes),
        shape(8192, 14, 32, 0x00, Identity::KeyBytes),
        shape(16 << 10, 20, 1, 0x00, Identity::KeyedHash),
        shape(4096, 16, 8, 0xFF, Identity::KeyedHash),
    ]
}

fn value(key: u32, round: u32) -> Vec<u8> {
    format!("value {round} of key {key} ").repeat(1 + (key % 3) as usize).into_bytes()
}

/// Thirty keys overwritten until segments were compacted; one in five removed, one expiring.
fn fill(image: &mut ImageWriter<'_>, rounds: u32) -> Result<(), BuildError> {
    for round in 0..rounds {
        for key in 0..30u32 {
            let codec = CodecId::ALL[(key % 4) as usize];
            let expires_s = (key == 7).then_some(NOW_S + 60);
            image.put(format!("key {key}").as_bytes(), &value(key, round), codec, expires_s)?;
            if key % 5 == 0 {
                image.remove(format!("key {key}").as_bytes())?;
            }
        }
    }
    Ok(())
}

/// Enough rounds to write more than the image holds.
fn rounds(geometry: &Geometry) -> u32 {
    u32::try_from(geometry.medium_bytes() / 1024).unwrap()
}

fn built(geometry: Geometry) -> Vec<u8> {
    build(geometry, store(geometry.identity()), NOW_S, |image| fill(image, rounds(&geometry))).unwrap()
}

#[test]
fn image_of_any_shape_built_reads_back_and_is_sound() {
    for geometry in shapes() {
        let image = Image::read_from(built(geometry)).unwrap();
        assert_eq!((image.geometry(), image.store()), (&geometry, &store(geometry.identity())));
        for key in 0..30 {
            let name = format!("key {key}");
            let expected = (key % 5 != 0).then(|| value(key, rounds(&geometry) - 1));
            assert_eq!(image.get(name.as_bytes(), NOW_S), Ok(expected), "{geometry:?}, {name}");
        }
        assert_eq!(image.get(b"key 7", NOW_S + 60), Ok(None), "it has expired");
        assert_eq!(image.len(), 24);
        let (mut live, mut stale) = (0, 0);
        for segment in 0..geometry.segment_count() {
            let contents = image.examine(segment).unwrap();
            assert_eq!(
                (contents.damage, contents.torn_bytes),
                (vec![], 0),
                "{geometry:?}, segment {segment}"
            );
            let keyed = contents.records.iter().filter(|record| record.kind.is_keyed());
            let live_bytes: u32 = keyed.clone().filter(|r| r.is_live).map(|r| r.record_bytes).sum();
            let known = image.segments()[segment as usize];
            assert!(known.live_bytes() >= live_bytes, "erase intents may be live too");
            live += keyed.clone().filter(|record| record.is_live && record.kind == Kind::Value).count();
            stale += keyed.filter(|record| !record.is_live).count();
        }
        assert_eq!(live, 24);
        assert!(stale > 24, "overwritten records are there until they are compacted");
        assert!(image.segments().iter().any(|segment| segment.erases > 0), "segments were compacted");
    }
}

#[test]
fn grown_image_is_read_with_the_newest_number_and_sound() {
    let geometry = shapes()[0];
    let grown = geometry.with_segments(20).unwrap();
    let mut bytes = built(geometry);
    let before = Image::read_from(bytes.clone()).unwrap();
    bytes.resize(usize::try_from(grown.medium_bytes()).unwrap(), 0xFF);
    // The segment that was opened last was opened after it was grown.
    let sealed = |at: &u32| before.segments()[*at as usize].state() == SegmentState::Sealed;
    let sealed = (0..geometry.segment_count()).filter(sealed);
    let newest = sealed.max_by_key(|at| before.segments()[*at as usize].sequence).unwrap();
    for at in [geometry.header_at(), geometry.second_header_at()] {
        let place = &mut bytes[(newest * geometry.segment_bytes() + at) as usize..];
        let (header, len) = Header::decode(&geometry, place).unwrap().encode(&grown);
        place[..len].copy_from_slice(&header[..len]);
    }
    let image = Image::read_from(bytes).unwrap();
    assert_eq!((image.geometry(), image.len()), (&grown, before.len()));
    for key in 0..30 {
        let name = format!("key {key}");
        assert_eq!(image.get(name.as_bytes(), NOW_S), before.get(name.as_bytes(), NOW_S), "{name}");
    }
    for segment in 0..grown.segment_count() {
        assert_eq!(image.examine(segment).unwrap().damage, [], "segment {segment}");
    }
}

#[test]
fn full_image_and_too_long_a_record_are_refused() {
    let geometry = Geometry::new(512, 14, 4, 0xFF, Identity::KeyBytes).unwrap();
    let full = build(geometry, store(Identity::KeyBytes), NOW_S, |image| {
        (0..1_000u32).try_for_each(|key| image.put(&key.to_le_bytes(), &[1; 60], CodecId::Raw, None))
    });
    assert_eq!(full.unwrap_err().to_string(), "the image is full of live records");
    let long = build(geometry, store(Identity::KeyBytes), NOW_S, |image| {
        image.put(b"key", &[1; 400], CodecId::Raw, None)
    });
    assert!(matches!(long, Err(BuildError::Append(_))), "{long:?}");
    let nameless =
        build(geometry, store(Identity::KeyBytes), NOW_S, |image| image.put(b"", b"v", CodecId::Raw, None));
    assert_eq!(nameless.unwrap_err().to_string(), "a key takes 1 to 65535 bytes");
}

#[test]
fn any_byte_of_a_record_changed_is_found() {
    for geometry in shapes() {
        let bytes = built(geometry);
        let sound = Image::read_from(bytes.clone()).unwrap();
        let sealed = |at: &u32| sound.segments()[*at as usize].state() == SegmentState::Sealed;
        let segment = (0..geometry.segment_count()).find(sealed).unwrap();
        let contents = sound.examine(segment).unwrap();
        let record = &contents.records[contents.records.len() / 2];
        let start = (segment * geometry.segment_bytes() + record.location.offset) as usize;
        let payload = record.key.len() + record.stored.len();
        for at in start..start + 8 + payload {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let image = Image::read_from(changed).unwrap();
            let found = image.examine(segment).unwrap();
            let is_missing = found.records.iter().all(|other| other.location != record.location);
            assert!(is_missing, "{geometry:?}, byte {at}");
            // It is damage if a footer lists the record or a later record can be read. Else it may be a record that a cut tore.
            assert!(!found.damage.is_empty() || found.torn_bytes > 0, "{geometry:?}, byte {at}");
            if sound.segments()[segment as usize].has_footer() {
                let damaged = |damage: &Damage| matches!(damage, Damage::Record { offset, .. } if *offset == record.location.offset);
                assert!(found.damage.iter().any(damaged), "{geometry:?}, byte {at}: {:?}", found.damage);
                assert_eq!(found.records.len(), contents.records.len() - 1, "the others are still read");
            }
        }
    }
}

#[test]
fn damaged_frame_and_damaged_records_are_distinguished() {
    let geometry = shapes()[3];
    let bytes = built(geometry);
    let sound = Image::read_from(bytes.clone()).unwrap();
    let has_footer = |at: &u32| sound.segments()[*at as usize].has_footer();
    let segment = (0..geometry.segment_count()).find(has_footer).unwrap();
    let start = segment * geometry.segment_bytes();
    let with_changes = |places: &[u32]| {
        let mut changed = bytes.clone();
        places.iter().for_each(|at| changed[(start + at) as usize] ^= 1);
        Image::read_from(changed).unwrap().examine(segment).unwrap().damage
    };
    assert_eq!(with_changes(&[geometry.header_at() + 3]), [Damage::Header]);
    assert_eq!(with_changes(&[geometry.second_header_at() + 3]), [Damage::Header]);
    assert_eq!(with_changes(&[geometry.trailer_at() + 25]), [Damage::Footer]);
    let both = [geometry.header_at() + 3, geometry.second_header_at() + 3];
    assert_eq!(with_changes(&both), [Damage::Quarantined]);
}

#[test]
fn file_without_an_image_is_refused() {
    let bytes = built(shapes()[0]);
    let refused = |bytes: Vec<u8>| Image::read_from(bytes).unwrap_err();
    assert_eq!(refused(Vec::new()), ImageError::Blank);
    assert_eq!(refused(vec![0xFF; 5_000]), ImageError::Blank);
    assert_eq!(refused(b"a copy of cp and other things".repeat(300)), ImageError::Foreign);
    let short = bytes[..bytes.len() - 1].to_vec();
    let expected = bytes.len() as u64;
    assert_eq!(refused(short), ImageError::Length { expected, found: expected - 1 });
    assert_eq!(Image::read_from(bytes).unwrap().examine(16), Err(ImageError::Segment(16)));
    let error = Image::open(std::path::Path::new("/no such file")).unwrap_err();
    assert!(
        matches!(error, ImageError::Io(error) if error.kind() == std::io::ErrorKind::NotFound && error.os_code() == Some(2))
    );
}

#[test]
fn record_of_a_codec_not_built_is_an_error_of_its_key_alone() {
    use crate::api::ColdTier;
    use crate::clock::ManualClock;
    use crate::config::ColdTierConfig;
    use crate::errors::GetError;
    use crate::pool::{AllocationManager, PoolConfig};
    use crate::storage::FileMedium;
    use coldpress_core::drive::Medium as _;
    static CLOCK: ManualClock = ManualClock::new(NOW_S);
    /// The record format has a number for it.
    const LATER: CodecId = CodecId::Unassigned;
    let config = ColdTierConfig::builder().capacity_bytes(2 << 20).clock(&CLOCK).build().unwrap();
    let (segment_bytes, count) = (config.segment_bytes(), config.segment_count());
    let geometry = Geometry::new(segment_bytes, count, 1, 0x00, Identity::KeyedHash).unwrap();
    let bytes = build(geometry, store(Identity::KeyedHash), NOW_S, |image| {
        image.put(b"before", b"1", CodecId::Raw, None)?;
        image.append(Kind::Value, LATER, b"later", b"later", b"made by a later version", None)?;
        image.put(b"behind", b"2", CodecId::Raw, None)
    })
    .unwrap();
    let mut medium = FileMedium::new(tempfile::tempfile().unwrap());
    let _ = medium.write(0, &bytes).unwrap();
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    let tier = ColdTier::open_with(vec![Box::new(medium)], config, pools).unwrap();
    assert_eq!(tier.get(b"later"), Err(GetError::Codec(CodecError::Lacking(LATER))));
    assert_eq!(tier.get(b"before"), Ok(Some(b"1".to_vec())));
    assert_eq!(tier.get(b"behind"), Ok(Some(b"2".to_vec())));
    tier.put(b"later", b"3").unwrap();
    assert_eq!(tier.get(b"later"), Ok(Some(b"3".to_vec())));
}

/// The head of a value in pieces can say anything, and pieces may be missing. A read finds the value or damage.
#[test]
fn heads_of_any_bytes_yield_the_value_or_damage() {
    let geometry = Geometry::new(1024, 14, 4, 0xFF, Identity::KeyBytes).unwrap();
    let mut state = 1_u64;
    let mut word = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (state >> 33) as u32
    };
    let mut whole = 0;
    for case in 0..2_000 {
        let (generation, pieces) = (word() as u8, (word() % 5) as u16);
        let mut head = vec![generation];
        head.extend(pieces.to_le_bytes());
        head.extend((u32::from(pieces) * 10).to_le_bytes());
        let is_changed = case % 2 == 1;
        if is_changed {
            match word() % 3 {
                0 => head[(word() % 7) as usize] ^= 1 << (word() % 8),
                1 => head.truncate((word() % 7) as usize),
                _ => head.push(0),
            }
        }
        let missing = (word() % 6) as u16;
        let bytes = build(geometry, store(Identity::KeyBytes), NOW_S, |image| {
            image.append(Kind::Value, CodecId::Chunked, b"long", b"long", &head, None)?;
            for index in (0..pieces).filter(|index| *index != missing) {
                let key = [&[0xFF, b'c', b'p', generation][..], &index.to_le_bytes(), b"long"].concat();
                image.append(Kind::Value, CodecId::Raw, &key, &key, &[index as u8; 10], None)?;
            }
            Ok::<_, BuildError>(())
        });
        let read = Image::read_from(bytes.unwrap()).unwrap().get(b"long", NOW_S);
        let value: Vec<u8> = (0..pieces).flat_map(|index| [index as u8; 10]).collect();
        match read {
            Ok(Some(found)) => {
                assert_eq!(found, value, "case {case}");
                whole += 1;
            }
            Err(ImageError::Damaged(_)) => assert!(is_changed || missing < pieces, "case {case}"),
            other => panic!("case {case}: {other:?}"),
        }
    }
    assert!(whole > 300, "{whole}");
}

#[test]
fn image_of_many_steps_carries_the_time_that_it_was_given() {
    let geometry = Geometry::new(4096, 32, 4, 0xFF, Identity::KeyBytes).unwrap();
    let bytes = build(geometry, store(Identity::KeyBytes), NOW_S, |image| {
        (0..20_000_u32).try_for_each(|round| {
            let key = (round % 50).to_le_bytes();
            image.put(&key, &round.to_le_bytes(), CodecId::Raw, Some(NOW_S + 2))
        })
    });
    let image = Image::read_from(bytes.unwrap()).unwrap();
    assert_eq!((image.clock_s(), image.len()), (NOW_S, 50));
    assert!(image.get(&7_u32.to_le_bytes(), image.clock_s()).unwrap().is_some(), "nothing expired meanwhile");
}
