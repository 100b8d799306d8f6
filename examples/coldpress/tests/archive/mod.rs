//! The commands `backup`, `restore` and `archive`, run as an operator runs them.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::common::{fill, json, lines, open, small, tool, value};
use coldpress_std::archive::{self, RestorePoint, object_store};
use serde_json::Value;

const KEYS: u32 = 3000;

/// Backs the tier `test` of a directory up to its archive `a`.
fn back_up(dir: &Path) -> Value {
    json(&tool(dir, &["backup", "DIR/test", "DIR/a", "--json"]).expect(0))
}

/// Puts a key with a value that no other round has.
fn put(dir: &Path, key: u32, round: u32) {
    let tier = open(dir, "test", &small());
    tier.put(format!("key {key}").as_bytes(), &value(key, round)).unwrap();
    tier.close().unwrap();
}

fn entries(dir: &Path, cache: &str) -> Vec<String> {
    let mut found: Vec<_> = lines(&tool(dir, &["export", &format!("DIR/{cache}")]).expect(0))
        .into_iter()
        .map(|entry| entry.to_string())
        .collect();
    found.sort();
    found
}

fn numbers(archive: &Value) -> Vec<u64> {
    archive["backups"].as_array().unwrap().iter().map(|backup| backup["number"].as_u64().unwrap()).collect()
}

/// The files with segments of the archive `a`.
fn objects(dir: &Path) -> Vec<PathBuf> {
    let names = |path: PathBuf| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    names(dir.join("a/segments")).flat_map(names).collect()
}

fn flip(path: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 7).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 7).unwrap();
}

#[test]
fn backups_are_listed_and_each_one_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fill(dir, "test", &small().schema("docs v1"), KEYS);
    let config = small().schema("docs v1");
    let old = entries(dir, "test");
    let first = back_up(dir);
    let all = first["uploaded_objects"].as_u64().unwrap();
    assert!((&first["number"], &first["reused_objects"]) == (&1.into(), &0.into()) && all > 3, "{first}");
    assert_eq!(fs::metadata(dir.join("a")).unwrap().permissions().mode() & 0o777, 0o700);
    let tier = open(dir, "test", &config);
    tier.put(b"key 7", b"changed").unwrap();
    tier.close().unwrap();
    let new = entries(dir, "test");
    assert!(old.len() == KEYS as usize && old != new);
    let said = tool(dir, &["backup", "DIR", "--cache", "test", "DIR/a"]).expect(0).out();
    assert!(said.starts_with("backup 2, taken at ") && said.lines().count() == 1, "{said}");

    let listed = json(&tool(dir, &["archive", "list", "DIR/a", "--json"]).expect(0));
    assert_eq!(numbers(&listed), [1, 2]);
    let second = &listed["backups"][1];
    assert_eq!((&second["schema"], &second["capacity_bytes"]), (&"docs v1".into(), &(4 << 20).into()));
    let uploaded = objects(dir).len() as u64 - all;
    assert!(uploaded > 0 && uploaded < all, "{uploaded} of {all} objects were uploaded again");
    let text = tool(dir, &["archive", "list", "DIR/a"]).expect(0).out();
    assert!(text.lines().count() == 2 && text.contains("schema \"docs v1\""), "{text}");

    let at = listed["backups"][1]["taken_at"].to_string();
    for (args, restored, values) in
        [(&[][..], "newest", &new), (&["--number", "1"], "first", &old), (&["--at", &at], "until", &new)]
    {
        let to = format!("DIR/r/{restored}");
        let said = tool(dir, &[&["restore", "DIR/a", &to][..], args].concat()).expect(0).out();
        assert!(said.contains(", restored to ") && said.lines().count() == 1, "{said}");
        assert!(&entries(&dir.join("r"), restored) == values, "{restored}");
        let tier = open(&dir.join("r"), restored, &config);
        assert_eq!(tier.get(b"key 8").unwrap(), Some(value(8, 1)));
        tier.put(b"key 8", b"goes on").unwrap();
        tier.close().unwrap();
    }
    assert_eq!(entries(dir, "test"), new);
}

#[test]
fn archive_with_a_flipped_byte_is_verified_as_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fill(dir, "test", &small(), KEYS);
    back_up(dir);
    let said = tool(dir, &["archive", "verify", "DIR/a"]).expect(0).out();
    assert!(said.starts_with("sound: 1 backups can be restored; "), "{said}");
    let object = objects(dir).pop().unwrap();
    flip(&object);
    let name = object.file_name().unwrap().to_str().unwrap();
    let found = tool(dir, &["archive", "verify", "DIR/a"]).expect(1).out();
    assert!(found.contains(&format!("{name} is damaged\n")), "{found}");
    let found = json(&tool(dir, &["archive", "verify", "DIR/a", "--json"]).expect(1));
    assert_eq!((&found["sound"], &found["damage"][0]["number"]), (&false.into(), &1.into()));
    assert_eq!(
        (found["backups"].as_array().unwrap().len(), found["damage"].as_array().unwrap().len()),
        (0, 1)
    );
    let refused = tool(dir, &["restore", "DIR/a", "DIR/r"]).expect(1);
    assert!(refused.err().contains(&format!("{name} is damaged\n")), "{}", refused.err());
    assert_eq!(fs::read_dir(dir).unwrap().count(), 2, "nothing is left of the restore");
    flip(&object);
    tool(dir, &["archive", "verify", "DIR/a"]).expect(0);
    fs::remove_file(&object).unwrap();
    assert!(tool(dir, &["archive", "verify", "DIR/a"]).expect(1).out().contains("is missing\n"));
}

