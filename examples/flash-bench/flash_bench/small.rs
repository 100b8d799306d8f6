//! Flashes of few sectors: how many keys each store holds until it refuses one, and what overwrites cost it then.

use core::error::Error;

use coldpress_embedded::flash::buckets_for;
use coldpress_examples::figures::count;
use coldpress_examples::rng::Rng;
use coldpress_tests::flash::Counts;
use serde::Serialize;

use crate::measure::{Key, SECTOR_BYTES, Store, VALUE_BYTES, amplification, key_of, value_of};
use crate::{ekv, ours, sequential};

/// Overwrites of each key, in the mean.
const OVERWRITES: u64 = 50;
/// Bytes of a key and a value.
const PAYLOAD_BYTES: usize = size_of::<Key>() + VALUE_BYTES;

/// A store that was filled up and overwritten.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    sectors: usize,
    store: &'static str,
    /// Keys that it took.
    keys: u32,
    /// Bytes of keys and values ÷ bytes of the flash.
    usable_share: f64,
    /// Bytes programmed ÷ bytes of the keys and values that were overwritten. `None` where an overwrite was refused.
    write_amplification: Option<f64>,
    erases_per_1000_puts: Option<f64>,
    /// Bytes of RAM, all of it.
    ram_bytes: usize,
}

/// Fills a store until it refuses a key, overwrites keys at random, and compares every value.
fn held<S: Store>(sectors: usize, store: &mut S) -> Result<Held, Box<dyn Error>> {
    let mut worst = Counts::default();
    let mut versions = Vec::new();
    while store.put(key_of(versions.len() as u32), &value_of(versions.len() as u32, 0), &mut worst).is_ok() {
        versions.push(0);
    }
    let (keys, filled) = (versions.len() as u32, store.counts());
    let mut rng = Rng::new(5, u64::from(keys));
    let overwrites = OVERWRITES * u64::from(keys);
    let mut is_refused = false;
    for number in 1..=overwrites {
        let key = rng.below(keys.into()) as u32;
        is_refused |= store.put(key_of(key), &value_of(key, number), &mut worst).is_err();
        if is_refused {
            break;
        }
        versions[key as usize] = number;
    }
    let written = store.counts() - filled;
    for (key, version) in (0u32..).zip(&versions) {
        let found = store.get(key_of(key))?;
        if found != Some(value_of(key, *version)) {
            return Err(format!("{}: key {key} reads as {found:?}", S::NAME).into());
        }
    }
    let each = |figure: f64| (!is_refused && keys > 0).then_some(figure);
    Ok(Held {
        sectors,
        store: S::NAME,
        keys,
        usable_share: keys as usize as f64 * PAYLOAD_BYTES as f64 / (sectors * SECTOR_BYTES) as f64,
        write_amplification: each(amplification(written.programmed_bytes, overwrites)),
        erases_per_1000_puts: each(written.erases as f64 * 1000.0 / overwrites as f64),
        ram_bytes: store.ram_bytes(),
    })
}

/// Measures every store on so many sectors, and prints a row for each.
fn rows<const COUNT: usize, const KEYS: usize, const BUCKETS: usize>(
    all: &mut Vec<Held>,
) -> Result<(), Box<dyn Error>> {
    all.push(held(COUNT, &mut ours::mounted(&mut Box::new(ours::Small::<COUNT, BUCKETS>::new()))?)?);
    all.push(held(COUNT, &mut sequential::cached_on::<COUNT, KEYS>())?);
    all.push(held(COUNT, &mut ekv::on(COUNT)?)?);
    for row in all.iter().skip(all.len() - 3) {
        print!("{}", line(row));
    }
    Ok(())
}

fn line(held: &Held) -> String {
    let figure = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
    format!(
        "  {:>2} {:<28}{:>8}{:>9.1} %{:>10}{:>12}{:>10}\n",
        held.sectors,
        held.store,
        count(held.keys.into()),
        100.0 * held.usable_share,
        figure(held.write_amplification),
        figure(held.erases_per_1000_puts),
        count(held.ram_bytes as u64),
    )
}

/// Measures flashes of 2 to 32 sectors.
pub(crate) fn tables() -> Result<Vec<Held>, Box<dyn Error>> {
    println!(
        "\nsmall flashes, keys of 4 bytes and values of {VALUE_BYTES}: filled up, then {OVERWRITES} overwrites a key at random"
    );
    println!(
        "  {:>2} {:<28}{:>8}{:>11}{:>10}{:>12}{:>10}",
        "", "", "keys", "usable", "amplif.", "erases/1000", "RAM B"
    );
    let mut all = Vec::new();
    [
        rows::<2, 64, { buckets_for(48) }>,
        rows::<3, 128, { buckets_for(96) }>,
        rows::<4, 192, { buckets_for(144) }>,
        rows::<8, 400, { buckets_for(336) }>,
        rows::<12, 600, { buckets_for(529) }>,
        rows::<16, 800, { buckets_for(721) }>,
        rows::<32, 1700, { buckets_for(1491) }>,
    ]
    .into_iter()
    .try_for_each(|rows| rows(&mut all))?;
    Ok(all)
}
