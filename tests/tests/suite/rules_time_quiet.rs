//! Rule 11 on a quiet tier: changes of the clock must be in the log, though nobody writes.

use coldpress_core::compaction::CompactionTask::CleanupExpired;
use coldpress_tests::sim::{Do, Seen, Setup};

// A key expires on a tier that nobody writes to; it reads as absent, and the task reports it as dropped. After a cut the clock
// is set back by less than the bound: it is there again.
#[test]
fn key_expired_on_a_quiet_tier_stays_so_if_time_goes_back() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        let start_s = world.lasting.now.wall_s;
        world.follow(&[Do::PutFor(1, 20, 100), Do::Put(2, 20), Do::Sync, Do::Tick(5_000_000), Do::Settle]);
        assert_eq!(world.read(1), Seen::Absent);
        assert_eq!(world.run(CleanupExpired).expired_records, 1);
        world.follow(&[Do::Sync, Do::Settle]);
        let mut left = world.end().cut(&[]);
        left.now.wall_s = start_s + 10;
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        assert_eq!(
            world.run(CleanupExpired).expired_records,
            1,
            "rule 11: it was dropped, and is live again"
        );
        assert_eq!(world.read(1), Seen::Absent, "rule 11: came back");
    }
}

// The same with a jump that was confirmed: the confirmation is not written anywhere.
#[test]
fn confirmed_clock_lasts_over_a_cut() {
    let mut setup = Setup::file();
    setup.config.clock_jump_s_max = 1_000;
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::PutFor(1, 20, 5_000), Do::Sync]);
    world.lasting.now.wall_s += 900_000;
    world.confirm();
    assert_eq!(world.run(CleanupExpired).expired_records, 1);
    world.follow(&[Do::Sync, Do::Tick(100_000), Do::Settle, Do::Sync]);
    let left = world.end().cut(&[]);
    let mut arena = setup.arena();
    let world = setup.mount(&mut arena, left);
    assert_eq!(
        world.tier.clock_refused_s(),
        None,
        "the clock was confirmed 100 s before, and is refused again"
    );
}

// A confirmation that comes when the wall clock is right again stays armed: the next wrong jump, days later, is taken
// unnoticed.
#[test]
fn late_confirmation_does_not_accept_the_next_wrong_jump() {
    let mut setup = Setup::file();
    setup.config.clock_jump_s_max = 1_000;
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::PutFor(1, 20, 5_000_000), Do::Sync]);
    world.lasting.now.wall_s += 900_000;
    world.settle();
    assert_eq!(world.tier.clock_refused_s(), Some(900_000));
    // The time server puts it right, and then the operator, who saw the refusal, confirms.
    world.lasting.now.wall_s -= 900_000;
    world.settle();
    world.confirm();
    for _ in 0..200 {
        world.follow(&[Do::Tick(500_000), Do::Put(2, 20), Do::Sync]);
    }
    world.lasting.now.wall_s += 90_000_000;
    assert_eq!(world.run(CleanupExpired).expired_records, 0, "rule 11: nobody confirmed this jump");
}
