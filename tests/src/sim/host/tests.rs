//! The model, held to the documentation of `Host`.

use super::*;
use coldpress_core::format::SegmentIndex;

const HASH: KeyHash = KeyHash([7; 12]);

fn placed(sequence: u32, offset: u32, kind: Kind) -> Placed {
    let location =
        Location { segment: SegmentIndex::new(sequence), offset, sequence: Sequence::new(sequence) };
    let version = location.version();
    Placed {
        location,
        version,
        record_bytes: 40,
        kind,
        expires_s: None,
        relocated_from: None,
        relocated_bytes: 0,
    }
}

fn moved(from: &Placed, sequence: u32, kind: Kind) -> Placed {
    let location =
        Location { segment: SegmentIndex::new(sequence), offset: 64, sequence: Sequence::new(sequence) };
    Placed { location, kind, relocated_from: Some(from.location), ..*from }
}

#[test]
fn value_under_a_remove_keeps_the_tombstone_until_erased() {
    let mut host = ModelHost::default();
    let (old, stone) = (placed(1, 100, Kind::Value), placed(2, 100, Kind::Tombstone));
    assert_eq!(host.publish(&HASH, &old), Published::Live(None));
    assert_eq!(host.publish(&HASH, &stone), Published::Live(Some(released(&old))));
    assert_eq!(host.liveness(&HASH, stone.location), Liveness::Live, "rule 6: a stale copy is left");
    assert_eq!(host.copy_erased(&HASH), Some(released(&stone)), "the old value is gone, so nothing needs it");
    assert_eq!(host.liveness(&HASH, stone.location), Liveness::Stale);
    assert_eq!(host.copy_erased(&HASH), None);
    assert!(host.entry(&HASH).is_none());
}

#[test]
fn unknown_key_removed_is_stale_at_birth() {
    let mut host = ModelHost::default();
    assert_eq!(host.publish(&HASH, &placed(2, 100, Kind::Tombstone)), Published::Stale);
    assert_eq!(host.entry(&HASH).map(|entry| entry.copies), Some(1));
}

#[test]
fn relocation_overtaken_by_a_put_is_stale() {
    let mut host = ModelHost::default();
    let (old, new) = (placed(1, 100, Kind::Value), placed(2, 100, Kind::Value));
    let _ = host.publish(&HASH, &old);
    let _ = host.publish(&HASH, &new);
    assert_eq!(host.publish(&HASH, &moved(&old, 3, Kind::Value)), Published::Stale);
    assert_eq!(host.entry(&HASH).map(|entry| (entry.copies, entry.newest.placed)), Some((3, new)));
}

#[test]
fn recovered_copies_tie_by_tombstone_then_by_seal() {
    let value = placed(1, 100, Kind::Value);
    let (copy, stone) = (moved(&value, 5, Kind::Value), moved(&value, 6, Kind::Tombstone));
    let orders =
        [[(value, true), (copy, false), (stone, false)], [(stone, false), (copy, false), (value, true)]];
    for order in orders {
        let mut host = ModelHost::default();
        for (at, is_sealed) in order {
            let _ = host.recovered(&HASH, &at, is_sealed);
        }
        assert_eq!(host.entry(&HASH).unwrap().newest.placed, stone, "rule 7");
    }
    let mut host = ModelHost::default();
    let _ = host.recovered(&HASH, &copy, false);
    assert_eq!(host.recovered(&HASH, &value, true), Published::Live(Some(released(&copy))), "rule 10");
}

#[test]
fn only_copy_dropped_is_stale_now_and_others_need_a_tombstone() {
    let mut host = ModelHost { evicts: true, ..ModelHost::default() };
    let (old, new) = (placed(1, 100, Kind::Value), placed(2, 100, Kind::Value));
    let _ = host.publish(&HASH, &old);
    let _ = host.publish(&HASH, &new);
    assert_eq!(host.drop_current(&HASH, old.location), Dropped::NotCurrent);
    assert_eq!(host.drop_current(&HASH, new.location), Dropped::NeedsTombstone);
    assert_eq!(host.copy_erased(&HASH), None);
    assert_eq!(host.drop_current(&HASH, new.location), Dropped::Now);
    assert_eq!(host.drop_current(&HASH, new.location), Dropped::NotCurrent);
}

#[test]
#[should_panic(expected = "I-GC-1")]
fn last_copy_of_a_live_record_gone_panics() {
    let mut host = ModelHost::default();
    let _ = host.publish(&HASH, &placed(1, 100, Kind::Value));
    let _ = host.copy_erased(&HASH);
}

#[test]
#[should_panic(expected = "I-LOG-4")]
fn live_record_dropped_without_leave_panics() {
    let mut host = ModelHost::default();
    let _ = host.publish(&HASH, &placed(1, 100, Kind::Value));
    let _ = host.drop_current(
        &HASH,
        Location { segment: SegmentIndex::new(1), offset: 100, sequence: Sequence::new(1) },
    );
}

#[test]
fn due_keys_come_once_a_round() {
    let mut host = ModelHost::default();
    for n in 0..3u8 {
        let at = Placed { expires_s: Some(10), ..placed(1, 100 + 40 * u32::from(n), Kind::Value) };
        let _ = host.publish(&KeyHash([n; 12]), &at);
    }
    assert_eq!(host.due(9), Look::End);
    let round: Vec<_> = core::iter::from_fn(|| host.due(10).due()).map(|due| due.hash.0[0]).collect();
    assert_eq!(round, [0, 1, 2]);
    assert_eq!(host.due(10).due().map(|due| due.hash.0[0]), Some(0));
}
