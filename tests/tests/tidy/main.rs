//! Holds the tree to the house rules, and each rule to a violation planted in a string.

mod language;

use core::fmt::Write as _;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use coldpress_tests::tidy::{self, FunctionSize, Violation};

/// A source or manifest: its path from the root, and its text.
struct File {
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads every file below `folder` whose name ends so, builds and hidden folders left out.
fn files(folder: &str, suffix: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(suffix) {
                let text = fs::read_to_string(root().join(&path)).unwrap();
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "nothing below {folder} ends in {suffix}");
    found
}

/// Fails with a list of everything that breaks `rule` in `files`.
fn hold(files: &[File], rule: fn(&str) -> Vec<Violation>) {
    let mut list = String::new();
    for file in files {
        for found in rule(&file.text) {
            let _ = writeln!(list, "{}:{}: {}", file.path.display(), found.line, found.what);
        }
    }
    assert!(list.is_empty(), "\n{list}");
}

/// The sources of a folder that a build without tests compiles.
fn library_sources(folder: &str) -> Vec<File> {
    let all = files(folder, ".rs");
    let mut tests = BTreeSet::new();
    for file in &all {
        let stem = file.path.with_extension("");
        let here = match stem.file_name().and_then(|name| name.to_str()) {
            Some("mod" | "lib" | "main") => stem.with_file_name(""),
            _ => stem,
        };
        tests.extend(tidy::test_modules(&file.text).into_iter().map(|name| here.join(name)));
    }
    let is_test = |file: &File| tests.iter().any(|test| file.path.with_extension("").starts_with(test));
    all.into_iter().filter(|file| !is_test(file)).collect()
}

/// Asserts that `rule` finds something in each of `bad` and nothing in each of `good`.
fn catches(rule: fn(&str) -> Vec<Violation>, bad: &[&str], good: &[&str]) {
    for text in bad {
        assert!(!rule(text).is_empty(), "not caught: {text}");
    }
    for text in good {
        assert_eq!(rule(text), [], "caught without cause: {text}");
    }
}

#[test]
fn sources_share_no_ownership() {
    hold(&files("", ".rs"), tidy::shared_ownership);
    hold(&files("", "Cargo.toml"), tidy::shared_ownership_in_manifest);
}

#[test]
fn planted_shared_ownership_is_caught() {
    catches(
        tidy::shared_ownership,
        &[
            "use std::sync::Arc;",
            "use std::{sync::{Mutex, Arc as Shared}, io};",
            "struct A { b: alloc::rc::Rc<u8> }",
            "use std::sync::Weak;",
            "use std::rc::*;",
            "#[cfg(test)] mod tests { type A = r#Arc<u8>; }",
        ],
        &["// no Arc here\n/* nor Rc /* nor Weak */ */ fn a() { b(\"Arc\") }", "struct Archive(ArcLength);"],
    );
    catches(
        tidy::shared_ownership_in_manifest,
        &[
            "[dependencies]\narc-swap = \"1\"",
            "[workspace.dependencies]\nserde = { version = \"1\", features = [\"derive\", \"rc\"] }",
            "[dependencies.triomphe]\nversion = \"0.1\"",
            "[target.'cfg(unix)'.dependencies]\nbytes.workspace = true",
            "[dependencies]\nshare = { package = \"servo_arc\", version = \"0.4\" }",
            "[features]\nshare = [\n  \"serde/rc\",\n]",
        ],
        &["[dependencies]\n# arc-swap = \"1\"\nserde = { version = \"1\", features = [\"derive\"] }"],
    );
}

#[test]
fn top_level_is_as_fixed() {
    let entries: Vec<_> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(tidy::root_entries(entries.iter().map(String::as_str)), []);
}

#[test]
fn planted_top_level_entries_are_caught() {
    let full = "Cargo.toml Cargo.lock README.md CONTRIBUTING.md LICENSE-MIT LICENSE-APACHE clippy.toml rustfmt.toml core \
                std-adapter embedded-adapter tests examples";
    let check = |text: &str| tidy::root_entries(text.split(' ')).len();
    assert_eq!(check(&format!("{full} .ci target")), 0);
    assert_eq!(check(&format!("{full} scripts")), 1);
    assert_eq!(check(&full.replace("README.md ", "")), 1);
}

/// The lines of a page's command blocks, comments left out.
fn commands(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.flat_map(str::lines).map(|line| line.split('#').next().unwrap_or_default())
}

#[test]
fn examples_in_the_pages_name_one_program_each() {
    let manifests = files("", "Cargo.toml");
    for page in files("", ".md") {
        let mut words = page.text.split_whitespace().map(|word| word.trim_matches(['`', ')', '.', ',', ':']));
        while let Some(word) = words.next() {
            let Some(name) = (word == "--example").then(|| words.next()).flatten() else { continue };
            let line = format!("[[example]]\nname = \"{name}\"\n");
            let listed = manifests.iter().filter(|manifest| manifest.text.contains(&line)).count();
            let found = usize::from(root().join(format!("std-adapter/examples/{name}.rs")).exists());
            assert_eq!(listed + found, 1, "{}: {name}", page.path.display());
        }
    }
}

#[test]
fn files_in_the_commands_of_the_pages_exist() {
    let mut named = 0;
    for page in files("", ".md") {
        let path = page.path.display();
        let words: Vec<_> = commands(&page.text).flat_map(str::split_whitespace).collect();
        let ours = words.iter().filter(|word| ["tests/", "examples/"].iter().any(|at| word.starts_with(at)));
        named += ours.inspect(|word| assert!(root().join(word).exists(), "{word}, {path}")).count();
        for (at, file) in words
            .iter()
            .enumerate()
            .filter(|(_, word)| word.starts_with("target/") && !word.contains("-none-"))
        {
            let is_made = ["build", "-o", ">"].contains(&words[at - 1]) || words[at - 2] == "convert";
            assert!(is_made || words[..at].contains(file), "{path}: {file} is used before it is made");
        }
    }
    assert!(named >= 2, "{named}");
}

#[test]
fn suites_name_every_file_of_their_folder() {
    for folder in ["std-adapter/tests/suite", "embedded-adapter/tests/suite", "tests/tests/suite"] {
        let main = fs::read_to_string(root().join(folder).join("main.rs")).unwrap();
        for file in files(folder, ".rs").iter().filter(|file| !file.path.ends_with("main.rs")) {
            let name = file.path.file_stem().unwrap().to_str().unwrap();
            let listed = main.lines().filter(|line| *line == format!("mod {name};")).count();
            assert_eq!(listed, 1, "{}: its tests don't run", file.path.display());
        }
    }
}

#[test]
fn help_of_a_program_is_not_that_of_its_crate() {
    // Without a text of its own `about` prints the description of the crate, which is the same for all its programs.
    let bare =
        |line: &&str| line.contains("#[command(") && (line.contains("about)]") || line.contains("about,"));
    for file in files("", ".rs").iter().filter(|file| !file.path.starts_with("tests")) {
        assert_eq!(file.text.lines().find(bare), None, "{}", file.path.display());
    }
}

#[test]
fn crate_of_replay_needs_no_suites_and_no_other_stores() {
    let manifest = fs::read_to_string(root().join("examples/Cargo.toml")).unwrap();
    for name in ["dev-dependencies", "coldpress-tests", "ekv", "sequential-storage", "defmt", "proptest"] {
        assert!(!manifest.contains(name), "{name}");
    }
}

#[test]
fn crates_forbid_unsafe_code_and_share_their_lints() {
    let (mut roots, mut members) = (Vec::new(), Vec::new());
    for file in files("", "Cargo.toml") {
        let folder = file.path.with_file_name("");
        if folder == Path::new("") {
            hold(&[file], tidy::root_manifest);
            continue;
        }
        let is_member = file.text.contains("version.workspace");
        // A crate that is not published may leave it to the lints it inherits. One without sources has programs alone.
        let has_sources = root().join(&folder).join("src").is_dir();
        if has_sources && !(is_member && file.text.contains("publish = false")) {
            let is_root = |source: &File| {
                ["src/lib.rs", "src/main.rs"].iter().any(|name| source.path == folder.join(name))
            };
            roots.extend(files(&folder.join("src").to_string_lossy(), ".rs").into_iter().filter(is_root));
        }
        members.extend(is_member.then_some(file));
    }
    assert!(roots.len() >= 3 && members.len() >= 5, "{} roots, {} members", roots.len(), members.len());
    hold(&members, tidy::member_manifest);
    hold(&roots, tidy::crate_root);
}

#[test]
fn planted_lax_crates_are_caught() {
    catches(
        tidy::crate_root,
        &["//! a", "// #![forbid(unsafe_code)]", "#![deny(unsafe_code)]", "#[forbid(unsafe_code)] mod a {}"],
        &["//! a\n#![no_std]\n#![forbid(unsafe_code)]", "#![forbid(missing_docs, unsafe_code)]"],
    );
    let member = "[package]\nname = \"a\"\nrust-version.workspace = true\n\n[lints]\nworkspace = true\n";
    catches(
        tidy::member_manifest,
        &["", &member.replace("[lints]", "[lint]"), &member.replace("rust-version.", "edition.")],
        &[member],
    );
    let lints = "[workspace.lints.rust]\nmissing_docs = \"deny\"\nunsafe_code = \"forbid\"\n\
                 [workspace.lints.clippy]\ndisallowed_types = \"deny\"\n";
    catches(
        tidy::root_manifest,
        &["", &lints.replace("forbid", "deny"), &lints.replace("clippy", "rustdoc")],
        &[lints],
    );
}

#[test]
fn sources_allow_no_lint() {
    hold(&files("", ".rs"), tidy::allowed_lints);
}

#[test]
fn planted_allowed_lints_are_caught() {
    catches(
        tidy::allowed_lints,
        &[
            "#[allow(dead_code)] fn a() {}",
            "#![allow(clippy::all)]",
            "#[cfg_attr(test, allow(unused))] mod a;",
            "#[ allow ( dead_code ) ] fn a() {}",
        ],
        &["#[expect(dead_code, reason = \"b\")] fn a() { allow(b) }", "// #[allow(dead_code)]"],
    );
}

#[test]
fn sources_leave_nothing_for_later() {
    hold(&files("", ".rs"), tidy::unfinished);
}

#[test]
fn planted_unfinished_work_is_caught() {
    catches(
        tidy::unfinished,
        &[
            "// TODO: b",
            "/* a\n FIXME */",
            "/// TODO(me)",
            "fn a() { todo!() }",
            "fn a() { unimplemented!(\"b\") }",
        ],
        &["fn a() { b(\"TODO\") }", "// what is still todo", "fn todo() { unimplemented() }"],
    );
    assert_eq!(tidy::unfinished("a\n/* b\nFIXME */")[0].line, 3);
}

#[test]
fn every_test_runs() {
    hold(&files("", ".rs"), tidy::ignored_tests);
}

#[test]
fn planted_ignored_tests_are_caught() {
    catches(
        tidy::ignored_tests,
        &[
            "#[test] #[ignore] fn a() {}",
            "#[ignore = \"slow\"] fn a() {}",
            "#[cfg_attr(a, ignore)] fn a() {}",
        ],
        &["#[test] fn ignore() {}", "// #[ignore]"],
    );
}

#[test]
fn core_library_code_does_not_panic() {
    hold(&library_sources("core/src"), tidy::panics);
}

#[test]
fn planted_panics_are_caught() {
    catches(
        tidy::panics,
        &[
            "fn a() { b.unwrap() }",
            "fn a() { b\n.expect(\"c\") }",
            "fn a() { panic!(\"b\") }",
            "#[cfg(test)] mod tests { fn a() {} } fn b() { c.unwrap() }",
            "#[cfg(test)] use a::b;\nfn c() { d.unwrap() }",
            "#[cfg(not(test))] fn a() { b.unwrap() }",
        ],
        &[
            "fn a() { b.unwrap_or(c) } // .unwrap()",
            "#[expect(dead_code, reason = \"c\")] fn a() {}",
            "#[cfg(test)] mod tests { #[test] fn a() { b.unwrap(); panic!() } }",
            "#[cfg(all(test, feature = \"a\"))] fn a([b, c]: [u8; 2]) { d.unwrap() }",
            "/// ```\n/// a.unwrap();\n/// ```\nfn b() {}",
        ],
    );
    assert_eq!(tidy::test_modules("#[cfg(test)]\nmod a;\nmod b;\n#[cfg(test)]\nmod c { }"), ["a"]);
}

#[test]
fn embeddable_library_code_does_not_allocate() {
    hold(&library_sources("core/src"), tidy::allocation);
    hold(&library_sources("embedded-adapter/src"), tidy::allocation);
}

#[test]
fn planted_allocators_are_caught() {
    catches(
        tidy::allocation,
        &["extern crate alloc;", "#[cfg(feature = \"a\")] extern crate std;"],
        &["#[cfg(test)] extern crate std;", "// extern crate alloc;"],
    );
}

/// The layer of a file below a folder of sources; `None` for the root of the crate.
fn layer_of(file: &File, sources: &str) -> Option<String> {
    let inside = file.path.strip_prefix(sources).unwrap().with_extension("");
    let first = inside.components().next()?.as_os_str().to_str()?.to_owned();
    (first != "lib").then_some(first)
}

/// Asserts that each file of a crate imports only layers before its own, and that the list names each layer that there is.
fn assert_layered(sources: &str, layers: &[&str]) {
    let mut list = String::new();
    let mut seen = BTreeSet::new();
    for file in library_sources(sources) {
        let Some(layer) = layer_of(&file, sources) else { continue };
        for found in tidy::upward_imports(&layer, layers, &file.text) {
            let _ = writeln!(list, "{}:{}: {}", file.path.display(), found.line, found.what);
        }
        seen.insert(layer);
    }
    assert!(list.is_empty(), "\n{list}");
    let layers = layers.iter().copied().map(String::from).collect();
    assert_eq!(seen, layers, "every layer is there, and no folder is without one");
}

#[test]
fn core_imports_only_point_down() {
    assert_layered("core/src", &tidy::CORE_LAYERS);
}

#[test]
fn std_adapter_imports_only_point_down() {
    assert_layered("std-adapter/src", &tidy::STD_LAYERS);
}

#[test]
fn core_files_import_each_other_in_no_cycle() {
    let sources = library_sources("core/src");
    for layer in tidy::CORE_LAYERS {
        let of_layer = |file: &&File| file.path.parent().is_some_and(|folder| folder.ends_with(layer));
        let stems = sources
            .iter()
            .filter(of_layer)
            .filter_map(|file| Some((file.path.file_stem()?.to_str()?, file.text.as_str())));
        let files: Vec<_> = stems.collect();
        assert_eq!(tidy::import_cycles(&files), [], "{layer}");
    }
}

#[test]
fn planted_upward_imports_and_cycles_are_caught() {
    let check = |source: &str| tidy::upward_imports("b", &["a", "b", "c", "d"], source).len();
    assert_eq!(check("use crate::c::X;\nfn f() { crate::d::g() }"), 2);
    assert_eq!(check("use crate::{a::X, c::{Y, d}, d};"), 2);
    assert_eq!(check("pub(crate) use crate::a::{c, d};\nuse super::c;\nuse b::crate_c;"), 0);
    assert_eq!(check("use crate::X;"), 1, "by way of the front");
    assert_eq!(check("// crate::c\n#[cfg(test)]\nmod tests { use crate::c::X; }"), 0);
    assert_eq!(tidy::upward_imports("e", &["a"], "").len(), 1);

    let cycles = |files: &[(&str, &str)]| tidy::import_cycles(files).len();
    assert_eq!(cycles(&[("a", "use super::b::B;"), ("b", "use super::{a::A, c};"), ("c", "")]), 2);
    assert_eq!(cycles(&[("a", "use super::b::B;"), ("b", "use super::c::C;"), ("c", "use super::a::A;")]), 3);
    assert_eq!(cycles(&[("mod", "use a::A;"), ("a", "use super::b::B;"), ("b", "use super::M;")]), 0);
}

// Names with which the project began: a reader who knows one finds it in the search of the service crate's documentation.
#[test]
fn first_names_of_the_parts_are_types_or_aliases() {
    let sources = library_sources("std-adapter/src").into_iter().chain(library_sources("core/src"));
    let all: String = sources.map(|file| file.text).collect();
    for name in [
        "AllocationManager",
        "ColdTierCoordinator",
        "CompactionState",
        "CompactionSystem",
        "CompactionTask",
        "CompressionEngine",
        "MaintenanceTask",
        "MemoryEfficiencyAnalyzer",
        "MetadataIndex",
        "PersistentColdTier",
        "PoolCoordinator",
        "RecoverySystem",
        "StorageManager",
        "SyncState",
        "HotTierCoordinator",
        "WarmTierCoordinator",
        "UnifiedCacheManager",
    ] {
        let is_type = ["pub struct", "pub enum"]
            .iter()
            .any(|kind| [" {", "<", "("].iter().any(|end| all.contains(&format!("{kind} {name}{end}"))));
        assert!(is_type || all.contains(&format!("#[doc(alias = \"{name}\")]")), "{name}");
    }
}

#[test]
fn types_are_named_for_their_work() {
    hold(&files("", ".rs"), tidy::banned_type_names);
}

#[test]
fn planted_type_names_are_caught() {
    catches(
        tidy::banned_type_names,
        &[
            "struct PoolManager;",
            "pub enum Helper {}",
            "trait FileUtils {}",
            "mod pool_util;",
            "type UtilA = u8;",
        ],
        &[
            "struct AllocationManager;",
            "struct UnifiedCacheManager;",
            "struct A { helper: u8 }",
            "enum PoolUtilisation {}",
        ],
    );
}

#[test]
fn files_and_functions_have_a_readable_size() {
    let all = files("", ".rs");
    let mut by_lines: Vec<_> = all.iter().map(|file| (file.text.lines().count(), &file.path)).collect();
    by_lines.sort_by(|a, b| b.cmp(a));
    let mut functions: Vec<(FunctionSize, &Path)> = all
        .iter()
        .flat_map(|file| tidy::function_sizes(&file.text).into_iter().map(|size| (size, file.path.as_path())))
        .collect();
    functions.sort_by(|a, b| b.0.lines.cmp(&a.0.lines).then(a.1.cmp(b.1)));
    let mut report = String::from("ten largest files, in lines\n");
    for (lines, path) in by_lines.iter().take(10) {
        let _ = writeln!(report, "{lines:6}  {}", path.display());
    }
    report.push_str("ten largest functions, in lines\n");
    for (size, path) in functions.iter().take(10) {
        let _ = writeln!(report, "{:6}  {} ({}:{})", size.lines, size.name, path.display(), size.line);
    }
    // Written past the test's capture, so that the figures show in a passing run.
    io::stderr().write_all(report.as_bytes()).unwrap();
    hold(&all, tidy::file_too_long);
}

#[test]
fn planted_sizes_are_caught_and_measured() {
    let at_limit = "//\n".repeat(tidy::FILE_LINES_MAX);
    catches(tidy::file_too_long, &[&format!("{at_limit}//\n")], &[&at_limit, ""]);
    let sizes =
        tidy::function_sizes("trait A { fn none(&self); }\nfn outer(f: fn() -> u8) {\n  fn inner() {}\n}\n");
    let sizes: Vec<_> = sizes.iter().map(|size| (size.name.as_str(), size.line, size.lines)).collect();
    assert_eq!(sizes, [("outer", 2, 3), ("inner", 3, 1)]);
}
