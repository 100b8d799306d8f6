//! Rule 11 where the wall clock is behind the tier's time: this goes on by the monotonic clock, and a confirmation ties it to
//! the wall clock again.

use coldpress_core::compaction::CompactionTask::{CleanupExpired, CompactData};
use coldpress_tests::sim::{Do, Lasting, Seen, Setup, World};

const JUMP_S: u32 = 900_000;
const BOUND_S: u32 = 1_000_000;

fn setups() -> [Setup; 3] {
    [Setup::file(), Setup::flash(), Setup::device()].map(|mut setup| {
        setup.config.clock_jump_s_max = BOUND_S;
        setup
    })
}

/// Cuts the power, and lets so much time pass until the next mount.
fn off(world: World<'_>, off_s: u32) -> Lasting {
    let mut left = world.end().cut(&[]);
    left.now.wall_s += off_s;
    left
}

/// The wall clock was ahead by [`JUMP_S`] for a while, within the bound, and is put right.
fn put_right(world: &mut World<'_>) {
    world.lasting.now.wall_s += JUMP_S;
    world.follow(&[Do::Put(90, 20), Do::Sync, Do::Tick(10_000)]);
    world.lasting.now.wall_s -= JUMP_S;
    world.settle();
}

// Without the rule: the tier's time stands still until the wall clock has caught up, up to a year, across reopens.
#[test]
fn clock_put_right_after_a_jump_lets_expiry_go_on() {
    for setup in setups() {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        put_right(&mut world);
        world.follow(&[Do::PutFor(1, 20, 100), Do::PutFor(2, 20, 5_000), Do::Sync, Do::Tick(98_000)]);
        assert!(matches!(world.read(1), Seen::Value(_)), "rule 11: its time is not over");
        world.tick(4_000);
        assert_eq!(world.read(1), Seen::Absent, "rule 11: expiry goes on");
        assert_eq!(world.run(CleanupExpired).expired_records, 1);
        world.settle();
        // The same in the next life: it begins at the newest time, and goes on from there.
        let left = off(world, 0);
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        world.follow(&[Do::PutFor(3, 20, 100), Do::Sync, Do::Tick(102_000)]);
        assert_eq!((world.read(1), world.read(3)), (Seen::Absent, Seen::Absent), "rule 11: after a mount");
        assert!(matches!(world.read(2), Seen::Value(_)));
    }
}

// Without the rule: a device without a clock that once had network time never mounts again.
#[test]
fn clock_behind_the_log_never_refuses_a_mount() {
    for mut setup in setups() {
        setup.config.clock_jump_s_max = 1_000;
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::PutFor(1, 20, 200), Do::PutFor(2, 20, 1_000_000), Do::Sync]);
        let newest_s = world.tier.clock_s();
        let mut left = off(world, 0);
        // Each life begins at zero and lasts for a minute; its writes take the time into the next one.
        for life in 0..4 {
            left.now.wall_s = 0;
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            assert!(world.tier.clock_s() >= newest_s && world.tier.clock_refused_s().is_none(), "rule 11");
            assert_eq!(matches!(world.read(1), Seen::Value(_)), life < 3, "rule 11: life {life}");
            world.follow(&[Do::Tick(70_000), Do::Put(3, 20), Do::Sync]);
            assert!(matches!(world.read(2), Seen::Value(_)));
            left = world.end().cut(&[]);
        }
    }
}

