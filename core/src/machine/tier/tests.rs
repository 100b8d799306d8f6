//! A machine whose state is broken by hand names the invariant and writes nothing more.

extern crate std;

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::codec::CodecId;
use crate::config::Streams;
use crate::drive::{Medium, MediumError, Started};
use crate::format::{Geometry, Identity, KeyHash, Kind, SegmentIndex};
use crate::index::{Advice, Codecs, Index, Liveness, Look, Placed, Published, Reconciled, Settled};
use crate::invariant::testing::breaks;
use crate::machine::{Driven, Driver};
use crate::writer::{Lessee, Pending, SlotNotes};

const NOW: Now = Now { monotonic_ms: 0, wall_s: 1_000 };
const HASH: KeyHash = KeyHash([7; 12]);

/// An index of one key.
#[derive(Default)]
struct OneKey {
    newest: Option<Placed>,
}

impl Index for OneKey {
    fn identify(&mut self, _: &Store) {}

    fn hash(&self, _: &[u8]) -> KeyHash {
        HASH
    }

    fn liveness(&self, _: &KeyHash, at: Location) -> Liveness {
        if self.newest.is_some_and(|newest| newest.location == at) { Liveness::Live } else { Liveness::Stale }
    }

    fn publish(&mut self, _: &KeyHash, placed: &Placed) -> Published {
        let before = self.newest.replace(*placed);
        let released = |old: Placed| Released { location: old.location, record_bytes: old.record_bytes };
        Published::Live(before.map(released))
    }

    fn unwritten(&mut self, _: &KeyHash, _: &Placed) {}

    fn drop_current(&mut self, _: &KeyHash, _: Location) -> Dropped {
        Dropped::Now
    }

    fn copy_erased(&mut self, _: &KeyHash) -> Option<Released> {
        None
    }

    fn recovered(&mut self, hash: &KeyHash, placed: &Placed, _: bool) -> Published {
        self.publish(hash, placed)
    }

    fn settle(&mut self) -> Settled {
        Settled::End
    }

    fn due(&mut self, _: u32) -> Look {
        Look::End
    }

    fn reconcile(&mut self, _: &KeyHash, _: &Placed) -> Reconciled {
        Reconciled::Known
    }

    fn damaged(&mut self, _: &KeyHash, _: Location) {}
}

impl Codecs for OneKey {}
impl Advice for OneKey {}

/// A medium that counts its changes.
#[derive(Default)]
struct Counting {
    bytes: Vec<u8>,
    changes: u32,
    /// So often must it be asked for the end of an operation; with 0, each is done when its call returns.
    asks: u32,
    /// The operation under way: how often it must still be asked, and its result.
    under_way: Option<(u32, Result<(), MediumError>)>,
    /// The next operation that is under way ends with it.
    fails: Option<MediumError>,
}

impl Counting {
    fn part(&mut self, at: u64, bytes: usize) -> Result<&mut [u8], MediumError> {
        let at = usize::try_from(at).map_err(|_| MediumError::Io)?;
        assert_eq!(self.under_way, None, "one operation after the other");
        self.bytes.get_mut(at..at + bytes).ok_or(MediumError::Io)
    }

    fn start(&mut self) -> Started {
        if self.asks == 0 {
            return Started::Done;
        }
        self.under_way = Some((self.asks, self.fails.take().map_or(Ok(()), Err)));
        Started::UnderWay
    }
}

impl Medium for Counting {
    type Error = MediumError;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        bytes.copy_from_slice(self.part(at, bytes.len())?);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.changes += u32::from(!bytes.is_empty());
        self.part(at, bytes.len())?.copy_from_slice(bytes);
        Ok(self.start())
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.changes += 1;
        self.part(at, bytes as usize)?.fill(0);
        Ok(self.start())
    }

    fn sync(&mut self) -> Result<Started, MediumError> {
        self.part(0, 0)?;
        Ok(self.start())
    }

    fn is_done(&mut self) -> Option<Result<(), MediumError>> {
        let (asks, result) = self.under_way.expect("an operation is under way");
        self.under_way = (asks > 1).then_some((asks - 1, result));
        self.under_way.is_none().then_some(result)
    }
}

fn geometry() -> Geometry {
    Geometry::new(4096, 16, 1, 0, Identity::KeyedHash).unwrap()
}

