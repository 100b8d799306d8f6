//! Rules 11 and 12: the clock across a reboot, and a way forward on a full tier.

use coldpress_core::compaction::CompactionTask::{CleanupExpired, CompactData};
use coldpress_core::format::{Header, Sequence};
use coldpress_tests::sim::{Do, Fate, Key, Lasting, Seen, Setup, World};

/// Cuts the power, and sets the clock for the next mount.
fn rebooted(world: World<'_>, wall_s: u32) -> Lasting {
    let mut left = world.end().cut(&[]);
    left.now.wall_s = wall_s;
    left
}

/// The tier's time, which it writes into the header of the next segment that it opens.
fn clock_of(world: &mut World<'_>) -> u32 {
    let g = world.config().geometry;
    let before = world.tier.segments().iter().map(|segment| segment.sequence).max().unwrap_or(Sequence::NONE);
    let newest = |world: &World<'_>| {
        let opened = (0..).zip(world.tier.segments()).filter(|(_, segment)| segment.sequence > before);
        opened.min_by_key(|(_, segment)| segment.sequence).map(|(index, _)| index)
    };
    while newest(world).is_none() {
        world.follow(&[Do::Put(99, 60), Do::Sync]);
    }
    let bytes = world.lasting.medium.segment(newest(world).unwrap());
    Header::decode(&g, &bytes[g.header_at() as usize..]).unwrap().time_s
}

// Without the rule: 1 expires and is seen to be gone; at the next boot the clock has been set back (a flat battery, a bad time
// server), and 1 is there again.
#[test]
fn clock_set_back_at_a_mount_revives_nothing() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        let start_s = world.lasting.now.wall_s;
        world.follow(&[Do::PutFor(1, 20, 100), Do::PutFor(2, 20, 100_000), Do::Sync]);
        // One write long after, so that the log knows the time.
        world.follow(&[Do::Tick(500_000), Do::Put(3, 20), Do::Sync]);
        assert_eq!(world.read(1), Seen::Absent);
        let left = rebooted(world, start_s);
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        let report = world.run(CleanupExpired);
        assert_eq!(report.expired_records, 1, "rule 11: the clock went back with the wall's");
        let entry = world.host.entry(&world.hash(1)).copied();
        assert!(entry.is_none_or(|entry| !entry.newest.is_live), "rule 11: revived: {entry:?}");
        assert!(matches!(world.read(2), Seen::Value(_)), "rule 11: what has not expired is there");
        assert!(clock_of(&mut world) >= start_s + 500, "rule 11: the tier's clock starts no earlier");
    }
}

// Without the rule: the log knows only the time at which its segment was opened. After a cut and a clock set back, everything
// that expired since then is back, however long ago that was.
#[test]
fn expiry_across_a_reboot_is_accurate_to_the_time_written() {
    for mut setup in [Setup::file(), Setup::flash()] {
        setup.config.time_every_s = 20;
        setup.config.clock_jump_s_max = 10_000;
        for minutes in [1, 2, 7] {
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, setup.blank());
            let start_s = world.lasting.now.wall_s;
            let lived_s = minutes * 60 / 7 * 7;
            let last_s = start_s + lived_s;
            world.follow(&[Do::PutFor(1, 20, lived_s - 20), Do::PutFor(2, 20, lived_s + 1), Do::Sync]);
            // A short write every seven seconds: the segment that is open may well stay so.
            while world.lasting.now.wall_s < last_s {
                world.follow(&[Do::Tick(7_000), Do::Remove(3), Do::Sync]);
            }
            let left = rebooted(world, start_s);
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            let report = world.run(CleanupExpired);
            assert_eq!(report.expired_records, 1, "rule 11: it expired time_every_s before the cut");
            assert!(matches!(world.read(2), Seen::Value(_)), "rule 11: it had not expired at the cut");
            let clock_s = clock_of(&mut world);
            assert!(
                (last_s - 20..=last_s).contains(&clock_s),
                "rule 11: the clock is {clock_s} s, it was {last_s} s at the last write"
            );
        }
    }
}

