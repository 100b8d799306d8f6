//! Makes tiers and checks them, so that a script can carry them between machines of either byte order:
//!
//! ```text
//! byte_order write DIR ROUND     goes on with the tiers in DIR: writes the values of a round
//! byte_order check DIR ROUND     checks every key of the tiers in DIR against that round
//! byte_order backup DIR          backs the tiers up, to DIR/archive
//! byte_order restore DIR TO      restores them
//! ```
//! There is a tier for each codec, and one with a schema. Values are short, long and in pieces; some expire, and some are removed.

use core::error::Error;
use core::time::Duration;
use std::path::Path;
use std::process::ExitCode;

use coldpress_std::archive::object_store::local::LocalFileSystem;
use coldpress_std::archive::object_store::path::Path as Prefix;
use coldpress_std::archive::{self, RestorePoint};
use coldpress_std::{CodecId, ColdTier, ColdTierConfig, TimeLeft};

const KEYS: u32 = 400;
const PARTITIONS: u16 = 2;
const SEGMENT_BYTES: u32 = 64 << 10;
const CAPACITY_BYTES: u64 = 8 << 20;
const VALUE_BYTES_MAX: u32 = 200 << 10;
/// Longer than a test takes, also in an emulator.
const LIFETIME: Duration = Duration::from_secs(1_000_000);
const LIFETIME_LEFT: Duration = Duration::from_secs(900_000);

type Done = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["write", dir, round] => write(Path::new(dir), round),
        ["check", dir, round] => check(Path::new(dir), round),
        ["backup", dir] => backup(Path::new(dir)),
        ["restore", dir, to] => restore(Path::new(dir), Path::new(to)),
        _ => Err("write DIR ROUND | check DIR ROUND | backup DIR | restore DIR TO".into()),
    };
    match done {
        Ok(()) => {
            let order = if cfg!(target_endian = "big") { "big" } else { "little" };
            println!("{}: done, {order}-endian", words.join(" "));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("byte_order: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A tier for each codec, with its name.
fn tiers() -> impl Iterator<Item = (String, CodecId)> {
    CodecId::ALL.into_iter().map(|codec| (format!("{codec:?}").to_lowercase(), codec))
}

fn open(dir: &Path, (name, codec): &(String, CodecId)) -> Result<ColdTier, Box<dyn Error>> {
    let config = ColdTierConfig::builder().base_dir(dir).capacity_bytes(CAPACITY_BYTES);
    let config = config.segment_bytes(SEGMENT_BYTES).partitions(PARTITIONS).value_bytes_max(VALUE_BYTES_MAX);
    let config = config.codec(*codec).keep_hot_values(false).schema(format!("{name} v1"));
    Ok(ColdTier::with_own_pools(config.build()?, name)?)
}

fn write(dir: &Path, round: &str) -> Done {
    let round: u32 = round.parse()?;
    for tier in tiers() {
        let tier = open(dir, &tier)?;
        for key in 0..KEYS {
            match Fate::of(key, round) {
                Fate::Removed => drop(tier.remove(name(key).as_bytes())?),
                Fate::Expires => tier.put_with_ttl(name(key).as_bytes(), &value(key, round), LIFETIME)?,
                Fate::Stays => tier.put(name(key).as_bytes(), &value(key, round))?,
            }
        }
        tier.close()?;
    }
    Ok(())
}

fn check(dir: &Path, round: &str) -> Done {
    let round: u32 = round.parse()?;
    for tier in tiers() {
        let (called, tier) = (tier.0.clone(), open(dir, &tier)?);
        let mut there = 0;
        for key in 0..KEYS {
            let (fate, found) = (Fate::of(key, round), tier.get(name(key).as_bytes())?);
            let expected = (fate != Fate::Removed).then(|| value(key, round));
            there += usize::from(expected.is_some());
            if found != expected {
                let [found, expected] = [found, expected].map(|value| value.map(|value| value.len()));
                return Err(format!("{called}: {} has {found:?} bytes, not {expected:?}", name(key)).into());
            }
            let left = tier.ttl(name(key).as_bytes())?;
            let is_right = match (fate, left) {
                (Fate::Removed, None) | (Fate::Stays, Some(TimeLeft::Forever)) => true,
                (Fate::Expires, Some(TimeLeft::For(left))) => {
                    (LIFETIME_LEFT..=LIFETIME + LIFETIME / 1000).contains(&left)
                }
                _ => false,
            };
            if !is_right {
                return Err(format!("{called}: {} is {fate:?}, and lives for {left:?}", name(key)).into());
            }
        }
        let listed = tier.keys().collect::<Result<Vec<_>, _>>()?.len();
        if listed != there {
            return Err(format!("{called}: {listed} keys are listed, not {there}").into());
        }
        tier.close()?;
    }
    Ok(())
}

fn archive(dir: &Path, name: &str) -> Result<LocalFileSystem, Box<dyn Error>> {
    let path = dir.join("archive").join(name);
    std::fs::create_dir_all(&path)?;
    Ok(LocalFileSystem::new_with_prefix(path)?)
}

fn backup(dir: &Path) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for tier in tiers() {
        let (store, tier) = (archive(dir, &tier.0)?, open(dir, &tier)?);
        runtime.block_on(archive::backup(&tier.handle(), &store, &Prefix::default()))?;
        tier.close()?;
    }
    Ok(())
}

fn restore(dir: &Path, to: &Path) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for (name, _) in tiers() {
        let (store, to) = (archive(dir, &name)?, to.join(&name));
        let verified = runtime.block_on(archive::verify(&store, &Prefix::default()))?;
        if !verified.damages.is_empty() {
            return Err(format!("{:?}", verified.damages).into());
        }
        runtime.block_on(archive::restore(&store, &Prefix::default(), &to, RestorePoint::Newest))?;
    }
    Ok(())
}

/// The state of a key after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Removed,
    Expires,
    Stays,
}

impl Fate {
    const fn of(key: u32, round: u32) -> Self {
        match (key + round) % 7 {
            0 => Self::Removed,
            1 | 2 => Self::Expires,
            _ => Self::Stays,
        }
    }
}

fn name(key: u32) -> String {
    format!("key {key}")
}

/// Bytes that show their key and round. Some repeat, so that codecs shorten them.
fn value(key: u32, round: u32) -> Vec<u8> {
    let bytes = match key % 50 {
        0 => 150_000,
        1..10 => 5_000,
        _ => key as usize % 700,
    };
    let mut state = u64::from(key) << 32 | u64::from(round) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Half of all bytes are the same.
        if state & 1 == 0 { b'x' } else { state.to_le_bytes()[3] }
    };
    core::iter::repeat_with(next).take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_of_a_round_are_right_and_those_of_another_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for round in 1..4 {
            write(dir, &round.to_string()).unwrap();
            check(dir, &round.to_string()).unwrap();
            check(dir, &(round + 1).to_string()).unwrap_err();
        }
        backup(dir).unwrap();
        let to = dir.join("restored");
        restore(dir, &to).unwrap();
        check(&to, "3").unwrap();
        check(&to, "2").unwrap_err();
    }
}