/// A machine on leaked memory, its index and its medium.
struct World {
    tier: Tier<'static>,
    host: OneKey,
    medium: Counting,
    driver: Driver,
}

impl World {
    /// A blank medium that was mounted, with one record on it that is durable.
    fn new() -> Self {
        Self::on(Counting::default())
    }

    fn on(medium: Counting) -> Self {
        let store = Store { id: 1, hash_key: [3; 16], partition: 0, partitions: 1 };
        let config = TierConfig {
            record_bytes_max: 512,
            streams: Streams::One,
            has_footers: false,
            ..TierConfig::new(geometry(), store)
        };
        let memory = Memory {
            segments: vec![Segment::new(); 16].leak(),
            slots: Box::leak(Box::new([const { SlotNotes::new() }; 2])),
            records: vec![0; 4096].leak(),
            footers: &mut [],
            placed: vec![Pending::new(); 32].leak(),
            copy: vec![0; 4096].leak(),
            scan: vec![0; 4096].leak(),
            recode: &mut [],
        };
        let tasks = Box::leak(Box::new(TaskMemory::new()));
        let medium = Counting { bytes: vec![0; 16 * 4096], ..medium };
        let (tier, host) = (Tier::new(config, memory, Some(tasks)).unwrap(), OneKey::default());
        let mut world = Self { tier, host, medium, driver: Driver::new() };
        world.drive();
        assert_eq!(world.tier.status(), Status::Running);
        assert_eq!(world.put(), Ok(()));
        assert_eq!(world.tier.durable(), 1);
        world
    }

    fn drive_once(&mut self) -> Driven {
        self.driver.drive(&mut self.tier, NOW, &mut self.host, &mut self.medium, 1_000)
    }

    /// Drives, each time the medium may have ended an operation.
    fn drive(&mut self) {
        while self.drive_once() == Driven::UnderWay {}
    }

    /// Appends a record, without a write of it.
    fn append(&mut self) -> Result<(), AppendError> {
        let payload = [b"key".as_slice(), &[9; 40]].concat();
        let checksum = self.tier.seed().payload(&payload);
        let (kind, codec) = (Kind::Value, CodecId::Raw);
        let after = self.host.newest.map(|newest| newest.version);
        let fresh = Fresh {
            hash: HASH,
            kind,
            codec,
            key_bytes: 3,
            payload: &payload,
            checksum,
            expires_s: None,
            after,
            replaces: None,
        };
        for _ in 0..100 {
            match self.tier.append(NOW, &fresh) {
                Err(AppendError::Busy) => self.drive(),
                result => return result.map(drop),
            }
        }
        Err(AppendError::Busy)
    }

    fn put(&mut self) -> Result<(), AppendError> {
        self.append()?;
        self.tier.sync();
        self.drive();
        Ok(())
    }
}

/// Breaks the state of a machine that has an unwritten record, and goes on with it.
type Break = fn(&mut World);

const BREAKS: [(Invariant, Break); 6] = [
    (Invariant::SegmentInTable, |world| {
        world.tier.log.misplace_fullest_slot(SegmentIndex::new(99));
    }),
    (Invariant::StatedSegments, |world| {
        world.tier.log.layout.state_segments(0);
        world.tier.log.seal_all();
        let _ = world.put();
    }),
    (Invariant::LiveCounts, |world| {
        world.host.newest.as_mut().unwrap().record_bytes = 4_000;
    }),
    (Invariant::PlacedRecords, |world| world.tier.log.forget_pending()),
    (Invariant::WrittenBytes, |world| world.tier.log.lose_record_bytes()),
    (Invariant::ReadBuffer, |world| {
        world.tier.log.scan.lease(Lessee::Verifying);
        world.tier.log.scan.lease(Lessee::Sampling);
    }),
];

/// Tells whether the machine came to the broken state: a build with debug assertions has panicked there.
fn go_on(world: &mut World, invariant: Invariant, broken: Break) -> bool {
    breaks(invariant, || {
        broken(world);
        world.tier.sync();
        world.drive();
    })
}

