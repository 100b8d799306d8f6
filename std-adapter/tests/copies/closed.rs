//! Copies of files that nobody writes to.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use coldpress_std::{ColdTier, OpenError, TimeLeft};

use crate::{SEGMENT_BYTES, SYNCED, copy, open, value};

/// A value and its lifetime.
type Entry = (Vec<u8>, Option<TimeLeft>);

/// All that a tier holds.
fn content(tier: &ColdTier) -> BTreeMap<Vec<u8>, Entry> {
    let mut all = BTreeMap::new();
    for key in tier.keys() {
        let key = key.unwrap();
        let (value, left) = (tier.get(&key).unwrap().unwrap(), tier.ttl(&key).unwrap());
        assert!(all.insert(key, (value, left)).is_none());
    }
    all
}

/// Whether both hold the same values. A second may pass between two looks at a lifetime.
fn is_same(a: &BTreeMap<Vec<u8>, Entry>, b: &BTreeMap<Vec<u8>, Entry>) -> bool {
    let is_near = |a: &Entry, b: &Entry| match (&a.1, &b.1) {
        (Some(TimeLeft::For(a)), Some(TimeLeft::For(b))) => a.abs_diff(*b) < Duration::from_secs(60),
        (a, b) => a == b,
    };
    a.len() == b.len()
        && a.iter().zip(b).all(|((key, a), (other, b))| key == other && a.0 == b.0 && is_near(a, b))
}

/// Short values, long ones, and some that expire. Each round overwrites some, and removes others.
fn write(tier: &ColdTier, round: u32) {
    for key in 0..300u32 {
        let name = key.to_le_bytes();
        match (key + round) % 5 {
            0 => drop(tier.remove(&name).unwrap()),
            1 => tier.put_with_ttl(&name, &value(key, round, 900), Duration::from_secs(10_000)).unwrap(),
            2 if key < 20 => tier.put(&name, &value(key, round, 90 << 10)).unwrap(),
            _ => tier.put(&name, &value(key, round, 1_500)).unwrap(),
        }
    }
    tier.put_with(b"round", &round.to_le_bytes(), SYNCED).unwrap();
}

/// Runs a program that copies the first directory to the second one; `false` where this machine lacks it.
fn run(program: &str, arguments: &[&str]) -> bool {
    match Command::new(program).args(arguments).status() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("SKIPPED: {program} is not installed");
            false
        }
        status => {
            assert!(status.unwrap().success(), "{program} {arguments:?}");
            true
        }
    }
}

#[test]
fn copy_of_a_closed_tier_opens_with_the_same_content() {
    let dir = tempfile::tempdir().unwrap();
    // Another filesystem, where there is one.
    let memory = Path::new("/dev/shm");
    let away = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let from = dir.path().join("test");
    let mut round = 0;
    type Copier = fn(&str, &str) -> bool;
    let copiers: [(&str, Copier); 3] = [
        ("rsync", |from, to| run("rsync", &["-a", "--sparse", &format!("{from}/"), to])),
        ("cp", |from, to| run("cp", &["-r", from, to])),
        ("files", |from, to| {
            copy(Path::new(from), Path::new(to));
            true
        }),
    ];
    for (name, copier) in copiers {
        let tier = open(dir.path(), "test").unwrap();
        round += 1;
        write(&tier, round);
        let expected = content(&tier);
        tier.close().unwrap();
        for base in [dir.path(), away.path()] {
            let to = base.join(name);
            if !copier(from.to_str().unwrap(), to.to_str().unwrap()) {
                continue;
            }
            // Once as a copy, and once as a tier of its own.
            for _ in 0..2 {
                let copied = open(base, name).unwrap();
                assert!(is_same(&content(&copied), &expected), "{name}, round {round}");
                copied.close().unwrap();
            }
            // A copy of a copy, and both go on.
            assert!(copier(to.to_str().unwrap(), base.join("again").to_str().unwrap()));
            let again = open(base, "again").unwrap();
            assert!(is_same(&content(&again), &expected));
            write(&again, round + 100);
            assert_eq!(again.get(b"round").unwrap(), Some((round + 100).to_le_bytes().to_vec()));
            again.close().unwrap();
            fs::remove_dir_all(base.join("again")).unwrap();
        }
        let tier = open(dir.path(), "test").unwrap();
        assert!(is_same(&content(&tier), &expected));
        tier.close().unwrap();
    }
}

/// Two moments of a closed tier, and copies of files that are of one or the other.
struct Moments {
    base: tempfile::TempDir,
    contents: [BTreeMap<Vec<u8>, Entry>; 2],
}

impl Moments {
    fn new(writes: [&dyn Fn(&ColdTier); 2]) -> Self {
        let base = tempfile::tempdir().unwrap();
        let mut contents = [BTreeMap::new(), BTreeMap::new()];
        for (at, (write, content_of)) in writes.into_iter().zip(&mut contents).enumerate() {
            let tier = open(base.path(), "test").unwrap();
            write(&tier);
            *content_of = content(&tier);
            tier.close().unwrap();
            copy(&base.path().join("test"), &base.path().join(at.to_string()));
        }
        Self { base, contents }
    }

