//! The cache that a command works on: where it lies, and how it is opened.

use core::time::Duration;
use std::path::{Path, PathBuf};

use coldpress_std::clock::{Clock as _, SystemClock};
use coldpress_std::inspect::{TierFacts, is_tier, tiers_below};
use coldpress_std::{ColdTier, ColdTierConfigBuilder, OpenError};

use crate::failure::Failure;
use crate::options::Place;
use crate::output::Output;

/// How long a put waits for capacity or for the disk.
const OP_TIMEOUT: Duration = Duration::from_secs(60);

/// The name of a cache: that of its directory.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The directories of the caches of a place: its own, or those below it.
pub(crate) fn find(place: &Place) -> Result<Vec<PathBuf>, Failure> {
    let found = match &place.cache {
        Some(id) => {
            let path = place.dir.join(id);
            // The system's reason is better than "no cache".
            path.read_dir()
                .map_err(|error| Failure::Unreadable(format!("can't list {}: {error}", path.display())))?;
            if is_tier(&path) { vec![path] } else { Vec::new() }
        }
        None if is_tier(&place.dir) => vec![place.dir.clone()],
        None => tiers_below(&place.dir)?,
    };
    if found.is_empty() {
        let path = place.cache.as_ref().map_or_else(|| place.dir.clone(), |id| place.dir.join(id));
        return Err(Failure::Unreadable(format!("{} is no cache, and has none below it", path.display())));
    }
    Ok(found)
}

/// The facts about the one cache of a place, which is read as it is. Warns of a copy that an open refuses.
pub(crate) fn facts(place: &Place, out: &Output) -> Result<TierFacts, Failure> {
    let facts = checked_facts(place)?;
    if facts.is_doubtful_copy {
        out.warn(&format_args!("keys may be missing or be back: {}", OpenError::Copied(facts.path.clone())));
    }
    Ok(facts)
}

fn checked_facts(place: &Place) -> Result<TierFacts, Failure> {
    let facts = TierFacts::read(&one(place)?)?;
    facts.check()?;
    Ok(facts)
}

fn one(place: &Place) -> Result<PathBuf, Failure> {
    let mut found = find(place)?;
    match (found.pop(), found.is_empty()) {
        (Some(path), true) => Ok(path),
        (last, _) => {
            let names: Vec<_> = found.iter().chain(&last).map(|path| name(path)).collect();
            Err(Failure::Use(format!(
                "{} has several caches, choose one with --cache: {}",
                place.dir.display(),
                names.join(", ")
            )))
        }
    }
}

/// Opens the cache of a place for changes, with the shape that it has.
pub(crate) fn open(place: &Place) -> Result<ColdTier, Failure> {
    let facts = checked_facts(place)?;
    if let Some(held) = facts.in_use {
        return Err(OpenError::AlreadyOpen(held).into());
    }
    open_with(&facts.path, facts.config()?)
}

/// Opens a cache, or makes it.
pub(crate) fn open_with(path: &Path, config: ColdTierConfigBuilder) -> Result<ColdTier, Failure> {
    let base_dir =
        path.parent().filter(|base_dir| !base_dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let config = config.base_dir(base_dir).keep_hot_values(false).op_timeout(OP_TIMEOUT).build();
    let config = config.map_err(|error| Failure::Use(format!("{}: {error}", path.display())))?;
    Ok(ColdTier::with_own_pools(config, &name(path))?)
}

/// The time by which values expire.
pub(crate) fn now_s() -> u32 {
    SystemClock.wall_s()
}
