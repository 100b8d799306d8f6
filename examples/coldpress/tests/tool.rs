//! The tool, run as an operator runs it.

mod archive;
mod common;

use core::time::Duration;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use coldpress_std::{PersistentColdTier, PutOptions, Ttl};

use common::{Run, fill, json, lines, open, small, tool, value};

#[test]
fn list_shows_every_cache_with_its_facts() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "docs", &small().schema("docs v1"), 50);
    fill(dir.path(), "pairs", &small().capacity_bytes(8 << 20).partitions(2), 0);
    fs::create_dir(dir.path().join("other")).unwrap();
    for args in [vec!["list", "DIR", "--json"], vec!["DIR", "--json"]] {
        let found = json(&tool(dir.path(), &args).expect(0));
        let caches = found["caches"].as_array().unwrap();
        let names: Vec<_> = caches.iter().map(|cache| cache["cache"].as_str().unwrap()).collect();
        assert_eq!(names, ["docs", "pairs"]);
        assert_eq!((&caches[0]["schema"], &caches[0]["format_version"]), (&"docs v1".into(), &2.into()));
        assert_eq!((&caches[0]["in_use"], &caches[0]["pid"]), (&false.into(), &serde_json::Value::Null));
        let parts = caches[1]["partitions"].as_array().unwrap();
        assert_eq!((parts.len(), &parts[0]["state"]), (2, &"unused".into()));
        assert_eq!(caches[0]["partitions"][0]["segment_bytes"], 65_536);
        assert_eq!(caches[0]["capacity_bytes"], 4 << 20);
    }
    let text = tool(dir.path(), &["DIR"]).expect(0).out();
    assert!(text.contains("schema \"docs v1\"") && text.contains("closed, format 2"), "{text}");
    let one = json(&tool(dir.path(), &["list", "DIR", "--cache", "docs", "--json"]).expect(0));
    assert_eq!(one["caches"].as_array().unwrap().len(), 1);
    let refused = tool(dir.path(), &["stats", "DIR"]).expect(2).err();
    assert!(refused.contains("--cache: docs, pairs"), "{refused}");
}

#[test]
fn get_string_reads_what_a_typed_cache_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let config = small().base_dir(dir.path()).build().unwrap();
    let tier = PersistentColdTier::<String, String>::with_own_pools(config, "typed").unwrap();
    let (key, value) = ("k".repeat(200), "v".repeat(300));
    tier.put(&key, &value).unwrap();
    tier.close().unwrap();
    let found = tool(dir.path(), &["get", "DIR", &key, "--string"]).expect(0);
    assert_eq!(found.stdout, value.as_bytes());
    assert!(tool(dir.path(), &["get", "DIR", &key]).expect(1).err().contains("--string"));
}