    /// Opens a copy with some segments of a partition of the other moment; tells whether it was accepted.
    fn check(&self, lock_of: usize, name: &str, bytes: &[u8], part_of_others: usize) -> bool {
        let mixed = self.base.path().join("mixed");
        let path = |moment: usize, name: &str| self.base.path().join(moment.to_string()).join(name);
        fs::create_dir(&mixed).unwrap();
        for other in ["part-000.cold", "part-001.cold", "tier.meta"] {
            fs::copy(path(part_of_others, other), mixed.join(other)).unwrap();
        }
        fs::copy(path(lock_of, "LOCK"), mixed.join("LOCK")).unwrap();
        fs::write(mixed.join(name), bytes).unwrap();
        let lock = fs::read(mixed.join("LOCK")).unwrap();
        let opened = open(self.base.path(), "mixed");
        let is_accepted = match opened {
            Ok(tier) => {
                let found = content(&tier);
                assert!(
                    self.contents.iter().any(|content| is_same(content, &found)),
                    "a state that never was"
                );
                assert!(is_same(&found, &self.contents[lock_of]), "the other moment than that of LOCK");
                tier.close().unwrap();
                true
            }
            Err(OpenError::Copied(path)) => {
                assert_eq!(path, mixed);
                assert!(fs::read(mixed.join("LOCK")).unwrap() == lock, "it is refused again");
                let file = fs::read(mixed.join(name)).unwrap();
                assert!(file == bytes, "nothing was changed");
                false
            }
            Err(error) => panic!("{error}"),
        };
        fs::remove_dir_all(mixed).unwrap();
        is_accepted
    }

    /// Checks copies of a partition whose first segments are of one moment and all others of the other one, at each boundary.
    fn check_all(&self) {
        let segment = SEGMENT_BYTES as usize;
        let (mut mixtures, mut refused) = (0, 0);
        for name in ["part-000.cold", "part-001.cold"] {
            let [first, second] = [0, 1]
                .map(|moment: usize| fs::read(self.base.path().join(moment.to_string()).join(name)).unwrap());
            assert!(first != second && first.len() == second.len());
            for (early, late) in [(&first, &second), (&second, &first)] {
                for cut in (0..=first.len()).step_by(segment) {
                    let mixed = [&early[..cut], &late[cut..]].concat();
                    for (lock_of, whole) in [(0, &first), (1, &second)] {
                        let is_accepted = self.check(lock_of, name, &mixed, lock_of);
                        // A mixture may differ by segments without records alone: it has the content of one moment.
                        assert!(
                            is_accepted || mixed != *whole,
                            "{name}, cut at {cut}, LOCK of {lock_of}: one moment is refused"
                        );
                        mixtures += u32::from(mixed != *whole);
                        refused += u32::from(!is_accepted);
                        if *whole == first && cut % (8 * segment) == 0 {
                            // The other partition may be of the other moment, too.
                            assert!(!self.check(lock_of, name, &mixed, 1 - lock_of));
                        }
                    }
                }
            }
        }
        assert!(refused * 4 > mixtures * 3, "{refused} of {mixtures} were refused");
    }
}

#[test]
fn copy_of_two_moments_is_refused_at_every_segment() {
    Moments::new([&|tier| write(tier, 1), &|tier| write(tier, 2)]).check_all();
}

#[test]
fn copy_of_two_moments_after_compaction_is_refused() {
    let compact = |tier: &ColdTier| {
        for round in 2..8 {
            write(tier, round);
        }
        assert!(tier.stats().erases > 20, "segments are used again: {}", tier.stats().erases);
    };
    Moments::new([&|tier| write(tier, 1), &compact]).check_all();
}

#[test]
fn copy_in_the_middle_of_segments_is_refused_or_whole() {
    let moments = Moments::new([&|tier| write(tier, 1), &|tier| write(tier, 2)]);
    let name = "part-000.cold";
    let [first, second] = [0, 1]
        .map(|moment: usize| fs::read(moments.base.path().join(moment.to_string()).join(name)).unwrap());
    // A program that copies reads blocks of some length.
    for cut in (0..first.len()).step_by(4 << 10).skip(1).step_by(3) {
        let mixed = [&first[..cut], &second[cut..]].concat();
        for lock_of in [0, 1] {
            moments.check(lock_of, name, &mixed, lock_of);
        }
    }
}

#[test]
fn tier_that_was_moved_or_killed_opens_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "test").unwrap();
    write(&tier, 1);
    let expected = content(&tier);
    // The files as a killed process leaves them: hard links are the same files.
    let killed = dir.path().join("killed");
    fs::create_dir(&killed).unwrap();
    for entry in fs::read_dir(dir.path().join("test")).unwrap() {
        let entry = entry.unwrap();
        fs::hard_link(entry.path(), killed.join(entry.file_name())).unwrap();
    }
    let lock = fs::read(killed.join("LOCK")).unwrap();
    tier.close().unwrap();
    let file = fs::OpenOptions::new().write(true).open(killed.join("LOCK")).unwrap();
    file.write_all_at(&lock, 0).unwrap();
    file.set_len(lock.len() as u64).unwrap();
    fs::remove_dir_all(dir.path().join("test")).unwrap();
    fs::rename(&killed, dir.path().join("moved")).unwrap();
    let moved = open(dir.path(), "moved").unwrap();
    assert!(is_same(&content(&moved), &expected));
    moved.close().unwrap();
}

#[test]
fn copy_with_a_note_of_an_earlier_build_opens() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "test").unwrap();
    write(&tier, 1);
    let expected = content(&tier);
    tier.close().unwrap();
    let path = dir.path().join("copy");
    for note in ["", "4711\n", "settled 1\n5 6 7 8 9 10\n00000000\n"] {
        copy(&dir.path().join("test"), &path);
        fs::write(path.join("LOCK"), note).unwrap();
        let copied = open(dir.path(), "copy").unwrap();
        assert!(is_same(&content(&copied), &expected), "{note:?}");
        copied.close().unwrap();
        fs::remove_dir_all(&path).unwrap();
    }
}
