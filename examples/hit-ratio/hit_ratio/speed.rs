//! Hits and puts a second, of one thread and of two.

use core::error::Error;
use std::time::Instant;

use coldpress_examples::rng::Rng;

use super::caches::{Cache, Foyer, Hot, Moka, Quick};

const KEYS: u64 = 10_000;
const VALUE_BYTES: u32 = 100;
const LIMIT: u64 = 64 << 20;
const READS: u64 = 2_000_000;
/// The caches take turns; the median counts.
const ROUNDS: usize = 5;

/// Prints the hits a second.
pub(crate) fn table() -> Result<(), Box<dyn Error>> {
    let (hot, quick, moka, foyer) =
        (Hot::open(LIMIT)?, Quick::new(LIMIT), Moka::new(LIMIT), Foyer::new(LIMIT));
    for key in 0..KEYS {
        let caches: [&dyn Cache; 4] = [&hot, &quick, &moka, &foyer];
        caches.into_iter().for_each(|cache| cache.put(key, VALUE_BYTES));
    }
    println!("\nmillion hits a second, 100 bytes; medians of {ROUNDS} rounds in turn");
    println!("{:<34}{:>20}{:>12}{:>12}{:>14}", "", "hot tier", "quick_cache", "moka", "foyer-memory");
    for threads in [1, 2] {
        let mut rounds = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            rounds[0].push(measure(&hot, threads));
            rounds[1].push(measure(&quick, threads));
            rounds[2].push(measure(&moka, threads));
            rounds[3].push(measure(&foyer, threads));
        }
        let [hot, quick, moka, foyer] = rounds.map(|mut round| {
            round.sort_by(f64::total_cmp);
            round[ROUNDS / 2]
        });
        println!("{:<34}{hot:>20.2}{quick:>12.2}{moka:>12.2}{foyer:>14.2}", format!("{threads} threads"));
    }
    Ok(())
}

fn measure(cache: &impl Cache, threads: u64) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut rng = Rng::new(1, thread);
                for _ in 0..READS {
                    assert!(cache.hits(rng.below(KEYS)), "all keys fit");
                }
            });
        }
    });
    (READS * threads) as f64 / begun.elapsed().as_secs_f64() / 1e6
}