#[test]
fn reading_commands_show_a_tier_of_two_partitions() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "test", &small().capacity_bytes(8 << 20).partitions(2), 100);
    let stats = json(&tool(dir.path(), &["stats", "DIR", "--json"]).expect(0));
    assert_eq!((&stats["keys"], &stats["settled"]), (&100.into(), &true.into()));
    assert_eq!(stats["logs"].as_array().unwrap().len(), 2);
    assert!(stats["stale_bytes"].as_u64() > Some(0));
    let text = tool(dir.path(), &["stats", "DIR"]).expect(0).out();
    assert!(text.contains("100 keys") && text.contains("partition 1:"), "{text}");

    let verified = json(&tool(dir.path(), &["verify", "DIR", "--json"]).expect(0));
    assert_eq!((&verified["sound"], &verified["live_records"]), (&true.into(), &100.into()));
    assert!(tool(dir.path(), &["verify", "DIR"]).expect(0).out().starts_with("sound: "));

    let mut keys: Vec<_> =
        tool(dir.path(), &["keys", "DIR"]).expect(0).out().lines().map(str::to_owned).collect();
    keys.sort();
    assert_eq!((keys.len(), keys[0].as_str(), keys[99].as_str()), (100, "key 0", "key 99"));
    let keys = lines(&tool(dir.path(), &["keys", "DIR", "--json"]).expect(0));
    assert!(keys.len() == 100 && keys.iter().all(|key| key["key"].is_string() && key.get("value").is_none()));

    let found = tool(dir.path(), &["get", "DIR", "key 7"]).expect(0);
    assert_eq!(found.stdout, value(7, 1));
    let found = tool(dir.path(), &["get", "DIR", "a2V5IDc=", "--base64", "--json"]).expect(0);
    assert_eq!((&json(&found)["key"], &json(&found)["value"]), (&"key 7".into(), &json_text(&value(7, 1))));
    let missing = tool(dir.path(), &["get", "DIR", "none"]).expect(1);
    assert!(missing.stdout.is_empty() && missing.err().contains("no value of the key none"));
    assert!(tool(dir.path(), &["get", "DIR", "!", "--base64"]).expect(2).err().contains("no base64"));

    let live = lines(&tool(dir.path(), &["dump", "DIR", "--live", "--json"]).expect(0));
    assert_eq!(live.iter().filter(|record| record["kind"] == "value").count(), 100);
    assert!(live.iter().any(|record| record["partition"] == 1));
    let all = tool(dir.path(), &["dump", "DIR"]).expect(0).out();
    assert!(all.lines().count() >= 200 && all.contains(" stale "), "{all}");
}

fn json_text(bytes: &[u8]) -> serde_json::Value {
    core::str::from_utf8(bytes).unwrap().into()
}

#[test]
fn tier_never_written_is_read_and_compacted() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "test", &small(), 0);
    assert_eq!(json(&tool(dir.path(), &["stats", "DIR", "--json"]).expect(0))["keys"], 0);
    assert_eq!(json(&tool(dir.path(), &["verify", "DIR", "--json"]).expect(0))["sound"], true);
    for command in ["keys", "dump", "export"] {
        assert!(tool(dir.path(), &[command, "DIR"]).expect(0).stdout.is_empty());
    }
    tool(dir.path(), &["get", "DIR", "key"]).expect(1);
    for command in ["compact", "rebuild-index", "optimise", "evict-expired"] {
        let report = json(&tool(dir.path(), &[command, "DIR", "--json"]).expect(0));
        let done = ["completed", "nothing to do"].contains(&report["outcome"].as_str().unwrap());
        assert!(done, "{command}: {report}");
    }
}

#[test]
fn tasks_report_their_work_and_keep_the_values() {
    let dir = tempfile::tempdir().unwrap();
    let config = small().capacity_bytes(8 << 20).partitions(2);
    fill(dir.path(), "test", &config, 3000);
    let tier = open(dir.path(), "test", &config);
    for key in (0..3000).step_by(2) {
        tier.put(format!("key {key}").as_bytes(), &value(key, 1)).unwrap();
    }
    for key in 0..200 {
        let ttl = Ttl::After(core::time::Duration::from_secs(1));
        tier.put_with(format!("short {key}").as_bytes(), b"lived", PutOptions { ttl, durability: None })
            .unwrap();
    }
    tier.close().unwrap();
    let before = fs::metadata(dir.path().join("test/part-000.cold")).unwrap().len();
    let report = json(&tool(dir.path(), &["compact", "DIR", "--json"]).expect(0));
    assert_eq!((&report["task"], &report["outcome"]), (&"compact data".into(), &"completed".into()));
    assert!(report["freed_segments"].as_u64() > Some(0), "{report}");
    let report = json(&tool(dir.path(), &["rebuild-index", "DIR", "--json"]).expect(0));
    assert!(report["checked_records"].as_u64() >= Some(3000), "{report}");
    let text = tool(dir.path(), &["optimise", "DIR"]).expect(0).out();
    assert!(
        text.starts_with("optimize compression: completed") && text.contains("the best codec is"),
        "{text}"
    );
    std::thread::sleep(core::time::Duration::from_secs(3));
    let report = json(&tool(dir.path(), &["evict-expired", "DIR", "--json"]).expect(0));
    assert_eq!(report["expired_records"], 200, "{report}");
    assert_eq!(fs::metadata(dir.path().join("test/part-000.cold")).unwrap().len(), before);
    let tier = open(dir.path(), "test", &config);
    for key in 0..3000 {
        assert_eq!(tier.get(format!("key {key}").as_bytes()).unwrap(), Some(value(key, 1)));
    }
}

