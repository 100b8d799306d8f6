//! Shapes of small worlds, and random histories for them with failures at every turn.

use coldpress_core::compaction::CompactionTask;
use coldpress_core::config::Streams;
use coldpress_core::format::{Geometry, Identity};
use coldpress_core::segments::Policy;

use super::exhaust::in_case;
use super::lives::{Event, Lived, NO_CLOCK};
use super::oracle::Key;
use super::rng::{Rng, mixed};
use super::script::{Do, Setup};

/// The shape of a small world: all parameters that affect how segments are taken and freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of a segment.
    pub segment_bytes: u32,
    /// How many there are.
    pub segments: u32,
    /// The write unit; where it is a byte, blank is zero, else all ones.
    pub write_unit: u32,
    /// How keys are known.
    pub identity: Identity,
    /// How many streams.
    pub streams: Streams,
    /// Bytes for a footer; 0 for segments without.
    pub footer: usize,
    /// Records that a slot holds unpublished.
    pub placed: usize,
    /// Slots beyond the streams.
    pub spare_slots: usize,
    /// The longest value.
    pub value_bytes_max: u32,
    /// The bound of the spread of wear.
    pub wear_spread_max: u32,
    /// Bytes copied in one poll.
    pub step_bytes: u32,
    /// How often the clock is written.
    pub time_every_s: u32,
    /// Whether the machine tidies by itself.
    pub cleans_at_rest: bool,
    /// How victims are chosen, and with it whether streams are shared.
    pub policy: Policy,
    /// Segments for which the disk has no blocks; `None` where none are allocated ahead.
    pub missing: Option<u32>,
}

impl Shape {
    /// A random small shape, by a seed.
    pub fn random(rng: &mut Rng) -> Self {
        let write_unit = [1, 1, 4, 8, 32][rng.index(5)];
        let streams = [Streams::One, Streams::One, Streams::Two, Streams::Four][rng.index(4)];
        let footer = [0, 512, 200][rng.index(3)];
        Self {
            segment_bytes: if write_unit == 32 { 1024 } else { 512 },
            segments: if streams == Streams::Four { 14 } else { 12 } + [0, 1, 2][rng.index(3)],
            write_unit,
            identity: if footer == 0 && rng.permille(500) { Identity::KeyBytes } else { Identity::KeyedHash },
            streams,
            footer,
            placed: [1, 2, 6, 20][rng.index(4)],
            spare_slots: 1 + rng.index(2),
            value_bytes_max: [16, 34, 68][rng.index(3)],
            wear_spread_max: [u32::MAX, 1, 2, 4][rng.index(4)],
            step_bytes: [1, 40, 200, 1 << 18][rng.index(4)],
            time_every_s: [1, 2, 60][rng.index(3)],
            cleans_at_rest: false,
            policy: Policy::Adaptive,
            missing: None,
        }
    }

    /// Adds the parameters that came later, drawn by a seed of their own: so the rest of a history stays as it was.
    fn with_disk(mut self, seed: u64) -> Self {
        let mut rng = Rng::new(mixed(seed ^ 0xD15C));
        self.cleans_at_rest = rng.permille(500);
        self.missing = [None, None, Some(0), Some(1), Some(3)][rng.index(5)];
        self.segments += self.missing.unwrap_or(0);
        self.policy = [Policy::Adaptive, Policy::CostBenefit, Policy::Greedy][rng.index(3)];
        self
    }

