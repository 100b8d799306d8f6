//! A service's tier loses power: at every sync of a history, and anywhere between.

use std::collections::BTreeMap;

use coldpress_std::clock::ManualClock;
use coldpress_std::pool::{AllocationManager, PoolConfig};
use coldpress_tests::outage::{Double, Event, Key, Loss, Plan, State};
use coldpress_tests::sim::{Rng, STRIDE, mixed};

/// Chains of histories, side by side.
const CHAINS: u64 = 3;
/// Histories of a chain, each on the state that a cut left of the one before.
const GENERATIONS: u64 = 2;

#[derive(Debug, Default)]
struct Tried {
    cuts: u64,
    at_syncs: u64,
    events: usize,
    most_unsynced: usize,
}

/// The losses that are tried at one place.
fn losses(seed: u64, unsynced: usize, is_sync: bool) -> Vec<Loss> {
    let mut rng = Rng::new(seed);
    let one = rng.index(unsynced.max(1));
    let random = Loss::Random(rng.next_u64());
    if is_sync {
        return vec![Loss::All, Loss::None, Loss::One(one), Loss::AllBut(one), random];
    }
    vec![[Loss::All, Loss::None, Loss::One(one), Loss::AllBut(one), random][rng.index(5)]]
}

/// Opens a tier on the state that a cut left, checks it, and writes to it.
fn reopen(
    plan: &Plan,
    double: &'static Double,
    replay: &coldpress_tests::outage::Replay,
    loss: Loss,
    seed: u64,
) -> (Vec<u8>, BTreeMap<Key, State>) {
    let image = replay.cut(loss);
    double.load(&image, false);
    let now_s = replay.knowledge().now_s + [0, 0, 1, 2, 5][(mixed(seed) % 5) as usize];
    plan.clock.set_s(now_s);
    let tier = plan.open(double);
    let why = format!("seed {}, {loss:?}", plan.seed);
    let found = replay.check(&tier, now_s, plan.evicts, &why);
    tier.put(b"after the cut", b"v").unwrap_or_else(|error| panic!("{why}: {error}"));
    assert_eq!(tier.get(b"after the cut"), Ok(Some(b"v".to_vec())), "{why}");
    tier.close().unwrap_or_else(|error| panic!("{why}: {error}"));
    (image, found)
}

fn cut_chain(evicts: bool, overtakes: bool, chain: u64) -> Tried {
    let clock: &'static ManualClock = Box::leak(Box::new(ManualClock::new(1_000_000)));
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    let double = Double::leak();
    let rounds = if overtakes { 4 } else { 8 };
    let mut plan = Plan { seed: 0, evicts, overtakes, rounds, writes: 60, clock, pools };
    let (mut image, mut found) = (plan.blank(), BTreeMap::new());
    let mut tried = Tried::default();
    for generation in 1..=GENERATIONS {
        plan.seed =
            generation + 10 * chain + if evicts { 100 } else { 0 } + if overtakes { 1_000 } else { 0 };
        let mut replay = plan.run(double, image.clone(), &found);
        let mut rng = Rng::new(mixed(plan.seed));
        // The place where the next generation goes on.
        let goes_on = rng.index(replay.len());
        tried.events += replay.len();
        for at in 0..replay.len() {
            let is_sync = matches!(replay.next(), Some(Event::Synced { .. }));
            let is_chosen = at == goes_on
                || if is_sync { tried.at_syncs.is_multiple_of(STRIDE as u64) } else { rng.permille(20) };
            tried.at_syncs += u64::from(is_sync);
            if is_chosen {
                for loss in losses(rng.next_u64(), replay.unsynced(), is_sync) {
                    let left = reopen(&plan, double, &replay, loss, rng.next_u64());
                    tried.cuts += 1;
                    if at == goes_on {
                        (image, found) = left;
                    }
                }
                tried.most_unsynced = tried.most_unsynced.max(replay.unsynced());
            }
            replay.step();
        }
        // After an orderly close nothing is lost, whatever happens to unsynced operations.
        let left = reopen(&plan, double, &replay, Loss::All, 0);
        if goes_on == 0 {
            (image, found) = left;
        }
        plan.clock.advance_s(10);
    }
    tried
}

fn cut_everywhere(evicts: bool, overtakes: bool) {
    let tried: Vec<Tried> = std::thread::scope(|scope| {
        let cut = |chain| move || cut_chain(evicts, overtakes, chain);
        let chains: Vec<_> = (0..CHAINS).map(|chain| scope.spawn(cut(chain))).collect();
        chains.into_iter().map(|chain| chain.join().unwrap()).collect()
    });
    println!("evicts {evicts}, overtakes {overtakes}: {tried:?}");
    for tried in tried {
        assert!(tried.at_syncs > 100 && tried.most_unsynced > 8, "{tried:?}");
    }
}

#[test]
fn tier_cut_at_or_between_syncs_keeps_acknowledged_writes() {
    cut_everywhere(false, false);
}

#[test]
fn evicting_tier_cut_at_or_between_syncs_revives_nothing() {
    cut_everywhere(true, false);
}

#[test]
fn tier_of_long_values_overtaken_in_memory_cut_keeps_promises() {
    cut_everywhere(false, true);
}