#[test]
fn damaged_tier_is_verified_and_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "test", &small(), 200);
    let path = dir.path().join("test/part-000.cold");
    let bytes = fs::read(&path).unwrap();
    let wanted = value(42, 1);
    // Values are compressed, and their first bytes are not.
    let at = bytes.windows(20).rposition(|place| place == &wanted[..20]).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    let before = fs::read(&path).unwrap();

    let found = json(&tool(dir.path(), &["verify", "DIR", "--json"]).expect(1));
    assert_eq!((&found["sound"], &found["rewrite"]), (&false.into(), &serde_json::Value::Null));
    let damage = &found["damage"][0];
    assert!(damage["damage"].as_str().unwrap().contains("the newest of its key"), "{found}");
    assert!(damage["rewrite"].as_str().unwrap().contains("relocates the intact records"), "{found}");
    let said = tool(dir.path(), &["verify", "DIR"]).expect(1).out();
    assert!(said.contains("; a rewrite relocates") && said.contains("1 place damaged"), "{said}");
    let got = tool(dir.path(), &["get", "DIR", "key 42"]).expect(1);
    assert!(got.stdout.is_empty() && got.err().contains("is damaged"), "{}", got.err());
    for command in ["keys", "export", "dump"] {
        let out = tool(dir.path(), &[command, "DIR"]).expect(1);
        assert!(out.err().contains("is damaged"), "{command}: {}", out.err());
        assert!(out.out().lines().count() >= 199);
    }
    assert!(fs::read(&path).unwrap() == before, "nothing is repaired unless asked");

    let done = json(&tool(dir.path(), &["verify", "DIR", "--rewrite", "--json"]).expect(1));
    assert!(done["rewrite"]["damaged_records"].as_u64() >= Some(1), "{done}");
    assert_eq!(done["after"]["damage"].as_array().unwrap().len(), 1, "{done}");
    // The key is put again, so nobody misses the record.
    let line = r#"{"key":"key 42","value":"new"}"#;
    tool(dir.path(), &["import", "DIR", "--replace"]).input(line).expect(0);
    let found = json(&tool(dir.path(), &["verify", "DIR", "--json"]).expect(1));
    assert!(found["damage"][0]["rewrite"].as_str().unwrap().contains("no key needs the record"), "{found}");
    assert_eq!(tool(dir.path(), &["get", "DIR", "key 42"]).expect(0).stdout, b"new");
    assert_eq!(tool(dir.path(), &["keys", "DIR"]).expect(0).out().lines().count(), 200);
}

#[test]
fn child_holds_a_tier_open() {
    common::hold_tier();
}

