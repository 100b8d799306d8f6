//! The time of a flash tier: without a clock, with a late one, and with one that jumps and is put right.

use crate::ram::Ram;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, buckets_for};

type Flash = Ram<4, 1024>;
type Memory = FlashMemory<16, { buckets_for(60) }, 128>;
type Tier<'m> = FlashTier<'m, NorMedium<Flash>>;

/// The first time that the network gave.
const NETWORK_S: u32 = 1_760_000_200;
const YEAR_S: u32 = 366 * 24 * 3600;

const fn at(ms: u64, wall_s: u32) -> Now {
    Now { monotonic_ms: ms, wall_s }
}

fn mounted(memory: &mut Memory, flash: Flash, now: Now) -> Tier<'_> {
    // Each put writes, and so takes the time into the log, though its value is stored already.
    let config = FlashConfig { skips_unchanged: false, ..FlashConfig::new(1024, 3) };
    let mut tier = FlashTier::new(config, memory, NorMedium::new(flash)).unwrap();
    tier.mount(now).unwrap();
    while !tier.poll(now, 64).is_idle {}
    tier
}

/// Takes the power away.
fn off(tier: Tier<'_>) -> Flash {
    tier.into_medium().into_flash()
}

fn has(tier: &mut Tier<'_>, now: Now, key: &[u8]) -> bool {
    tier.contains(now, key).unwrap()
}

// Without the rule: once it had network time, a device that begins at zero is refused for ever, and confirming does nothing.
#[test]
fn device_without_a_clock_always_mounts_and_counts_powered_time() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Flash::new(16), at(0, NETWORK_S));
    tier.put_with_ttl(at(0, NETWORK_S), b"short", b"1", 200).unwrap();
    tier.put_with_ttl(at(0, NETWORK_S), b"long", b"2", 7_000).unwrap();
    let mut flash = off(tier);
    // Each life begins at zero and lasts for 70 seconds; its writes take the time into the next one.
    for life in 0..4 {
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory, flash, at(5, 0));
        assert_eq!((tier.clock_refused_s(), tier.clock_behind_s()), (None, 0));
        assert_eq!(has(&mut tier, at(5, 0), b"short"), life < 3, "life {life}");
        tier.put(at(70_005, 0), b"reading", b"3").unwrap();
        assert!(has(&mut tier, at(70_005, 0), b"long"));
        flash = off(tier);
    }
    // Lives that only read, for longer than an hour each, count too.
    for life in 0..2 {
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory, flash, at(5, 0));
        assert!(has(&mut tier, at(5, 0), b"long"), "life {life}");
        for ms in (0..3_700_000).step_by(10_000) {
            let _ = tier.poll(at(ms, 0), 64);
        }
        flash = off(tier);
    }
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, flash, at(5, 0));
    assert!(!has(&mut tier, at(5, 0), b"long"), "it lived for 7,000 s of powered time");
}

// The clock counts from the start of each life, and the network gives the time later.
#[test]
fn device_that_gets_the_time_later_goes_on_by_it() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Flash::new(16), at(0, 0));
    tier.put_with_ttl(at(1_000, 0), b"early", b"1", 3_600).unwrap();
    // For the first time: how long the device was off is unknown, so the firmware must confirm the time.
    assert!(has(&mut tier, at(2_000, NETWORK_S), b"early"));
    assert!(tier.clock_refused_s().is_some());
    tier.confirm_clock();
    assert!(!has(&mut tier, at(2_000, NETWORK_S), b"early"));
    tier.put_with_ttl(at(3_000, NETWORK_S + 1), b"day", b"2", 86_400).unwrap();
    let flash = off(tier);
    // From then on no confirmation is needed: off for ten hours, twelve seconds without the time, then with it again.
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, flash, at(0, 0));
    assert!(has(&mut tier, at(12_000, 0), b"day"));
    assert!(has(&mut tier, at(13_000, NETWORK_S + 36_000), b"day"));
    assert_eq!(tier.clock_refused_s(), None);
    assert!(tier.clock_s(at(13_000, NETWORK_S + 36_000)) == NETWORK_S + 36_000);
    assert!(!has(&mut tier, at(14_000, NETWORK_S + 86_403), b"day"));
}

