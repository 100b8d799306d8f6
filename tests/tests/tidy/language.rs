//! Rules about names, words and sentences of code, comments and pages.

use std::fs;

use coldpress_tests::tidy;

use crate::{File, catches, files, hold, library_sources, root};

#[test]
fn names_of_tests_are_short_enough_to_read() {
    hold(&files("", ".rs"), tidy::long_test_names);
}

#[test]
fn planted_long_test_names_are_caught() {
    let longest = "a".repeat(tidy::TEST_NAME_MAX);
    catches(
        tidy::long_test_names,
        &[
            &format!("#[test]\nfn {longest}b() {{}}"),
            &format!("#[test] #[should_panic] fn {longest}b() {{}}"),
            &format!("a! {{ #[test] fn {longest}b(c in 0..8) {{}} }}"),
        ],
        &[
            &format!("#[test]\nfn {longest}() {{}}\nfn {longest}b() {{}}"),
            &format!("#[cfg(test)] fn {longest}b() {{}}"),
            &format!("// #[test] fn {longest}b() {{}}"),
        ],
    );
}

/// The folders of the library crates.
const LIBRARIES: [&str; 3] = ["core/src", "std-adapter/src", "embedded-adapter/src"];

/// The pages that a user of the crates reads.
const PAGES: [&str; 13] = [
    "README.md",
    "CONTRIBUTING.md",
    "core/DESIGN.md",
    "core/src/machine/adapter.md",
    "std-adapter/README.md",
    "std-adapter/GUIDE.md",
    "std-adapter/src/metrics.md",
    "embedded-adapter/README.md",
    "examples/coldpress/README.md",
    "examples/service/README.md",
    "examples/service/NODES.md",
    "examples/service/OPERATING.md",
    "tests/peers/README.md",
];

fn pages() -> Vec<File> {
    let page = |path: &&str| File { path: path.into(), text: fs::read_to_string(root().join(path)).unwrap() };
    PAGES.iter().map(page).collect()
}

#[test]
fn sentences_of_comments_and_pages_are_short() {
    hold(&files("", ".rs"), tidy::long_sentences_in_comments);
    hold(&pages(), tidy::long_sentences_in_page);
}

#[test]
fn sentences_of_comments_and_pages_begin_with_no_stand_in() {
    hold(&files("", ".rs"), tidy::stand_ins_in_comments);
    hold(&pages(), tidy::stand_ins_in_page);
}

#[test]
fn comments_and_names_use_no_private_word() {
    hold(&files("", ".rs"), tidy::private_words);
}

#[test]
fn planted_long_sentences_are_caught() {
    let longest = "a ".repeat(tidy::SENTENCE_WORDS_MAX);
    let longest = longest.trim();
    let half = "b ".repeat(tidy::SENTENCE_WORDS_MAX / 2);
    catches(
        tidy::long_sentences_in_page,
        &[
            &format!("{longest} b."),
            &format!("{half}\n{half}\n[b](c).\n"),
            &format!("1. {half}\n   {half} `b c`"),
            &format!("| b | {longest} b |"),
            &format!("{half}(b.c `d. e` [`f`](g(h). i){half}"),
            &format!("```\nb\n```\n{longest} b"),
        ],
        &[
            &format!("{longest}. {longest}: {longest}! {longest}"),
            &format!("**{longest}.** {longest}.\n"),
            &format!("# {longest} b\n\n```\n{longest} b\n```\n[b]: {longest}"),
            &format!("- {longest}\n- {longest}\n{longest}", longest = half.trim()),
            &format!("{longest}\n\n{longest} – –"),
            &format!("| {longest} | {longest} |\n| {longest} | `b | c` |"),
            &format!("{half}`a b c` [b c](d e \"f\"), ``b ` c``"),
        ],
    );
    catches(
        tidy::long_sentences_in_comments,
        &[
            &format!("/// {longest}\n/// b.\nfn a() {{}}"),
            &format!("//! {longest} b"),
            &format!("// {longest} b"),
            &format!("//// {longest} b"),
            &format!("a(); // {longest} b"),
            &format!("    // {longest}\n    // b"),
            &format!("    /// - {half}\n    ///   {half} b"),
        ],
        &[
            &format!("a(\"\n// {longest} b\")"),
            &format!("// {half}\na();\n// {half} b"),
            &format!("a(); // {longest}\n// {longest}"),
            &format!("/// {longest}\nfn a() {{}}\n/// {longest}\n//! {longest}\n// {longest}"),
        ],
    );
    let lines =
        tidy::long_sentences_in_comments(&format!("/// a `b\n/// c` d.\n/// e\n/// f. g\n/// {longest}"));
    assert_eq!(lines[0].line, 4, "{lines:?}");
}

#[test]
fn planted_stand_ins_are_caught() {
    catches(
        tidy::stand_ins_in_comments,
        &[
            "/// What was found.",
            "// That what is pending counts.",
            "//! A b. Whoever removes c\n//! must not find it.",
            "a(); // Whatever happens.",
            "/// A b\n/// (c). **Who** asks?  D\n/// e: That is f.",
        ],
        &[
            "// What is b?",
            "/// Tells what was found: who waits, that it does.",
            "/// # What it does\n/// Whatsoever",
            "a(\"// What was found.\")",
        ],
    );
    catches(
        tidy::stand_ins_in_page,
        &["a b.\n\n- What c d", "| a | That b |"],
        &["a b. What c?", "```\nWhat\n```"],
    );
}

#[test]
fn planted_private_words_are_caught() {
    catches(
        tidy::private_words,
        &[
            "// Makes room.",
            "/// a\n/// b (told c)",
            "fn make_room() {}",
            "enum A { RoomFor }",
            "use a::rota;",
        ],
        &["a(\"room\")", "// a bedroom, a delegate", "fn bedroom(aggregate: Untold) {}"],
    );
}