// Without the rule: a clock that reads 2100 for a moment at boot expires the whole store; one that reads 1970 keeps everything
// for decades, or, where the log's time is taken for it, stops time.
#[test]
fn clock_ahead_at_a_mount_expires_nothing_until_confirmed() {
    for mut setup in [Setup::file(), Setup::flash()] {
        setup.config.clock_jump_s_max = 1_000;
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::PutFor(1, 20, 5_000), Do::Sync, Do::Settle]);
        let start_s = world.lasting.now.wall_s;
        let left = rebooted(world, start_s);
        for (jump_s, refused_s) in
            [(1_001_i64, Some(1_001)), (900_000, Some(900_000)), (-1_001, None), (-900_000, None)]
        {
            let mut left = left.clone();
            left.now.wall_s = u32::try_from(i64::from(start_s) + jump_s).unwrap();
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            assert_eq!(world.tier.clock_refused_s(), refused_s, "rule 11: a jump of {jump_s} s");
            assert_eq!(world.run(CleanupExpired).expired_records, 0, "rule 11: a jump of {jump_s} s");
            assert!(matches!(world.read(1), Seen::Value(_)), "rule 11: a jump of {jump_s} s");
            world.tick(5_001_000);
            assert_eq!(world.read(1), Seen::Absent, "rule 11: time goes on after a jump of {jump_s} s");
        }
        for jump_s in [1_000_i64, -1_000] {
            let mut left = left.clone();
            left.now.wall_s = u32::try_from(i64::from(start_s) + jump_s).unwrap();
            let mut arena = setup.arena();
            let world = setup.mount(&mut arena, left);
            assert_eq!(world.tier.clock_refused_s(), None, "rule 11: within the bound");
            assert_eq!(world.tier.clock_s(), start_s.max(world.lasting.now.wall_s));
            assert!(matches!(world.read(1), Seen::Value(_)), "rule 11: within the bound");
        }
        // Confirmed: this mount takes the jump, and from then on the log knows the new time.
        let mut ahead = left;
        ahead.now.wall_s += 900_000;
        let mut arena = setup.arena();
        let mut world = World::new(setup.config, arena.lend(), ahead);
        world.confirm();
        assert_eq!(world.mount(), Ok(()), "rule 11: confirmed");
        assert_eq!(world.read(1), Seen::Absent, "rule 11: expired by the clock that was confirmed");
        world.follow(&[Do::Put(2, 20), Do::Sync]);
        let left = rebooted(world, start_s + 900_000);
        let mut arena = setup.arena();
        assert_eq!(setup.mount(&mut arena, left).read(1), Seen::Absent, "rule 11: no jump any more");
    }
}

// Without the rule: a time server that is wrong for a minute expires the whole store while it runs. A refusal that nobody sees,
// or that stops the clock, is as bad: then nothing expires any more.
#[test]
fn clock_jump_while_running_is_refused_and_seen_until_confirmed() {
    for mut setup in [Setup::file(), Setup::flash()] {
        setup.config.clock_jump_s_max = 1_000;
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::PutFor(1, 20, 5_000), Do::PutFor(2, 20, 100), Do::Sync]);
        world.lasting.now.wall_s += 900_000;
        let report = world.run(CleanupExpired);
        assert_eq!(report.expired_records, 0, "rule 11: nothing expires by a jump");
        assert_eq!(world.tier.clock_refused_s(), Some(900_000));
        world.follow(&[Do::Tick(200_000), Do::Settle]);
        assert_eq!(world.run(CleanupExpired).expired_records, 1, "rule 11: 2 expired by the monotonic clock");
        assert_eq!(world.tier.counters().clock_refusals, 1, "one that lasts counts once");
        world.confirm();
        assert_eq!(world.run(CleanupExpired).expired_records, 1, "rule 11: confirmed, so 1 expired");
        assert_eq!(world.tier.clock_refused_s(), None);
        let start_s = world.tier.clock_s();
        world.lasting.now.wall_s += 1_001;
        world.settle();
        assert_eq!(world.tier.clock_s(), start_s, "rule 11: confirmed once, not for ever");
        assert_eq!(world.tier.counters().clock_refusals, 2);
    }
}

// Without the rule's "newest": a segment stays open for longer than the bound, with time records in it. The clock is right at
// the mount, and refused all the same, because the header is old.
#[test]
fn segment_open_for_longer_than_the_bound_is_no_clock_jump() {
    for mut setup in [Setup::file(), Setup::flash()] {
        setup.config.clock_jump_s_max = 1_000;
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        for _ in 0..3 {
            world.follow(&[Do::Put(1, 4), Do::Sync, Do::Tick(900_000)]);
        }
        world.follow(&[Do::Put(1, 4), Do::Sync]);
        let now_s = world.lasting.now.wall_s;
        let opened = world.tier.segments().iter().filter(|segment| segment.used_bytes() > 0).count();
        assert_eq!(opened, 1, "one segment was open all the time");
        let left = rebooted(world, now_s);
        let mut arena = setup.arena();
        let world = setup.mount(&mut arena, left.clone());
        let clock = (world.tier.clock_refused_s(), world.tier.clock_s());
        assert_eq!(clock, (None, now_s), "rule 11: the newest time on the log is that of its last write");
        // The bound is counted from there: the time in the header is too long ago.
        let mut back = left;
        back.now.wall_s = now_s - 2_000;
        let mut arena = setup.arena();
        let world = setup.mount(&mut arena, back);
        let clock = (world.tier.clock_behind_s(), world.tier.clock_s());
        assert_eq!(clock, (2_000, now_s), "rule 11: behind the newest time");
    }
}