#[test]
fn prune_keeps_the_newest_backups_and_their_objects() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fill(dir, "test", &small(), KEYS);
    let mut states = Vec::new();
    for round in 0..4 {
        put(dir, 7, 10 + round);
        back_up(dir);
        states.push(entries(dir, "test"));
    }
    let before = objects(dir).len() as u64;
    let pruned = json(&tool(dir, &["archive", "prune", "--keep", "2", "DIR/a", "--json"]).expect(0));
    assert_eq!(pruned["backups"], 2);
    let deleted = pruned["objects"].as_u64().unwrap();
    assert!(deleted > 0 && objects(dir).len() as u64 == before - deleted, "{pruned}");
    let listed = json(&tool(dir, &["archive", "list", "DIR/a", "--json"]).expect(0));
    assert_eq!(numbers(&listed), [3, 4]);
    assert_eq!(numbers(&json(&tool(dir, &["archive", "verify", "DIR/a", "--json"]).expect(0))), [3, 4]);
    for number in [3, 4] {
        let to = format!("DIR/r{number}");
        tool(dir, &["restore", "DIR/a", &to, "--number", &number.to_string()]).expect(0);
        assert!(entries(dir, &format!("r{number}")) == states[number - 1], "{number}");
    }
    let refused = tool(dir, &["restore", "DIR/a", "DIR/r1", "--number", "1"]).expect(1);
    assert!(refused.err().contains("no such backup") && !dir.join("r1").exists(), "{}", refused.err());
    let said = tool(dir, &["archive", "prune", "--keep", "2", "DIR/a"]).expect(0).out();
    assert_eq!(said, "0 backups pruned: 0 objects deleted, 0 B\n");
    assert!(back_up(dir)["number"].as_u64() > Some(5), "numbers are not given out again");
}

#[test]
fn places_that_are_no_archive_are_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fill(dir, "test", &small(), 10);
    fill(dir, "other", &small(), 10);
    back_up(dir);
    let count = |place: &str| fs::read_dir(dir.join(place)).unwrap().count();
    let (tier, all) = (count("test"), count(""));
    for (args, code, reason) in [
        (&["backup", "DIR/a", "DIR/new"][..], 3, "is no cache"),
        (&["backup", "DIR/test", "DIR/other"], 3, "is no archive"),
        (&["backup", "DIR/test", "DIR/none/a"], 5, "can't make"),
        (&["backup", "DIR/other", "DIR/a"], 3, "has backups of store"),
        (&["restore", "DIR/test", "DIR/new"], 3, "is no archive"),
        (&["restore", "DIR/none", "DIR/new"], 3, "No such file"),
        (&["restore", "DIR/a", "DIR/test"], 5, "is not an empty directory"),
        (&["restore", "DIR/a", "DIR/new", "--at", "1000"], 1, "no such backup"),
        (&["restore", "DIR/a", "DIR/new", "--at", "1", "--number", "1"], 2, ""),
        (&["archive", "list", "DIR/test"], 3, "is no archive"),
        (&["archive", "verify", "DIR/test"], 3, "is no archive"),
        (&["archive", "prune", "--keep", "1", "DIR/test"], 3, "is no archive"),
        (&["archive", "prune", "--keep", "0", "DIR/a"], 2, ""),
        (&["archive", "prune", "DIR/a"], 2, ""),
    ] {
        let refused = tool(dir, args).expect(code);
        let is_one_line = code == 2 || refused.err().lines().count() == 1;
        assert!(refused.err().contains(reason) && is_one_line, "{args:?}: {}", refused.err());
        assert!(refused.stdout.is_empty(), "{args:?}");
    }
    assert_eq!((count("test"), count("")), (tier, all));
    assert_eq!(entries(dir, "test").len(), 10);
}

#[test]
fn backup_of_an_open_cache_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "test", &small(), 10);
    let mut holder = crate::common::Holder::start(dir.path(), "child_holds_a_tier_open");
    let refused = tool(dir.path(), &["backup", "DIR/test", "DIR/a"]).expect(4);
    assert!(refused.err().contains(&format!("in the process {}", holder.pid())), "{}", refused.err());
    assert!(!dir.path().join("a").exists());
    holder.kill();
    assert_eq!(back_up(dir.path())["number"], 1);
}