// Without the rule: no read and no write succeeds before a restart with the clock confirmed.
#[test]
fn clock_ahead_at_a_mount_is_held_until_it_is_confirmed() {
    for mut setup in setups() {
        setup.config.clock_jump_s_max = 1_000;
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::PutFor(1, 20, 5_000), Do::PutFor(2, 20, 100), Do::Sync]);
        let left = off(world, 900_000);
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        assert_eq!(world.tier.clock_refused_s(), Some(900_000), "rule 11: held, and seen");
        assert!(matches!(world.read(2), Seen::Value(_)), "rule 11: nothing expires by it");
        world.tick(102_000);
        assert_eq!(world.read(2), Seen::Absent, "rule 11: the tier's time goes on meanwhile");
        assert!(matches!(world.read(1), Seen::Value(_)));
        world.confirm();
        world.settle();
        assert_eq!((world.tier.clock_refused_s(), world.read(1)), (None, Seen::Absent), "rule 11: confirmed");
        let left = off(world, 0);
        let mut arena = setup.arena();
        let world = setup.mount(&mut arena, left);
        assert_eq!((world.tier.clock_refused_s(), world.read(1)), (None, Seen::Absent), "and it lasts");
    }
}

// Without the rule: the time for which the power is off does not count before the wall clock has caught up.
#[test]
fn clock_behind_that_is_confirmed_counts_time_without_power() {
    for setup in setups() {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::PutFor(5, 20, 1_000), Do::Sync]);
        put_right(&mut world);
        assert_eq!(world.read(5), Seen::Absent, "expired by the jump that was taken");
        world.confirm();
        world.settle();
        world.follow(&[Do::PutFor(1, 20, 5_000), Do::PutFor(2, 20, 20_000), Do::Sync]);
        let ahead_s = world.tier.clock_s() - world.lasting.now.wall_s;
        let mut left = off(world, 4_000);
        for (round, lives) in [true, false, false].into_iter().enumerate() {
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            let apart_s = world.tier.clock_s() - world.lasting.now.wall_s;
            assert!(
                apart_s.abs_diff(ahead_s) <= 1,
                "rule 11: round {round}: {apart_s} s, {ahead_s} s before"
            );
            assert_eq!(matches!(world.read(1), Seen::Value(_)), lives, "rule 11: round {round}");
            assert!(matches!(world.read(2), Seen::Value(_)));
            // Segments are erased, and among them the one with the record of the confirmation.
            for write in 0..200 {
                world.follow(&[Do::Put(7 + write % 5, 60)]);
            }
            world.follow(&[Do::Sync, Do::Run(CleanupExpired), Do::Run(CompactData), Do::Sync]);
            left = off(world, 4_000);
        }
        let mut arena = setup.arena();
        let world = setup.mount(&mut arena, left);
        assert_eq!(
            (world.read(1), world.read(5)),
            (Seen::Absent, Seen::Absent),
            "rule 11: nothing comes back"
        );
    }
}

// Without the rule: a confirmation that moves the tier's time back brings back what had expired and was not dropped yet.
#[test]
fn clock_confirmed_behind_brings_nothing_back() {
    for setup in setups() {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::PutFor(1, 20, 1_000), Do::PutFor(2, 20, 2_000_000), Do::Sync]);
        put_right(&mut world);
        let mut left = off(world, 0);
        for _ in 0..3 {
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            assert_eq!(world.read(1), Seen::Absent);
            world.confirm();
            world.settle();
            assert_eq!(world.read(1), Seen::Absent, "rule 11: it came back");
            assert!(matches!(world.read(2), Seen::Value(_)));
            world.follow(&[Do::Put(3, 20), Do::Sync]);
            left = off(world, 10);
        }
    }
}

// Without a bound for confirmed times: after a wrong year the tier's time is at the end of its range, and stays there.
#[test]
fn clock_beyond_2072_is_not_taken_even_if_it_is_confirmed() {
    for setup in setups() {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::PutFor(1, 20, 5_000), Do::Sync]);
        let wall_s = world.lasting.now.wall_s;
        world.lasting.now.wall_s = u32::MAX - 5;
        world.confirm();
        world.settle();
        assert!(world.tier.clock_refused_s().is_some());
        world.lasting.now.wall_s = wall_s;
        world.settle();
        assert!(matches!(world.read(1), Seen::Value(_)));
        assert_eq!((world.tier.clock_refused_s(), world.tier.clock_s()), (None, wall_s));
    }
}