    /// The world of this shape.
    ///
    /// # Panics
    /// Where the shape is none.
    #[must_use]
    pub fn setup(&self) -> Setup {
        let erase_value = if self.write_unit == 1 { 0x00 } else { 0xFF };
        let setup = Setup::new(self.segment_bytes, self.segments, self.write_unit, erase_value);
        let mut setup = setup.unwrap_or_else(|error| panic!("{error}"));
        let config = &mut setup.config;
        if self.identity == Identity::KeyBytes {
            let geometry = Geometry::new(
                self.segment_bytes,
                self.segments,
                self.write_unit,
                erase_value,
                Identity::KeyBytes,
            );
            config.geometry = geometry.unwrap_or_else(|error| panic!("{error}"));
        }
        config.streams = self.streams;
        config.policy = self.policy;
        config.has_footers = self.footer > 0;
        config.wear_spread_max = self.wear_spread_max;
        config.step_bytes = self.step_bytes;
        config.time_every_s = self.time_every_s;
        config.cleans_at_rest = self.cleans_at_rest;
        config.allocates = self.missing.is_some();
        config.high_watermark_segments = 1 + u32::from(self.wear_spread_max.is_multiple_of(2));
        let longest = self.charge_bytes(&setup) + 60;
        setup.config.record_bytes_max =
            longest.max(setup.config.record_bytes_max.min(200)).next_multiple_of(32);
        setup.sizes.footer = self.footer;
        setup.sizes.placed = self.placed;
        setup.sizes.spare_slots = self.spare_slots;
        setup.missing = self.missing.unwrap_or(0);
        setup
    }

    /// The charge of a key with the longest value.
    fn charge_bytes(&self, setup: &Setup) -> u32 {
        setup.config.charge_bytes(4, self.value_bytes_max, true)
    }

    /// How many keys with values of any length may be live: clients keep to the charge that the configuration promises.
    #[must_use]
    pub fn keys_max(&self) -> Key {
        let with_blocks =
            Self { segments: self.segments - self.missing.unwrap_or(0), missing: None, ..*self };
        let setup = with_blocks.setup();
        let keys = setup.config.charge_bytes_max() / u64::from(self.charge_bytes(&setup));
        Key::try_from(keys).unwrap_or(Key::MAX)
    }

    /// A history for this shape in which up to three things in ten are failures and ends of lives.
    pub fn history(&self, rng: &mut Rng) -> Vec<Event> {
        let keys = u64::from(self.keys_max().min([4, 9, 20, 40, 40][rng.index(5)]));
        let harm = [100, 200, 300][rng.index(3)];
        let mut events = Vec::new();
        for _ in 0..20 + rng.below(130) {
            if rng.permille(harm) {
                events.push(failure(rng));
                if rng.below(3) == 0 {
                    events.push(Event::Act(Do::Sync));
                }
            } else {
                events.push(self.act(rng, keys));
            }
        }
        events
    }

    fn act(&self, rng: &mut Rng, keys: u64) -> Event {
        let key = Key::try_from(1 + rng.below(keys)).unwrap_or(1);
        let number = |rng: &mut Rng, bound: u64| u32::try_from(rng.below(bound)).unwrap_or(0);
        let len = 4 + number(rng, u64::from(self.value_bytes_max - 3));
        let task = CompactionTask::ALL[rng.index(4)];
        Event::Act(match rng.below(100) {
            0..=54 => Do::Put(key, len),
            55..=64 => Do::PutFor(key, len, 1 + number(rng, 3)),
            65..=79 => Do::Remove(key),
            80..=85 => Do::Sync,
            86..=87 => Do::AskSync,
            88 => Do::Flush,
            89 => Do::Tick(1 + rng.below(2000)),
            90..=91 => Do::Settle,
            92..=93 => Do::Queue(task),
            94..=95 => Do::Run(task),
            96 => Do::Cancel,
            97 => Do::Evict(20 + rng.below(280)),
            98 => return Event::Reorder(rng.next_u64()),
            _ => return Event::Close,
        })
    }
}

fn failure(rng: &mut Rng) -> Event {
    let way = [0, 1, 2, 3, 4][rng.index(5)];
    let few = [1, 2, 3][rng.index(3)];
    match rng.below(12) {
        0..=2 => Event::Syncs(few),
        3..=4 => Event::Fail(rng.below(40), way),
        5 => Event::During(rng.below(30), 1 + rng.below(8), way),
        6 => Event::Fail(rng.below(8), way),
        7 => Event::KillSyncs(few.min(2)),
        8 => Event::Kill,
        _ => Event::Cut(rng.next_u64()),
    }
}