#[test]
fn archive_of_a_service_is_continued_by_the_tool() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fill(dir, "test", &small(), KEYS);
    fs::create_dir(dir.join("a")).unwrap();
    let store = object_store::local::LocalFileSystem::new_with_prefix(dir.join("a")).unwrap();
    let prefix = object_store::path::Path::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tier = open(dir, "test", &small());
    let made = runtime.block_on(archive::backup(&tier.handle(), &store, &prefix)).unwrap();
    tier.close().unwrap();
    let next = back_up(dir);
    assert_eq!((made.number, &next["number"]), (1, &2.into()));
    assert!(next["uploaded_objects"].as_u64() < Some(made.uploaded_objects), "{next}");
    let restored = dir.join("r");
    runtime.block_on(archive::restore(&store, &prefix, &restored, RestorePoint::Newest)).unwrap();
    assert_eq!(entries(dir, "r"), entries(dir, "test"));
}

#[test]
fn damaged_manifest_is_named_and_the_others_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fill(dir, "test", &small(), 10);
    for _ in 0..3 {
        back_up(dir);
    }
    flip(&dir.join("a/manifests/00000000000000000002"));
    let listed = json(&tool(dir, &["archive", "list", "DIR/a", "--json"]).expect(1));
    assert_eq!((numbers(&listed), &listed["damage"][0]["number"]), (vec![1, 3], &2.into()));
    let said = tool(dir, &["archive", "list", "DIR/a"]).expect(1).out();
    assert!(said.ends_with("backup 2: manifests/00000000000000000002 is damaged\n"), "{said}");
    tool(dir, &["restore", "DIR/a", "DIR/r2", "--number", "2"]).expect(1);
    tool(dir, &["restore", "DIR/a", "DIR/r3"]).expect(0);
    assert_eq!(entries(dir, "r3"), entries(dir, "test"));
}

#[test]
fn restore_names_the_rest_of_one_that_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fill(dir, "test", &small(), 10);
    back_up(dir);
    fs::create_dir(dir.join("r.restoring-0123abcd")).unwrap();
    let said = tool(dir, &["restore", "DIR/a", "DIR/r"]).expect(0).err();
    assert!(said.contains("r.restoring-0123abcd is of a restore") && said.lines().count() == 1, "{said}");
    assert!(dir.join("r.restoring-0123abcd").exists());
    assert_eq!(entries(dir, "r").len(), 10);
}

#[test]
fn archive_is_named_by_a_url_as_by_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fill(dir, "test", &small(), 10);
    let url = format!("file://{}/a", dir.display());
    assert_eq!(json(&tool(dir, &["backup", "DIR/test", &url, "--json"]).expect(0))["number"], 1);
    assert_eq!(fs::metadata(dir.join("a")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(back_up(dir)["number"], 2);
    assert_eq!(numbers(&json(&tool(dir, &["archive", "list", &url, "--json"]).expect(0))), [1, 2]);
    tool(dir, &["restore", &url, "DIR/r"]).expect(0);
    assert_eq!(entries(dir, "r"), entries(dir, "test"));
    for (place, code, reason) in [
        ("memory:///a", 2, "ends with this command"),
        ("file://host/a", 2, "names no local directory"),
        ("file:///none/a", 3, "No such file"),
        ("ftp://host/a", 5, "ftp://host/a"),
        ("://", 2, "is no URL"),
    ] {
        let refused = tool(dir, &["archive", "list", place]).expect(code);
        assert!(refused.err().contains(reason), "{place}: {}", refused.err());
    }
}

#[test]
fn damage_that_is_deleted_is_uploaded_by_the_next_backup() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fill(dir, "test", &small(), KEYS);
    back_up(dir);
    back_up(dir);
    tool(dir, &["archive", "prune", "--keep", "1", "DIR/a"]).expect(0);
    // Each open changes some segments; the others are reused.
    let flipped = objects(dir);
    flipped.iter().for_each(|object| flip(object));
    assert!(back_up(dir)["reused_objects"].as_u64() > Some(0));
    let found = json(&tool(dir, &["archive", "verify", "DIR/a", "--delete-damaged", "--json"]).expect(1));
    let deleted = &found["deleted"];
    assert_eq!((&deleted["objects"], &deleted["manifests"]), (&flipped.len().into(), &0.into()), "{found}");
    assert_eq!(deleted["backups"], serde_json::json!([2, 4]), "the length alone was compared");
    assert!(back_up(dir)["uploaded_objects"].as_u64() >= Some(1));
    tool(dir, &["archive", "prune", "--keep", "1", "DIR/a"]).expect(0);
    let said = tool(dir, &["archive", "verify", "--delete-damaged", "DIR/a"]).expect(0).out();
    assert!(
        said.starts_with("sound: 1 backups")
            && said.ends_with("deleted: 0 damaged objects, 0 damaged manifests\n")
    );
    tool(dir, &["restore", "DIR/a", "DIR/r"]).expect(0);
    assert_eq!(entries(dir, "r"), entries(dir, "test"));
}