#[test]
fn tier_that_a_process_holds_is_read_and_changes_name_it() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "test", &small(), 100);
    let mut holder = common::Holder::start(dir.path(), "child_holds_a_tier_open");
    let pid = holder.pid();
    let listed = json(&tool(dir.path(), &["list", "DIR", "--json"]).expect(0));
    assert_eq!((&listed["caches"][0]["in_use"], &listed["caches"][0]["pid"]), (&true.into(), &pid.into()));
    assert!(tool(dir.path(), &["DIR"]).expect(0).out().contains(&format!("open in the process {pid}")));
    for command in ["stats", "verify", "keys", "dump", "export"] {
        assert!(!tool(dir.path(), &[command, "DIR"]).expect(0).stdout.is_empty(), "{command}");
    }
    assert_eq!(tool(dir.path(), &["get", "DIR", "held"]).expect(0).stdout, b"by the child");
    assert_eq!(tool(dir.path(), &["keys", "DIR"]).expect(0).out().lines().count(), 101);
    for args in [
        &["compact", "DIR"][..],
        &["rebuild-index", "DIR"],
        &["optimise", "DIR"],
        &["evict-expired", "DIR"],
        &["import", "DIR"],
        &["verify", "DIR", "--rewrite"],
    ] {
        let refused = tool(dir.path(), args).expect(4);
        assert!(refused.stdout.is_empty(), "{args:?}");
        let expected = format!("is open already, in the process {pid}\n");
        assert!(
            refused.err().ends_with(&expected) && refused.err().lines().count() == 1,
            "{}",
            refused.err()
        );
    }
    // One that was killed leaves its number behind, and no lock.
    holder.kill();
    let listed = json(&tool(dir.path(), &["list", "DIR", "--json"]).expect(0));
    assert_eq!(listed["caches"][0]["in_use"], false);
    tool(dir.path(), &["compact", "DIR"]).expect(0);
}

#[test]
fn export_imported_elsewhere_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "old", &small());
    let forever = PutOptions { ttl: Ttl::Never, durability: None };
    let hour = PutOptions { ttl: Ttl::After(core::time::Duration::from_secs(3600)), durability: None };
    let long: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let entries: [(&[u8], &[u8], PutOptions); 5] = [
        (b"plain", "text \u{e9} \"\\\n".as_bytes(), forever),
        (b"\xff\x00", b"\x80binary", forever),
        (b"short", b"lives an hour", hour),
        (b"empty", b"", forever),
        (b"long", &long, hour),
    ];
    for (key, value, options) in entries {
        tier.put_with(key, value, options).unwrap();
    }
    tier.close().unwrap();
    let file = dir.path().join("export.jsonl");
    let file = file.to_str().unwrap();
    let to = ["export", "DIR", "--cache", "old", "--to", file];
    assert!(tool(dir.path(), &to).expect(0).stdout.is_empty());
    assert!(tool(dir.path(), &to).expect(5).err().contains("can't make"), "a file is never overwritten");
    assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    let create = ["--create", "--capacity-bytes", "8388608", "--partitions", "2", "--json"];
    let args = [&["import", "DIR", "--cache", "new", "--from", file][..], &create].concat();
    let counts = json(&tool(dir.path(), &args).expect(0));
    assert_eq!((&counts["imported"], &counts["kept"]), (&5.into(), &0.into()));
    // Again: they are there.
    let counts = json(&tool(dir.path(), &args).expect(0));
    assert_eq!((&counts["imported"], &counts["kept"]), (&0.into(), &5.into()));
    let sorted = |cache| {
        let mut found: Vec<_> =
            lines(&tool(dir.path(), &["export", "DIR", "--cache", cache]).expect(0)).into_iter().collect();
        found.sort_by_key(|line| line["key"].as_str().map(str::to_owned));
        found
    };
    let (old, new) = (sorted("old"), sorted("new"));
    for (old, new) in old.iter().zip(&new) {
        for field in ["key", "key_base64", "value", "value_base64"] {
            assert!(old[field] == new[field], "{field}");
        }
        let expiry = |line: &serde_json::Value| line["expires_at"].as_u64();
        let drift = expiry(old).zip(expiry(new)).map(|(old, new)| new.abs_diff(old));
        assert!(expiry(old).is_some() == expiry(new).is_some() && drift.unwrap_or(0) <= 2, "{old} {new}");
    }
    assert!(old.len() == 5 && new.len() == 5);
    assert_eq!(old.iter().filter(|line| line.get("expires_at").is_some()).count(), 2);
    let tier = open(dir.path(), "new", &small().capacity_bytes(8 << 20).partitions(2));
    assert_eq!(tier.get(b"\xff\x00").unwrap().as_deref(), Some(&b"\x80binary"[..]));
    assert!(tier.get(b"long").unwrap().is_some_and(|value| value == long));
}

