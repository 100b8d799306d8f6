//! The double itself, held to its promises.

use coldpress_core::drive::MediumError;
use coldpress_core::format::{Geometry, Identity};

use super::*;

fn medium(unit: u32) -> Medium {
    Medium::new(Geometry::new(512, 12, unit, 0xFF, Identity::KeyedHash).unwrap())
}

fn sync(medium: &mut Medium) -> Result<(), MediumError> {
    let point = medium.sync_begin(Vec::new());
    medium.sync_end(&point)
}

#[test]
fn written_cut_loses_unsynced_bytes() {
    let mut m = medium(1);
    m.write(1, 100, b"old").unwrap();
    sync(&mut m).unwrap();
    m.write(1, 103, b"new").unwrap();
    assert_eq!(&m.segment(1)[100..106], b"oldnew");
    assert_eq!(&m.cut(&[]).segment(1)[100..106], b"old\xFF\xFF\xFF");
    assert_eq!(&m.cut(&[Fate::Kept]).segment(1)[100..106], b"oldnew");
    assert_eq!(&m.cut(&[Fate::Torn(2)]).segment(1)[100..106], b"oldne\xFF");
}

#[test]
fn write_during_a_sync_stays_in_doubt() {
    let mut m = medium(1);
    m.write(1, 100, b"a").unwrap();
    let point = m.sync_begin(Vec::new());
    m.write(1, 101, b"b").unwrap();
    m.sync_end(&point).unwrap();
    assert_eq!(m.unsynced().count(), 1);
    assert_eq!(&m.cut(&[]).segment(1)[100..102], b"a\xFF");
}

#[test]
fn failed_sync_is_not_mended_by_a_later_one() {
    let mut m = medium(1);
    m.write(1, 100, b"a").unwrap();
    m.faults.at(m.counts().operations, Effect::clean(MediumError::Io));
    assert_eq!(sync(&mut m), Err(MediumError::Io));
    m.write(1, 101, b"b").unwrap();
    sync(&mut m).unwrap();
    let doubtful: Vec<_> = m.unsynced().map(Op::is_doubtful).collect();
    assert_eq!(doubtful, [true], "a later sync is no evidence (rule 9)");
    assert_eq!(&m.cut(&[]).segment(1)[100..102], b"\xFFb");
    assert_eq!(&m.segment(1)[100..102], b"ab", "reads see it all the same");
    m.erase(1).unwrap();
    sync(&mut m).unwrap();
    assert_eq!(m.unsynced().count(), 0, "a firm erase makes it moot");
}

#[test]
fn lost_erase_leaves_a_later_write_on_old_bytes() {
    let mut m = medium(1);
    m.write(1, 100, b"abc").unwrap();
    sync(&mut m).unwrap();
    m.erase(1).unwrap();
    m.write(1, 101, b"X").unwrap();
    assert_eq!(&m.cut(&[Fate::Lost, Fate::Kept]).segment(1)[100..103], b"aXc");
    assert_eq!(&m.cut(&[Fate::Kept, Fate::Lost]).segment(1)[100..103], b"\xFF\xFF\xFF");
    let half = m.cut(&[Fate::Torn(102), Fate::Lost]);
    assert_eq!(&half.segment(1)[100..103], b"\xFF\xFFc");
    assert!(half.closed.contains(&1), "half an erase is no blank segment");
}

#[test]
fn sync_over_an_erase_in_doubt_keeps_the_order() {
    let mut m = medium(1);
    m.write(1, 100, b"abc").unwrap();
    sync(&mut m).unwrap();
    m.erase(1).unwrap();
    m.faults.at(m.counts().operations, Effect::clean(MediumError::Io));
    sync(&mut m).unwrap_err();
    m.write(1, 100, b"X").unwrap();
    sync(&mut m).unwrap();
    assert_eq!(&m.cut(&[Fate::Kept]).segment(1)[100..103], b"X\xFF\xFF");
    assert_eq!(&m.cut(&[Fate::Lost]).segment(1)[100..103], b"Xbc");
}

#[test]
#[should_panic(expected = "I-LOG-1")]
fn programmed_unit_written_again_panics() {
    let mut m = medium(4);
    m.write(0, 8, &[1; 8]).unwrap();
    let _ = m.write(0, 12, &[1; 4]);
}

#[test]
#[should_panic(expected = "I-LOG-1")]
fn failed_write_written_again_panics() {
    let mut m = medium(4);
    m.faults.at(0, Effect::clean(MediumError::Io));
    m.write(0, 8, &[1; 8]).unwrap_err();
    let _ = m.write(0, 8, &[1; 8]);
}

#[test]
#[should_panic(expected = "write unit")]
fn unaligned_write_panics() {
    let _ = medium(4).write(0, 2, &[1; 4]);
}

#[test]
#[should_panic(expected = "leave segment")]
fn write_beyond_the_segment_panics() {
    let _ = medium(4).write(0, 508, &[1; 8]);
}

#[test]
#[should_panic(expected = "I-LOG-3")]
fn segment_with_a_torn_tail_written_after_the_cut_panics() {
    let mut m = medium(1);
    m.write(3, 100, b"torn").unwrap();
    let _ = m.cut(&[Fate::Torn(1)]).write(3, 104, b"more");
}

#[test]
fn short_write_leaves_its_first_bytes() {
    let mut m = medium(1);
    m.faults.at(0, Effect::short(MediumError::NoSpace, 2));
    assert_eq!(m.write(0, 60, b"abcd"), Err(MediumError::NoSpace));
    assert_eq!(&m.segment(0)[60..64], b"ab\xFF\xFF");
    assert_eq!(m.counts().written_bytes, 2);
}

#[test]
fn flips_and_spoilt_units_survive_a_cut() {
    let mut m = medium(4);
    m.write(0, 60, &[0; 8]).unwrap();
    sync(&mut m).unwrap();
    m.flip(0, 60, 3);
    m.spoil(0, 66);
    let mut after = m.cut(&[]);
    let mut out = [0; 4];
    after.read(0, 60, &mut out).unwrap();
    assert_eq!(out, [8, 0, 0, 0]);
    assert_eq!(after.read(0, 64, &mut out), Err(MediumError::Unreadable));
}

#[test]
fn plans_of_a_cut_are_distinct_and_cover_every_byte() {
    let mut m = medium(1);
    m.write(0, 60, &[0; 5]).unwrap();
    m.write(0, 65, &[0; 7]).unwrap();
    let plans = m.cut_plans();
    // None, all, two less one, two alone, and six places to tear the last with the other completed or lost.
    assert_eq!(plans.len(), 2 + 4 + 2 * 6);
    m.erase(4).unwrap();
    assert!(m.cut_plans().iter().all(|plan| plan.len() == 3));
}
