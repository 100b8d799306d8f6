use clap::Parser as _;
use coldpress_std::image::Image;

use super::*;

fn job(line: &str) -> Build {
    match Job::try_parse_from(line.split_whitespace()).unwrap().command {
        Command::Build(build) => build,
        other => panic!("{other:?}"),
    }
}

fn generated() -> Vec<u8> {
    filled(&job("image build x --keys 100 --rounds 20 --segments 16 --segment-bytes 4096 --secret 000102030405060708090a0b0c0d0e0f"), None).unwrap()
}

#[test]
fn lines_become_the_newest_value_of_each_key() {
    let job = job("image build x --write-unit 8 --identity hash --codec lz4 --time 100 --ttl 50");
    let bytes = filled(&job, Some("a=1\n# not a key\n\nb=two=2\na=3\n")).unwrap();
    let image = Image::read_from(bytes).unwrap();
    assert_eq!(image.get(b"a", 100), Ok(Some(b"3".to_vec())));
    assert_eq!(image.get(b"b", 149), Ok(Some(b"two=2".to_vec())));
    assert_eq!(image.get(b"b", 150), Ok(None));
    assert_eq!(image.len(), 2);
    assert_eq!(filled(&job, Some("a=1\nnothing")), Err(InputError::Line(2)));
    assert_eq!(filled(&job, Some("=1")), Err(InputError::Line(1)));
}

#[test]
fn same_store_and_secret_make_the_same_image() {
    assert_eq!(generated(), generated());
    let shape = "image build x --keys 100 --rounds 20 --segments 16 --segment-bytes 4096";
    let other = format!("{shape} --store 2 --secret 000102030405060708090a0b0c0d0e0f");
    assert_ne!(filled(&job(&other), None).unwrap(), generated());
    assert_ne!(filled(&job(shape), None).unwrap(), filled(&job(shape), None).unwrap(), "random secrets");
    assert!(Job::try_parse_from("image build x --secret 00+1".split_whitespace()).is_err());
}

#[test]
fn stats_add_up_and_a_sound_image_verifies() {
    let image = Image::read_from(generated()).unwrap();
    let (stats, verified) = (stats(&image).unwrap(), verify(&image).unwrap());
    assert_eq!((stats.keys, stats.damage, stats.segments.len()), (90, 0, 16));
    assert!(stats.stale_bytes > 0 && stats.erases > 0 && stats.erases_max >= stats.erases_min);
    assert_eq!(verified.records, stats.records as u64);
    assert!(verified.summary().starts_with("sound: "), "{}", verified.summary());
    let table = stats_table(&stats);
    assert!(
        table.contains("16 segments of 4096 bytes, write unit 4, erased ff, keys by their bytes"),
        "{table}"
    );
    assert_eq!(records(&image).count(), stats.records);
}

#[test]
fn every_value_is_dumped_with_its_bytes() {
    let job = job("image build x --write-unit 1 --segments 12 --segment-bytes 512");
    let image = Image::read_from(filled(&job, Some("k\"1=v")).unwrap()).unwrap();
    let record = records(&image).next().unwrap().unwrap();
    let json: serde_json::Value = serde_json::from_str(&dump_json(None, &record).unwrap()).unwrap();
    assert_eq!((&json["key_hex"], &json["value_hex"]), (&"6b2231".into(), &"76".into()));
    assert_eq!(
        (&json["live"], &json["kind"], &json["codec"]),
        (&true.into(), &"value".into(), &"raw".into())
    );
    assert!(dump_line(&record).ends_with(r#"k\"1"#), "{}", dump_line(&record));
}

#[test]
fn damaged_record_is_named() {
    let mut bytes = generated();
    let image = Image::read_from(bytes.clone()).unwrap();
    let record = records(&image).nth(3).unwrap().unwrap();
    let at = record.location;
    bytes[(at.segment.get() * 4096 + at.offset + 12) as usize] ^= 1;
    let verified = verify(&Image::read_from(bytes).unwrap()).unwrap();
    let expected = format!("segment {}: the record at {} is damaged", at.segment, at.offset);
    assert_eq!(verified.damage, [expected]);
    assert!(verified.summary().starts_with("1 place damaged: "), "{}", verified.summary());
}

#[test]
fn segment_never_written_shows_as_unused() {
    let image = Image::read_from(filled(&job("image build x --keys 20"), None).unwrap()).unwrap();
    let states = stats(&image).unwrap().segments;
    assert_eq!((states[0].state, states[63].state), ("sealed", "unused"));
}
