//! The index against the rules of `Host` for each call.

use coldpress_core::config::TierConfig;
use coldpress_core::format::{Checksum, Geometry, Identity, PIECE_EXPIRES_S};

use super::*;
use crate::admission::Weight;
use crate::index::entry::Pending;
use crate::pool::{AllocationManager, PoolConfig};
use std::collections::BTreeMap;

mod lives;

const HASH: KeyHash = KeyHash([7; 12]);

struct Fixture {
    index: PartitionIndex<'static>,
    _manager: AllocationManager,
}

fn fixture() -> Fixture {
    let config = PoolConfig::builder().capacity_bytes(4 << 20).partitions(1).build().unwrap();
    let (manager, pools) = AllocationManager::new(&config).unwrap();
    let geometry = Geometry::new(1 << 16, 64, 1, 0, Identity::KeyedHash).unwrap();
    let store = Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 };
    let terms = Terms::new(TierConfig::new(geometry, store));
    let clock = IndexClock { opened_s: 1000, now_s: 1000, idle_s: None };
    Fixture {
        index: PartitionIndex::new(
            Box::leak(Box::new(SharedPartition::new(&geometry))),
            terms,
            clock,
            1 << 20,
            pools.hot(),
            EfficiencyConfig::default(),
        ),
        _manager: manager,
    }
}

fn pending(kind: Kind, inflight: Option<Location>) -> Pending {
    Pending {
        payload: Box::from(&b"keyvalue"[..]),
        checksum: Checksum::default(),
        codec: CodecId::Raw,
        key_bytes: 3,
        expires_s: None,
        kind,
        inflight,
        before: None,
        charge: 90,
        older_charge: 0,
        serial: 0,
    }
}

impl Fixture {
    /// Overlays the key with a write that was appended at `inflight`.
    fn overlay(&self, kind: Kind, inflight: Option<Location>) {
        self.index.mutate(&HASH, |entry| entry.pending = Some(pending(kind, inflight)));
    }

    fn check_sums(&self) {
        assert!(self.index.shared.is_exact(&self.index.terms));
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.check_sums();
    }
}