#[test]
fn import_stops_at_a_wrong_line_and_keeps_those_before() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "test", &small(), 1);
    let input = "{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"a\",\"value\":\"2\"}\n{\"key\":\"b\"}\n{\"key\":\"c\",\"value\":\"3\"}\n";
    let refused = tool(dir.path(), &["import", "DIR"]).input(input).expect(2);
    assert!(refused.err().contains("line 4: it takes one of `value`"), "{}", refused.err());
    assert_eq!(refused.out(), "1 entries imported, 1 kept as they were, 0 expired\n");
    assert_eq!(tool(dir.path(), &["get", "DIR", "a"]).expect(0).stdout, b"1");
    tool(dir.path(), &["get", "DIR", "c"]).expect(1);
    let input = "{\"key\":\"a\",\"value\":\"4\"}\n{\"key\":\"old\",\"value\":\"\",\"expires_at\":1000}\n";
    let counts = json(&tool(dir.path(), &["import", "DIR", "--replace", "--json"]).input(input).expect(0));
    assert_eq!((&counts["imported"], &counts["expired"]), (&1.into(), &1.into()));
    assert_eq!(tool(dir.path(), &["get", "DIR", "a"]).expect(0).stdout, b"4");
    let key = "k".repeat(10_000);
    let input = format!("{{\"key\":\"{key}\",\"value\":\"\"}}");
    let refused = tool(dir.path(), &["import", "DIR"]).input(&input).expect(5);
    assert!(refused.err().contains("from line 1"), "{}", refused.err());
    tool(dir.path(), &["import", "DIR", "--from", "/nowhere/file"]).expect(5);
}

#[test]
fn closed_pipe_ends_quietly() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "test", &small(), 3000);
    for command in ["keys", "dump", "export"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_coldpress"))
            .arg(command)
            .arg(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]), "{command}");
    }
}

#[test]
fn full_output_is_an_error_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "test", &small(), 10);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_coldpress"));
    let out = command.arg("keys").arg(dir.path()).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&out.stderr).contains("No space left"), "{out:?}");
}

#[test]
fn directories_that_are_no_cache_are_refused_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    for (args, code) in [
        (&["stats", "DIR"][..], 3),
        (&["list", "DIR/none"], 3),
        (&["verify", "DIR", "--cache", "none"], 3),
        (&["compact", "DIR"], 3),
        (&["nonsense", "DIR"], 2),
        (&[], 2),
        (&["get", "DIR"], 2),
        (&["import", "DIR", "--create"], 2),
    ] {
        let refused = tool(dir.path(), args).expect(code).err();
        let names_it =
            code == 2 || refused.contains(dir.path().to_str().unwrap()) && refused.lines().count() == 1;
        assert!(names_it, "{args:?}: {refused}");
    }
    fill(dir.path(), "test", &small(), 1);
    fs::write(dir.path().join("test/part-000.cold"), "no log").unwrap();
    let refused = tool(dir.path(), &["keys", "DIR"]).expect(3).err();
    assert!(refused.contains("part-000.cold"), "{refused}");
    let listed = tool(dir.path(), &["list", "DIR", "--json"]).expect(3);
    assert!(json(&listed)["caches"][0]["error"].is_string());
}