#[test]
fn clock_ahead_at_a_mount_is_held_and_confirmed_before_or_after() {
    for is_before in [true, false] {
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory, Flash::new(16), at(0, NETWORK_S));
        tier.put_with_ttl(at(0, NETWORK_S), b"key", b"1", 3_600).unwrap();
        let flash = off(tier);
        let now = at(0, NETWORK_S + 2 * YEAR_S);
        let mut memory = Memory::new();
        let mut tier = FlashTier::new(FlashConfig::new(1024, 3), &mut memory, NorMedium::new(flash)).unwrap();
        if is_before {
            tier.confirm_clock();
        }
        tier.mount(now).unwrap();
        if !is_before {
            assert_eq!((has(&mut tier, now, b"key"), tier.clock_refused_s()), (true, Some(2 * YEAR_S)));
            tier.confirm_clock();
        }
        assert_eq!((has(&mut tier, now, b"key"), tier.clock_refused_s()), (false, None));
    }
}

// Without the rule: after a year ahead nothing expires for a year.
#[test]
fn clock_put_right_after_a_jump_lets_expiry_go_on() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Flash::new(16), at(0, NETWORK_S));
    let ahead = at(1_000, NETWORK_S + YEAR_S);
    tier.put(ahead, b"ahead", b"1").unwrap();
    let right = |ms: u64| at(ms, NETWORK_S + u32::try_from(ms / 1_000).unwrap());
    tier.put_with_ttl(right(2_000), b"key", b"2", 10).unwrap();
    assert!(tier.clock_behind_s() > YEAR_S - 10);
    assert!(has(&mut tier, right(12_000), b"key"));
    assert!(!has(&mut tier, right(14_000), b"key"));
    // After one call the time without power counts again, though the tier's time is a year ahead.
    tier.confirm_clock();
    tier.put_with_ttl(right(15_000), b"off", b"3", 3_000).unwrap();
    while !tier.poll(right(15_000), 64).is_idle {}
    assert_eq!(tier.clock_behind_s(), 0);
    let mut flash = off(tier);
    for (off_s, is_there) in [(1_000, true), (2_990, true), (3_100, false), (10, false)] {
        let mut memory = Memory::new();
        let now = at(0, NETWORK_S + 15 + off_s);
        let mut tier = mounted(&mut memory, flash, now);
        assert_eq!(has(&mut tier, now, b"off"), is_there, "after {off_s} s");
        assert!(!has(&mut tier, now, b"key") && has(&mut tier, now, b"ahead"));
        tier.put(now, b"ahead", b"1").unwrap();
        flash = off(tier);
    }
}

// Without the rule: a second that has nearly passed when a value is put counts as a whole one.
#[test]
fn value_lives_as_long_as_it_was_put_for() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Flash::new(16), at(0, NETWORK_S));
    for (phase_ms, ttl_s) in (0..1_000u64).step_by(83).flat_map(|phase| [(phase, 1), (phase, 3)]) {
        for off_s in [NETWORK_S, 0] {
            // With a wall clock, and without one.
            let now =
                |ms: u64| at(ms, if off_s == 0 { 0 } else { off_s + u32::try_from(ms / 1_000).unwrap() });
            let put_ms = 5_000 + phase_ms;
            let mut memory = Memory::new();
            let mut tier = mounted(&mut memory, Flash::new(16), now(4_000));
            tier.put_with_ttl(now(put_ms), b"key", b"v", ttl_s).unwrap();
            let gone_ms = (put_ms..).step_by(7).find(|ms| !has(&mut tier, now(*ms), b"key")).unwrap();
            let (lived_ms, ttl_ms) = (gone_ms - put_ms, u64::from(ttl_s) * 1_000);
            assert!((ttl_ms..=ttl_ms + 2_000).contains(&lived_ms), "{lived_ms} ms of {ttl_ms}, {phase_ms}");
        }
    }
    assert!(!has(&mut tier, at(0, NETWORK_S), b"key"));
}