fn placed(sequence: u32, kind: Kind) -> Placed {
    let location =
        Location { segment: SegmentIndex::new(sequence), offset: 100, sequence: Sequence::new(sequence) };
    Placed {
        location,
        version: location.version(),
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

fn released(placed: &Placed) -> Released {
    Released { location: placed.location, record_bytes: placed.record_bytes }
}

#[test]
fn value_under_a_remove_keeps_the_tombstone_until_erased() {
    let mut fixture = fixture();
    let index = &mut fixture.index;
    let (old, stone) = (placed(1, Kind::Value), placed(2, Kind::Tombstone));
    assert_eq!(index.publish(&HASH, &old), Published::Live(None));
    assert_eq!(index.publish(&HASH, &stone), Published::Live(Some(released(&old))));
    assert_eq!(index.liveness(&HASH, stone.location), Liveness::Live, "rule 6");
    assert_eq!(index.copy_erased(&HASH), Some(released(&stone)));
    assert_eq!(index.liveness(&HASH, stone.location), Liveness::Stale);
    assert_eq!(index.copy_erased(&HASH), None);
    assert_eq!(index.shared.entries(), 0);
}

#[test]
fn tombstone_of_an_unknown_key_is_stale_at_birth() {
    let mut fixture = fixture();
    assert_eq!(fixture.index.publish(&HASH, &placed(2, Kind::Tombstone)), Published::Stale);
    assert_eq!(fixture.index.shared.admission.weight(), Weight::default());
}

#[test]
fn relocation_overtaken_by_a_put_is_stale_and_counts_as_a_copy() {
    let mut fixture = fixture();
    let index = &mut fixture.index;
    let (old, new) = (placed(1, Kind::Value), placed(2, Kind::Value));
    let _ = index.publish(&HASH, &old);
    let _ = index.publish(&HASH, &new);
    assert_eq!(index.publish(&HASH, &moved(&old, 3, Kind::Value)), Published::Stale);
    assert_eq!(index.shared.view(&HASH, |entry| entry.copies), Some(3));
    assert_eq!(index.liveness(&HASH, new.location), Liveness::Live);
}

#[test]
fn recovered_copies_tie_by_tombstone_then_by_seal() {
    let value = placed(1, Kind::Value);
    let (copy, stone) = (moved(&value, 5, Kind::Value), moved(&value, 6, Kind::Tombstone));
    let orders =
        [[(value, true), (copy, false), (stone, false)], [(stone, false), (copy, false), (value, true)]];
    for order in orders {
        let mut fixture = fixture();
        for (at, is_sealed) in order {
            let _ = fixture.index.recovered(&HASH, &at, is_sealed);
        }
        assert_eq!(settled(&mut fixture.index), [released(&value), released(&copy)], "two copies are left");
        assert_eq!(fixture.index.liveness(&HASH, stone.location), Liveness::Live, "rule 7");
    }
    let mut fixture = fixture();
    let _ = fixture.index.recovered(&HASH, &copy, false);
    let _ = fixture.index.recovered(&HASH, &value, true);
    assert_eq!(settled(&mut fixture.index), [released(&copy)], "rule 10");
}

#[test]
fn lone_tombstone_recovered_is_settled() {
    let mut fixture = fixture();
    let stone = placed(4, Kind::Tombstone);
    assert_eq!(fixture.index.recovered(&HASH, &stone, true), Published::Live(None));
    assert_eq!(fixture.index.settle(), Settled::Released(released(&stone)));
    assert_eq!(fixture.index.settle(), Settled::End);
}

#[test]
fn dropped_record_with_other_copies_stays_until_their_erase() {
    let mut fixture = fixture();
    let index = &mut fixture.index;
    let (old, new) = (placed(1, Kind::Value), Placed { expires_s: Some(1500), ..placed(2, Kind::Value) });
    let _ = index.publish(&HASH, &old);
    let _ = index.publish(&HASH, &new);
    assert_eq!(index.due(1499), Look::End);
    let due = index.due(1500).due().unwrap();
    assert_eq!((due.hash, due.location), (HASH, new.location));
    assert_eq!(index.drop_current(&HASH, old.location), Dropped::NotCurrent);
    assert_eq!(index.drop_current(&HASH, new.location), Dropped::NeedsTombstone);
    assert_eq!(index.shared.admission.weight().keys, 0, "it is no value any more");
    assert_eq!(index.liveness(&HASH, new.location), Liveness::Live, "and still needed");
    assert_eq!(index.due(9999), Look::End, "and does not come up again");
    let again = moved(&new, 3, Kind::Value);
    assert_eq!(index.publish(&HASH, &again), Published::Live(Some(released(&new))));
    assert_eq!((index.copy_erased(&HASH), index.shared.admission.weight().keys), (None, 0));
    assert_eq!(index.copy_erased(&HASH), Some(released(&again)));
    assert_eq!(index.copy_erased(&HASH), None);
}

#[test]
fn only_copy_dropped_is_stale_now() {
    let mut fixture = fixture();
    let only = placed(1, Kind::Value);
    let _ = fixture.index.publish(&HASH, &only);
    assert_eq!(fixture.index.drop_current(&HASH, only.location), Dropped::Now);
    assert_eq!(fixture.index.drop_current(&HASH, only.location), Dropped::NotCurrent);
    assert_eq!(fixture.index.shared.admission.weight(), Weight::default());
}

#[test]
fn overlay_ends_with_its_own_publication_not_an_older_one() {
    let mut fixture = fixture();
    let (older, own) = (placed(1, Kind::Value), placed(2, Kind::Value));
    fixture.overlay(Kind::Value, Some(own.location));
    let _ = fixture.index.publish(&HASH, &older);
    let is_pending = |fixture: &Fixture| fixture.index.shared.view(&HASH, |entry| entry.pending.is_some());
    assert_eq!(is_pending(&fixture), Some(true));
    assert_eq!(fixture.index.liveness(&HASH, older.location), Liveness::Live);
    let _ = fixture.index.publish(&HASH, &own);
    assert_eq!(is_pending(&fixture), Some(false));
    assert_eq!(fixture.index.shared.admission.weight().pending_bytes, 0);
}

#[test]
fn unwritten_record_is_pending_again_above_its_stray_copy() {
    let mut fixture = fixture();
    let failed = placed(5, Kind::Value);
    fixture.overlay(Kind::Value, Some(failed.location));
    fixture.index.unwritten(&HASH, &failed);
    assert_eq!(fixture.index.unwritten, [HASH]);
    let seen = fixture.index.shared.view(&HASH, |entry| (entry.copies, entry.newest_version()));
    assert_eq!(seen, Some((1, Some(failed.version))), "the next append must lie above");
    let is_free = |entry: &Entry| entry.pending.as_ref().is_some_and(|pending| pending.inflight.is_none());
    assert_eq!(fixture.index.shared.view(&HASH, is_free), Some(true));
}

#[test]
fn record_read_lately_is_spared_once() {
    let mut fixture = fixture();
    let only = placed(1, Kind::Value);
    let _ = fixture.index.publish(&HASH, &only);
    fixture.index.shared.view(&HASH, |entry| entry.touch(5));
    assert!(!fixture.index.evictable(&HASH, only.location));
    assert!(fixture.index.evictable(&HASH, only.location));
    fixture.overlay(Kind::Value, None);
    assert!(!fixture.index.evictable(&HASH, only.location), "a successor is on its way");
}

#[test]
fn unknown_record_is_reconciled_and_a_known_one_left_alone() {
    let mut fixture = fixture();
    let (old, new) = (placed(1, Kind::Value), placed(2, Kind::Value));
    assert_eq!(fixture.index.reconcile(&HASH, &new), Reconciled::Placed(Published::Live(None)));
    assert_eq!(fixture.index.reconcile(&HASH, &new), Reconciled::Known);
    assert_eq!(fixture.index.reconcile(&HASH, &old), Reconciled::Known);
    fixture.index.damaged(&HASH, new.location);
    let is_damaged = |entry: &Entry| entry.stored().is_some_and(Stored::is_damaged);
    assert_eq!(fixture.index.shared.view(&HASH, is_damaged), Some(true));
}

#[test]
fn expired_or_overwritten_keys_leave_no_places_in_the_queue() {
    let mut fixture = fixture();
    let index = &mut fixture.index;
    let value = |sequence, expires_s| Placed { expires_s, ..placed(sequence, Kind::Value) };
    for n in 0..1000u32 {
        let mut hash = HASH;
        hash.0[..4].copy_from_slice(&n.to_le_bytes());
        let others = index.queue.len();
        let _ = index.publish(&hash, &value(1, Some(9_000 + n)));
        let _ = index.publish(&hash, &placed(2, Kind::Tombstone));
        assert_eq!(index.queue.len(), others, "removed");
        let _ = index.publish(&hash, &value(3, Some(8_000 - n)));
        let _ = index.copy_erased(&hash);
        let _ = index.copy_erased(&hash);
        let _ = index.copy_erased(&hash);
        assert_eq!(index.queue.len(), others, "gone");
        // The same key over and over: longer and shorter lifetimes, and none.
        for (round, expires_s) in
            (0..).zip([Some(5_000 + n), Some(6_000 + n), Some(4_000 - n), None, Some(7_000)])
        {
            let _ = index.publish(&HASH, &value(4 + 5 * n + round, expires_s));
            assert!(index.queue.len() <= 1, "one place");
        }
        assert_eq!(index.queue.len(), 1);
    }
    assert_eq!(index.due(6_999), Look::End);
    assert_eq!(index.due(7_000).due().map(|due| due.hash), Some(HASH));
    assert_eq!(index.queue.len(), 1, "until it is dropped");
}

#[test]
fn due_key_that_is_overwritten_leaves_the_queue() {
    let mut fixture = fixture();
    let index = &mut fixture.index;
    let _ = index.publish(&HASH, &Placed { expires_s: Some(1500), ..placed(1, Kind::Value) });
    assert!(index.due(1500).due().is_some() && index.queue.len() == 1);
    let _ = index.publish(&HASH, &placed(2, Kind::Value));
    assert_eq!((index.queue.len(), index.due(1_000_000)), (0, Look::End));
}

#[test]
fn found_keys_that_expire_are_due_and_found_pieces_noted() {
    let mut fixture = fixture();
    let index = &mut fixture.index;
    let (piece, other) = (KeyHash([8; 12]), KeyHash([9; 12]));
    let found = |sequence, expires_s| Placed { expires_s, ..placed(sequence, Kind::Value) };
    let _ = index.recovered(&HASH, &found(1, Some(1500)), true);
    let _ = index.recovered(&piece, &found(2, Some(PIECE_EXPIRES_S)), true);
    let _ = index.recovered(&other, &found(3, None), true);
    assert_eq!(settled(index), []);
    assert_eq!((index.next_due_s(), index.queue.len()), (1500, 1), "a piece goes with its head");
    assert_eq!(index.due(1500).due().map(|due| due.hash), Some(HASH));
    assert_eq!(index.pieces, [piece]);
}

#[test]
fn charge_of_an_overtaken_write_is_counted_once() {
    let mut fixture = fixture();
    let (older, own) = (placed(1, Kind::Value), placed(2, Kind::Value));
    let charge = fixture.index.terms.placed_charge(&older);
    fixture.overlay(Kind::Value, Some(older.location));
    fixture.index.mutate(&HASH, |entry| {
        let newer = Pending { inflight: None, ..pending(Kind::Value, None) };
        entry.pending.as_mut().unwrap().charge = charge;
        entry.overlay(newer);
    });
    let sum = |fixture: &Fixture| fixture.index.shared.admission.weight().charge;
    assert_eq!(sum(&fixture), u64::from(charge) + 90, "both may be on the medium");
    assert_eq!(fixture.index.publish(&HASH, &older), Published::Live(None));
    assert_eq!(sum(&fixture), u64::from(charge) + 90, "as stored now");
    let append = |entry: &mut Entry| entry.pending.as_mut().unwrap().inflight = Some(own.location);
    fixture.index.shared.amend(&fixture.index.terms, &HASH, append);
    assert_eq!(fixture.index.publish(&HASH, &own), Published::Live(Some(released(&older))));
    assert_eq!(sum(&fixture), u64::from(charge));
}

#[test]
fn long_record_read_lately_is_spared_and_stays_damaged() {
    let mut fixture = fixture();
    let index = &mut fixture.index;
    // It is too long for a packed entry.
    let long = Placed { record_bytes: 1 << 20, ..placed(1, Kind::Value) };
    let _ = index.publish(&HASH, &long);
    index.shared.view(&HASH, |entry| entry.touch(5));
    assert!(!index.evictable(&HASH, long.location) && index.evictable(&HASH, long.location));
    index.damaged(&HASH, long.location);
    let short = Placed { record_bytes: 900, ..moved(&long, 2, Kind::Value) };
    assert_eq!(index.publish(&HASH, &short), Published::Live(Some(released(&long))));
    let seen = |entry: &Entry| (entry.touched_s(), entry.stored().is_some_and(Stored::is_damaged));
    assert_eq!(index.shared.view(&HASH, seen), Some((5, true)), "as packed now");
}

#[test]
fn longer_lifetime_over_a_shorter_one_is_due_once() {
    let mut fixture = fixture();
    let index = &mut fixture.index;
    let value = |sequence, expires_s| Placed { expires_s, ..placed(sequence, Kind::Value) };
    let _ = index.publish(&HASH, &value(1, Some(2_000)));
    let _ = index.publish(&HASH, &value(2, Some(3_000)));
    assert_eq!((index.due(2_500), index.queue.len()), (Look::End, 1));
    assert_eq!(index.due(3_000).due().map(|due| due.location.sequence), Some(Sequence::new(2)));
    assert_eq!(index.due(3_000), Look::End, "not again at once");
}

#[test]
fn tombstone_found_later_hides_the_value_of_its_version() {
    let mut fixture = fixture();
    let value = placed(3, Kind::Value);
    assert_eq!(fixture.index.recovered(&HASH, &value, true), Published::Live(None));
    assert_eq!(settled(&mut fixture.index), []);
    // An eviction's tombstone carries the version that it kills; its segment could not be read at the mount.
    let stone = moved(&value, 5, Kind::Tombstone);
    let stone = Placed { relocated_from: None, ..stone };
    let released = Released { location: value.location, record_bytes: value.record_bytes };
    let found = fixture.index.reconcile(&HASH, &stone);
    assert_eq!(found, Reconciled::Placed(Published::Live(Some(released))));
    assert_eq!(fixture.index.reconcile(&HASH, &stone), Reconciled::Known, "once is enough");
    assert_eq!(fixture.index.reconcile(&HASH, &value), Reconciled::Known, "the value stays hidden");
}

/// All that a mount releases at its end, by sequence.
fn settled(index: &mut PartitionIndex<'_>) -> Vec<Released> {
    let next = || match index.settle() {
        Settled::Released(released) => Some(Some(released)),
        Settled::More => Some(None),
        Settled::End => None,
    };
    let mut all: Vec<Released> = core::iter::from_fn(next).flatten().collect();
    all.sort_unstable_by_key(|released| released.location.sequence);
    all
}

#[test]
fn records_found_in_any_order_count_the_newest_of_each_key() {
    const KEYS: u32 = 20_000;
    let hash = |key: u32| {
        let mut hash = KeyHash::default();
        let bits = u128::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        hash.0.copy_from_slice(&bits.to_le_bytes()[4..]);
        hash
    };
    let of = |key: u32, version: u32| {
        let location = Location {
            segment: SegmentIndex::new(version),
            offset: key % 65_000,
            sequence: Sequence::new(version + 1),
        };
        Placed { location, version: location.version(), ..placed(1, Kind::Value) }
    };
    // Newest first, newest last, and in between: more records than are kept back at a time.
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut fixture = fixture();
        let mut live: BTreeMap<(u32, u32), i64> = BTreeMap::new();
        let release = |live: &mut BTreeMap<(u32, u32), i64>, released: Released| {
            *live.entry((released.location.segment.get(), released.location.offset)).or_default() -= 1;
        };
        for version in order {
            for key in 0..KEYS {
                let found = of(key, version);
                *live.entry((version, found.location.offset)).or_default() += 1;
                match fixture.index.recovered(&hash(key), &found, true) {
                    Published::Live(released) => released.into_iter().for_each(|r| release(&mut live, r)),
                    Published::Stale => unreachable!("found records count live at first"),
                }
            }
        }
        settled(&mut fixture.index).into_iter().for_each(|released| release(&mut live, released));
        live.retain(|_, count| *count != 0);
        assert_eq!(live.len(), KEYS as usize);
        assert!(live.iter().all(|((version, _), count)| (*version, *count) == (2, 1)), "the newest of each");
        let copies = |key| fixture.index.shared.view(&hash(key), |entry| entry.copies);
        assert!((0..KEYS).all(|key| copies(key) == Some(3)));
        fixture.check_sums();
    }
}