#[test]
fn unreadable_directory_names_the_refusal_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), "test", &small(), 1);
    let program = dir.path().join("coldpress");
    fs::copy(env!("CARGO_BIN_EXE_coldpress"), &program).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(dir.path(), 0o755);
    let path = dir.path().join("test");
    mode(&path, 0o000);
    let run = |path: &Path| {
        let mut command = Command::new(&program);
        command.arg("stats").arg(path);
        // The superuser may always read.
        if dir.path().metadata().unwrap().uid() == 0 {
            command.uid(65_534).gid(65_534);
        }
        // A child that another test starts meanwhile has the copy open for writing until it begins its own program.
        let busy = |output: &std::io::Result<Output>| {
            output.as_ref().is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy)
        };
        let pause = || std::thread::sleep(Duration::from_millis(10));
        let tries = (0..1_000).map(|_| command.output());
        let mut tries = tries.inspect(|output| busy(output).then(pause).unwrap_or_default());
        Run::of(tries.find(|output| !busy(output)).unwrap().unwrap())
    };
    let refused = run(&path).expect(3).err();
    assert!(refused.contains("Permission denied") && refused.contains("test"), "{refused}");
    mode(&path, 0o755);
    for file in path.read_dir().unwrap() {
        mode(&file.unwrap().path(), 0o444);
    }
    let read = run(&path).expect(0).out();
    assert!(read.contains("1 keys"), "a reader needs no right to write: {read}");
}

#[test]
fn older_format_is_refused_and_converted_by_the_tool() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    fs::create_dir(&old).unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/version-1");
    for name in ["part-000.cold", "part-001.cold"] {
        let packed = fs::read(data.join(format!("{name}.zst"))).unwrap();
        fs::write(old.join(name), zstd::decode_all(&packed[..]).unwrap()).unwrap();
    }
    for command in ["stats", "verify", "keys", "compact", "list"] {
        let refused = tool(dir.path(), &[command, "DIR"]).expect(3);
        let said = refused.out() + &refused.err();
        assert!(said.contains("coldpress image convert"), "{command}: {said}");
    }
    let (from, to) = (old.to_str().unwrap(), dir.path().join("new"));
    tool(dir.path(), &["image", "convert", from, to.to_str().unwrap()]).expect(0);
    let keys = tool(&to, &["keys", "DIR"]).expect(0).out();
    assert!(keys.lines().count() > 10, "{keys}");
}

#[test]
fn image_jobs_work_as_in_the_program_of_that_name() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("flash.bin");
    let image = image.to_str().unwrap();
    tool(dir.path(), &["image", "build", image, "--keys", "20"]).expect(0);
    assert!(tool(dir.path(), &["image", "verify", image]).expect(0).out().starts_with("sound"));
    assert_eq!(json(&tool(dir.path(), &["image", "stats", image, "--json"]).expect(0))["damage"], 0);
    assert!(!lines(&tool(dir.path(), &["image", "dump", image, "--json"]).expect(0)).is_empty());
    assert!(tool(dir.path(), &["image", "build", image]).expect(3).err().contains(image));
}

#[test]
fn help_lists_commands_and_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let help = tool(dir.path(), &["--help"]).expect(0).out();
    for part in ["list", "evict-expired", "Exit codes:", "4  another process has the cache open", "--json"] {
        assert!(help.contains(part), "{part}");
    }
}

#[test]
fn copy_of_an_open_cache_is_read_with_a_warning_alone() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "test", &small());
    tier.put(b"key", b"value").unwrap();
    tier.flush().unwrap();
    let copy = dir.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(dir.path().join("test")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    for read in [
        &["get", "DIR/copy", "key"][..],
        &["export", "DIR/copy"],
        &["stats", "DIR/copy"],
        &["verify", "DIR/copy"],
    ] {
        let run = tool(dir.path(), read).expect(0);
        assert!(run.err().contains("is a copy of a tier that was open"), "{read:?}: {}", run.err());
    }
    assert_eq!(tool(dir.path(), &["verify", "DIR/test"]).expect(0).err(), "");
    for write in [&["compact", "DIR/copy"][..], &["backup", "DIR/copy", "DIR/a"]] {
        let refused = tool(dir.path(), write).expect(3).err();
        assert!(
            refused.contains("is a copy of a tier that was open") && refused.lines().count() == 1,
            "{refused}"
        );
    }
    tier.close().unwrap();
}