#[test]
fn broken_state_stops_every_write_and_names_the_invariant() {
    for (invariant, broken) in BREAKS {
        let mut world = World::new();
        assert_eq!(world.append(), Ok(()), "{invariant}");
        let changes = world.medium.changes;
        if !go_on(&mut world, invariant, broken) {
            continue;
        }
        assert_eq!(world.tier.status(), Status::Broken(invariant));
        let (durable, changes_then) = (world.tier.durable(), world.medium.changes);
        // Some come to light only where a write is complete, or the next one is prepared.
        assert!(changes_then - changes <= 3, "{invariant}: {} changes", changes_then - changes);
        for _ in 0..3 {
            world.tier.flush();
            world.tier.sync();
            assert_eq!(world.append(), Err(AppendError::Broken));
            assert!(!world.tier.reserve(64), "{invariant}");
            assert_eq!(
                world.tier.schedule(CompactionTask::CompactData),
                Err(TasksFull(CompactionTask::CompactData)),
                "{invariant}"
            );
            assert_eq!(world.tier.poll(NOW, &mut world.host), Poll::Idle, "{invariant}");
            assert_eq!(world.tier.poll_timeout(NOW), None, "{invariant}");
            world.tier.close();
            assert_eq!(world.tier.status(), Status::Broken(invariant));
        }
        assert_eq!((world.tier.durable(), world.medium.changes), (durable, changes_then), "{invariant}");
    }
}

#[test]
fn broken_machine_restarted_finds_what_was_durable() {
    for (invariant, broken) in BREAKS {
        let mut world = World::new();
        assert_eq!(world.append(), Ok(()), "{invariant}");
        if !go_on(&mut world, invariant, broken) || invariant == Invariant::WrittenBytes {
            // The last one took the memory of a slot away.
            continue;
        }
        world.tier.restart();
        world.host = OneKey::default();
        world.drive();
        assert_eq!(world.tier.status(), Status::Running, "{invariant}");
        assert!(world.host.newest.is_some(), "{invariant}: a durable record is gone");
        assert_eq!(world.put(), Ok(()), "{invariant}");
    }
}

#[test]
fn location_of_no_segment_from_a_host_breaks_the_machine() {
    let mut world = World::new();
    let mut location = world.host.newest.unwrap().location;
    location.segment = SegmentIndex::new(16);
    let due = Due { hash: HASH, location, record_bytes: 60, version: None, is_idle: false };
    if breaks(Invariant::SegmentInTable, || {
        world.tier.drop_due(NOW, &due, &mut world.host);
    }) {
        assert_eq!(world.tier.status(), Status::Broken(Invariant::SegmentInTable));
    }
}

#[cfg(not(debug_assertions))]
#[test]
fn state_broken_during_the_mount_fails_it() {
    let mut world = World::new();
    world.tier.restart();
    world.tier.log.watch.note(Invariant::Completion);
    world.drive();
    assert_eq!(world.tier.status(), Status::Failed(MountError::Broken(Invariant::Completion)));
}

#[test]
fn late_medium_is_asked_one_thing_at_a_time_to_the_end() {
    for asks in [1, 2, 5] {
        let mut world = World::on(Counting { asks, ..Counting::default() });
        assert_eq!(world.append(), Ok(()));
        world.tier.sync();
        let appended = world.tier.appended();
        let mut waits = 0;
        while world.drive_once() == Driven::UnderWay {
            assert!(world.driver.is_under_way());
            waits += 1;
        }
        assert!(!world.driver.is_under_way() && waits > asks, "{waits} waits");
        assert_eq!(world.tier.durable(), appended);
    }
}

#[test]
fn failure_at_the_end_of_a_late_operation_reaches_the_machine() {
    let mut world = World::on(Counting { asks: 2, ..Counting::default() });
    assert_eq!(world.append(), Ok(()));
    world.tier.sync();
    world.medium.fails = Some(MediumError::Io);
    assert_eq!(world.drive_once(), Driven::UnderWay);
    let durable = world.tier.durable();
    world.drive();
    assert_eq!((world.medium.fails, world.tier.durable()), (None, durable), "the write failed");
}

#[test]
fn machine_restarted_while_an_operation_is_under_way_mounts() {
    let mut world = World::on(Counting { asks: 3, ..Counting::default() });
    assert_eq!(world.append(), Ok(()));
    world.tier.sync();
    assert_eq!(world.drive_once(), Driven::UnderWay);
    world.tier.restart();
    world.host = OneKey::default();
    world.drive();
    assert_eq!(world.tier.status(), Status::Running);
    assert!(world.host.newest.is_some());
}
