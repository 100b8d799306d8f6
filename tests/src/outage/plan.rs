//! The work of the clients of a history.

use core::time::Duration;
use std::collections::BTreeMap;

use coldpress_core::durability::expiry_s;
use coldpress_std::clock::ManualClock;
use coldpress_std::medium::ServiceMedium as _;
use coldpress_std::pool::PoolCoordinator;
use coldpress_std::{
    ColdTier, ColdTierConfig, ColdTierHandle, CompactionTask, Durability, FullPolicy, PutOptions,
};

use super::journal::{Event, Key, Knowledge, OFTEN_LONG, Put, State, key_bytes, value_bytes};
use super::medium::Double;
use super::replay::Replay;
use crate::sim::{Rng, mixed};

/// Clients that write at a time, each its own keys.
const CLIENTS: u32 = 3;
/// How far the clock goes in one round, in seconds. Where it stands still the tier's time goes on, by as long as the test takes, so
/// lifetimes end between two rounds.
const STEP_S: u32 = 1_000;
/// Keys of each client, and of a client whose writes overtake others.
const KEYS: u64 = 24;
const KEYS_OVERTAKEN: u64 = 2;
const SEGMENT_BYTES: u32 = 16 << 10;
const SEGMENTS: u64 = 20;

/// The parameters of a history.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed from which all events follow, except the order in which the threads meet.
    pub seed: u64,
    /// Whether a full tier drops old values.
    pub evicts: bool,
    /// Whether writes often overtake others of their key, long values among them: there are few keys, and writes stay in memory longer.
    pub overtakes: bool,
    /// Rounds of the clients; the clock is moved on between them.
    pub rounds: u32,
    /// Writes of a client in a round.
    pub writes: u32,
    /// The clock of the tiers.
    pub clock: &'static ManualClock,
    /// The pools they work with.
    pub pools: PoolCoordinator,
}

/// The durabilities of the writes.
const EQUALLY: [Durability; 3] = [Durability::Synced, Durability::Buffered, Durability::Flushed];
const MOSTLY_BUFFERED: [Durability; 5] = [
    Durability::Buffered,
    Durability::Buffered,
    Durability::Buffered,
    Durability::Flushed,
    Durability::Synced,
];

/// Longer than anything takes on a machine that is slow and busy.
const PATIENCE: Duration = Duration::from_secs(300);

impl Plan {
    /// How a tier is opened.
    #[must_use]
    pub fn config(&self) -> ColdTierConfig {
        let config = ColdTierConfig::builder()
            .capacity_bytes(u64::from(SEGMENT_BYTES) * SEGMENTS)
            .segment_bytes(SEGMENT_BYTES)
            .full(if self.evicts { FullPolicy::Evict } else { FullPolicy::Reject })
            .flush_after(Duration::from_millis(if self.overtakes { 30 } else { 3 }))
            .skip_unchanged(self.overtakes)
            .op_timeout(PATIENCE)
            .close_timeout(PATIENCE)
            .clock(self.clock);
        config.build().unwrap_or_else(|error| panic!("{error}"))
    }

    /// An image that was never written.
    #[must_use]
    pub fn blank(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.config().capacity_bytes()).unwrap_or_default()]
    }

    /// Opens a tier on the double.
    ///
    /// # Panics
    /// Where it does not open, since every state that a cut leaves must open.
    #[must_use]
    pub fn open(&self, double: &'static Double) -> ColdTier {
        let view = double.another_view().unwrap_or_else(|error| panic!("{error}"));
        ColdTier::open_with(vec![view], self.config(), self.pools.clone())
            .unwrap_or_else(|error| panic!("seed {}: the tier does not open: {error}", self.seed))
    }

    /// Runs the history on an image that holds what is `found`, from opening the tier to closing it.
    #[must_use]
    pub fn run(&self, double: &'static Double, image: Vec<u8>, found: &BTreeMap<Key, State>) -> Replay {
        double.load(&image, true);
        let start = Knowledge::of(found, self.now_s());
        let tier = self.open(double);
        for round in 0..self.rounds {
            std::thread::scope(|scope| {
                for client in 0..CLIENTS {
                    let client = Client { plan: self, double, handle: tier.handle(), client, round };
                    scope.spawn(move || client.work());
                }
                let task = CompactionTask::ALL[(round % 4) as usize];
                let _ = tier.compaction().run_compaction(task, PATIENCE);
            });
            self.clock.advance_s(STEP_S);
            double.note(Event::Clock(self.now_s()));
        }
        tier.close().unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        Replay::new(image, start, double.take_events())
    }

    /// The time.
    #[must_use]
    pub fn now_s(&self) -> u32 {
        coldpress_std::clock::Clock::wall_s(self.clock)
    }
}

struct Client<'a> {
    plan: &'a Plan,
    double: &'static Double,
    handle: ColdTierHandle,
    client: u32,
    round: u32,
}

impl Client<'_> {
    fn work(&self) {
        let number = u64::from(self.round) << 8 | u64::from(self.client);
        let mut rng = Rng::new(mixed(self.plan.seed) ^ mixed(number));
        for nth in 0..self.plan.writes {
            let keys = if self.plan.overtakes { KEYS_OVERTAKEN } else { KEYS };
            let key = u32::try_from(rng.below(keys)).unwrap_or(0) * CLIENTS + self.client;
            let often_long = if self.plan.overtakes { OFTEN_LONG } else { 0 };
            let write = (often_long | self.plan.seed << 32 | number << 16) + u64::from(nth) + 1;
            let durability = if self.plan.overtakes { &MOSTLY_BUFFERED[..] } else { &EQUALLY[..] };
            let durability = durability[rng.index(durability.len())];
            if rng.permille(200) {
                self.remove(key, write, durability);
            } else {
                let steps = [None, None, Some(1 + rng.below(3)), Some(3_600)][rng.index(4)];
                let ttl_s = steps.map(|steps| steps * u64::from(STEP_S) - u64::from(STEP_S / 2));
                self.put(key, write, durability, ttl_s);
            }
            if rng.permille(20) {
                self.flush();
            }
        }
    }

    fn acknowledged(&self, key: Key, write: u64, durability: Durability) {
        let is_synced = durability == Durability::Synced;
        self.double.note(Event::Acknowledged { key, write, is_synced });
    }

    fn put(&self, key: Key, write: u64, durability: Durability, ttl_s: Option<u64>) {
        let until = |ttl_s| expiry_s(self.plan.now_s(), u32::try_from(ttl_s).unwrap_or(u32::MAX));
        let state = State::Value(Put { write, until_s: ttl_s.map(until) });
        self.double.note(Event::Began { key, write, state });
        let options = PutOptions { ttl: ttl_s.map(Duration::from_secs).into(), durability: Some(durability) };
        match self.handle.put_with(&key_bytes(key), &value_bytes(write), options) {
            Ok(()) => self.acknowledged(key, write, durability),
            Err(error) => panic!("seed {}: put of key {key}: {error}", self.plan.seed),
        }
    }

    fn remove(&self, key: Key, write: u64, durability: Durability) {
        self.double.note(Event::Began { key, write, state: State::Absent });
        match self.handle.remove_with(&key_bytes(key), durability) {
            Ok(_) => self.acknowledged(key, write, durability),
            Err(error) => panic!("seed {}: remove of key {key}: {error}", self.plan.seed),
        }
    }

    fn flush(&self) {
        let from = self.double.events();
        match self.handle.flush() {
            Ok(()) => self.double.note(Event::Flushed { from }),
            Err(error) => panic!("seed {}: flush: {error}", self.plan.seed),
        }
    }
}