/// Both adapters have such a type in their interface.
const EACH_ADAPTER: &str = "each adapter has its own: a user imports one of the crates";

/// A private type whose module says the rest.
const OF_ITS_MODULE: &str = "private, and named for its part in the one module that uses it";

/// Types of one name, and why they have it.
const SAME_NAMES: [(&str, &str); 29] = [
    ("BuildError", "of `image::build` on a service, of a tier on a device"),
    ("Buffers", "the memory of one machine, of an image and of a worker"),
    ("Change", OF_ITS_MODULE),
    ("Clock", "private in the core; on a service the public trait for the wall clock"),
    ("ConfigError", "of the machine, and of a service's tier; a user sees the second"),
    ("Dropped", "a record that the index drops, and an object that a pool drops: each in its public module"),
    ("Entry", "the entry of an index: each index has its own"),
    ("Found", OF_ITS_MODULE),
    ("GetError", EACH_ADAPTER),
    ("Head", "the public head of a long value; private the two ends of a segment"),
    ("Lack", "what a put lacks: of a queue or capacity on a service, of the index on a device"),
    ("Message", "to the worker of a log, and to that of the pools"),
    ("Mode", "of a scan, and of a file"),
    ("Newest", "the newest record of a key, as each adapter keeps it"),
    ("Outcome", "of a task, of a second look, and of a request to the pools: each in its module"),
    ("Pending", "a record that is not on the medium: as the machine, a service's index and a device keep it"),
    ("Place", OF_ITS_MODULE),
    ("PoolError", "the service adds the failures of channels and deadlines to those of the core"),
    ("PoolMeter", "one with the feature `metrics`, one without"),
    ("Progress", "of a task in the core, of a mailbox's worker on a device"),
    ("PutError", EACH_ADAPTER),
    ("Slot", "the memory of one slot: as the machine, an image, a worker and a device lend it"),
    ("State", "the states of one engine, in its module"),
    ("Step", "a step of one engine, in its module"),
    ("Stored", OF_ITS_MODULE),
    ("Terms", "public for an object of a pool; private for charges"),
    ("TierMeter", "one with the feature `metrics`, one without"),
    ("Work", "public on a device: the work of a call; private on a service"),
    ("Worker", "the thread of a log, and that of the pools"),
];

#[test]
fn names_of_types_are_unique_across_the_crates() {
    let sources: Vec<_> = LIBRARIES.into_iter().flat_map(library_sources).collect();
    let sources: Vec<_> =
        sources.iter().map(|file| (file.path.to_str().unwrap(), file.text.as_str())).collect();
    let found: Vec<_> =
        tidy::repeated_type_names(&sources, &SAME_NAMES).into_iter().map(|v| v.what).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn planted_repeated_type_names_are_caught() {
    let check = |a: &str, b: &str| tidy::repeated_type_names(&[("a", a), ("b", b)], &[]).len();
    assert_eq!(check("pub struct A;", "enum A {}"), 1);
    assert_eq!(check("trait A {} mod b { union A {} } type C = u8;", "struct B; type C = u8;"), 2);
    assert_eq!(check("struct A; impl B for A { type C = u8; }", "trait B { type C; } enum E {}"), 0);
    assert_eq!(check("struct A; // struct B", "#[cfg(test)] mod tests { struct A; } struct B;"), 0);
    let excepted = |a, b| tidy::repeated_type_names(&[("a", a), ("b", b)], &[("A", "reason")]).len();
    assert_eq!(excepted("struct A;", "struct A;"), 0);
    assert_eq!(excepted("struct A;", "struct B;"), 1, "an exception that nothing needs");
}

/// The stats of the machine, of a service's tier, and of a device's.
const STATS: [&str; 3] = [
    "core/src/writer/counters.rs",
    "std-adapter/src/observe/table.rs",
    "embedded-adapter/src/flash/stats.rs",
];

/// Stats of one name that count something else: bytes read by the machine, for clients, and in all; erases in all, and the spread of them.
const OTHER_STATS: [&str; 2] = ["bytes_read", "erases"];

#[test]
fn stats_of_one_name_have_one_text() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let [machine, service, device] = STATS.map(read);
    assert!(tidy::stat_texts(&machine).len() > 20 && tidy::stat_texts(&service).len() > 40);
    assert!(tidy::stat_texts(&device).len() > 10);
    for (one, other) in [(&machine, &service), (&machine, &device), (&service, &device)] {
        assert_eq!(tidy::differing_stats(one, other, &OTHER_STATS), Vec::<String>::new());
    }
    // Of these two only the bytes read are known to differ.
    assert_eq!(tidy::differing_stats(&machine, &service, &["bytes_read"]), Vec::<String>::new());
}

#[test]
fn planted_stats_of_two_texts_are_caught() {
    let one =
        "/// Keys.\n///\n/// More.\npub keys: u32,\n/// Syncs.\n#[a]\nsyncs => counter;\n/// Same.\nsame;";
    let other = "/// The keys.\nkeys: u64, sum;\n/// Syncs.\nsyncs;\n/// Same.\nsame = 1;";
    assert_eq!(tidy::differing_stats(one, other, &[]).len(), 1);
    assert_eq!(tidy::differing_stats(one, other, &["keys"]), Vec::<String>::new());
    let names = |source| tidy::stat_texts(source).into_iter().map(|stat| stat.name).collect::<Vec<_>>();
    assert_eq!(names(one), ["keys", "syncs", "same"]);
    assert!(names("/// A function.\nfn keys() {}\n/// A type.\nKeys: u32\nplain: u32").is_empty());
}