impl Shape {
    /// A history as above, in which the clock goes both ways, too, mounts fail, and records at rest are damaged.
    fn eventful(&self, rng: &mut Rng) -> Vec<Event> {
        let keys = u64::from(self.keys_max().min([4, 9, 20, 40, 40][rng.index(5)]));
        let harm = [60, 150, 300][rng.index(3)];
        let rot = [0, 0, 10, 40][rng.index(4)];
        let mut events = Vec::new();
        for _ in 0..40 + rng.below(200) {
            if rng.permille(harm) {
                let event = failure(rng);
                events.push(event);
                let is_end =
                    matches!(event, Event::Cut(_) | Event::Kill | Event::KillSyncs(_) | Event::Close);
                if is_end && rng.permille(400) {
                    events.push(self.at_rest(rng));
                }
                if rng.below(3) == 0 {
                    events.push(Event::Act(Do::Sync));
                }
            } else if rng.permille(60) {
                events.push(clock(rng));
            } else if rng.permille(rot) {
                events.push(Event::Rot(rng.next_u64()));
            } else {
                events.push(self.act(rng, keys));
            }
        }
        if rot == 0 {
            events.retain(|event| !matches!(event, Event::Rot(_)));
        }
        events
    }

    /// An event while no tier runs.
    fn at_rest(&self, rng: &mut Rng) -> Event {
        match rng.below(4) {
            0 => Event::Rot(rng.next_u64()),
            1 => Event::FailMount(rng.below(60)),
            _ => clock(rng),
        }
    }
}

/// The clock goes ahead, back, or far beyond the bound, or is there no more; or it is confirmed.
fn clock(rng: &mut Rng) -> Event {
    let far_s = [4, 90, 400, 5_000][rng.index(4)];
    let by_s = i32::try_from(rng.below(far_s)).unwrap_or(0);
    match rng.below(8) {
        0 => Event::Confirm,
        6.. if by_s > 4_000 => Event::Clock(NO_CLOCK),
        1..=4 => Event::Clock(by_s),
        5 => Event::Act(Do::Tick(rng.below(100_000))),
        _ => Event::Clock(-by_s),
    }
}

/// How many of the ends of lives in [`live_all`] are followed by one that can't read part of the medium, in permille.
const BLIND_PERMILLE: u64 = 120;
/// How far the clock may jump in [`live_all`], in seconds.
const JUMP_S_MAX: u32 = 500;

/// Lives through a history of a seed that combines all kinds of failures.
///
/// Damage takes segments for good, so there are two more for each.
///
/// # Panics
/// Where an invariant does not hold; says which seed it was.
pub fn live_all(seed: u64) -> Lived {
    let mut rng = Rng::new(mixed(seed) ^ seed);
    let mut shape = Shape::random(&mut rng).with_disk(seed);
    let events = shape.eventful(&mut rng);
    // Drawn apart, so that the rest of a seed's history stays what it was.
    let mut blind = Rng::new(mixed(seed ^ 0xB11D));
    let mut with_blind = Vec::new();
    for event in events {
        with_blind.push(event);
        let is_end = matches!(event, Event::Cut(_) | Event::Kill | Event::Close);
        if is_end && blind.permille(BLIND_PERMILLE) {
            with_blind.push(Event::Blind(blind.next_u64()));
        }
    }
    let events = with_blind;
    let rots = events.iter().filter(|event| matches!(event, Event::Rot(_) | Event::Blind(_))).count();
    shape.segments += 2 * u32::try_from(rots).unwrap_or(0);
    let mut setup = shape.setup();
    setup.config.clock_jump_s_max = JUMP_S_MAX;
    in_case(|| format!("seed {seed}: {shape:?}\n{events:?}"), || setup.live(&events))
}

/// Lives through the history of a seed, in the shape of that seed.
///
/// # Panics
/// Where an invariant does not hold; says which seed it was.
pub fn live_faulty(seed: u64) {
    let mut rng = Rng::new(mixed(seed));
    let shape = Shape::random(&mut rng).with_disk(seed);
    let events = shape.history(&mut rng);
    in_case(
        || format!("seed {seed}: {shape:?}\n{events:?}"),
        || {
            shape.setup().live(&events);
        },
    );
}