/// The keys that fit, charged to the last byte that the configuration promises.
fn keys_that_fit(setup: &Setup, value_bytes: u32) -> Vec<Key> {
    let charge = u64::from(setup.config.charge_bytes(4, value_bytes, false));
    let count = setup.config.charge_bytes_max() / charge;
    (1..=Key::try_from(count).unwrap()).collect()
}

/// Cuts the power and mounts. Operations that are not durable are lost, kept, or the last one is torn.
fn cut(setup: &Setup, world: World<'_>, round: usize) -> Lasting {
    let lasting = world.end();
    let count = lasting.medium.unsynced().count();
    let mut plan = vec![if round % 3 == 1 { Fate::Kept } else { Fate::Lost }; count];
    if round % 3 == 2
        && let Some(last) = plan.last_mut()
    {
        *last = Fate::Torn(5);
    }
    let left = lasting.cut(&plan);
    let mut arena = setup.arena();
    setup.mount(&mut arena, left).end()
}

// Without the rule: values fill every segment. A remove needs a place for its tombstone and there is none; nothing can be
// cleaned, for that takes a place too. Each cut seals segments early, so that values that just fitted no longer do.
#[test]
fn full_tier_emptied_and_filled_again_with_cuts_always_goes_on() {
    for (setup, value_bytes) in [
        (Setup::file(), 8),
        (Setup::file(), 30),
        (Setup::file(), 70),
        (Setup::flash(), 8),
        (Setup::flash(), 30),
        (Setup::flash(), 68),
        (Setup::device(), 8),
        (Setup::device(), 30),
        (Setup::device(), 76),
    ] {
        let keys = keys_that_fit(&setup, value_bytes);
        let mut left = setup.blank();
        for round in 0..12 {
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            world.check_recovered();
            for key in &keys {
                let put = world.put(*key, value_bytes, None);
                assert!(put.is_ok(), "rule 12: round {round}: put {key}: {put:?}\n{}", world.sketch());
            }
            world.sync();
            left = cut(&setup, world, round);
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            world.check_recovered();
            for key in &keys {
                assert!(matches!(world.read(*key), Seen::Value(_)), "rule 12: round {round}: key {key}");
            }
            for key in &keys {
                let removed = world.remove(*key);
                assert!(
                    removed.is_ok(),
                    "rule 12: round {round}: remove {key}: {removed:?}\n{}",
                    world.sketch()
                );
            }
            world.sync();
            left = cut(&setup, world, round + 1);
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            for key in &keys {
                assert_eq!(world.read(*key), Seen::Absent, "rule 12: round {round}: key {key}");
            }
            world.follow(&[Do::Settle, Do::Run(CompactData)]);
            world.check();
            left = world.end().cut(&[]);
        }
    }
}

// Without the rule: the same, with a cut after every single operation: each leaves a segment sealed early, with one record in it.
#[test]
fn full_tier_cut_after_every_remove_and_put_always_goes_on() {
    for setup in [Setup::file(), Setup::flash(), Setup::device()] {
        let keys = keys_that_fit(&setup, 30);
        let mut left = setup.blank();
        let mut round = 0;
        for pass in 0..6 {
            for key in &keys {
                let mut arena = setup.arena();
                let mut world = setup.mount(&mut arena, left);
                world.check_recovered();
                let done = if pass % 2 == 0 { world.put(*key, 30, None) } else { world.remove(*key) };
                assert!(done.is_ok(), "rule 12: pass {pass}, key {key}: {done:?}\n{}", world.sketch());
                world.sync();
                round += 1;
                left = cut(&setup, world, round);
            }
        }
    }
}

// Without the rule: overwrites on a full tier, never synced by the client, with removes in between.
#[test]
fn full_tier_overwritten_and_cut_without_a_sync_always_goes_on() {
    for setup in [Setup::file(), Setup::flash(), Setup::device()] {
        let keys = keys_that_fit(&setup, 30);
        let mut left = setup.blank();
        for round in 0..20 {
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            world.check_recovered();
            for (at, key) in keys.iter().enumerate() {
                let done = if (at + round) % 7 == 6 { world.remove(*key) } else { world.put(*key, 30, None) };
                assert!(done.is_ok(), "rule 12: round {round}, key {key}: {done:?}\n{}", world.sketch());
            }
            left = cut(&setup, world, round);
        }
    }
}
