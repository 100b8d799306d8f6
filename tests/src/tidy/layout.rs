//! Rules about the places of files.

use super::Violation;
use super::lex::{Kind, code};
use super::regions::attributes;

/// The exact entries of the top level, beside dot files and the build's own folder.
const ROOT: [&str; 13] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "CONTRIBUTING.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "clippy.toml",
    "rustfmt.toml",
    "core",
    "std-adapter",
    "embedded-adapter",
    "tests",
    "examples",
];

/// The files of a build and a replay there, which the repository ignores.
const MADE: [&str; 2] = ["target", "replay.html"];

/// Finds missing and foreign entries of the top level.
pub fn root_entries<'a>(entries: impl IntoIterator<Item = &'a str>) -> Vec<Violation> {
    let entries: Vec<_> = entries.into_iter().collect();
    let missing = ROOT.iter().filter(|name| !entries.contains(name));
    let missing = missing.map(|name| Violation::new(0, format!("`{name}` is missing from the top level")));
    let strange =
        entries.iter().filter(|name| !ROOT.contains(name) && !name.starts_with('.') && !MADE.contains(name));
    let strange = strange.map(|name| Violation::new(0, format!("`{name}` does not belong at the top level")));
    missing.chain(strange).collect()
}

/// Names the modules that only a test build compiles and that lie in a file of their own.
pub fn test_modules(source: &str) -> Vec<String> {
    let code = code(source);
    let mut found = Vec::new();
    for attribute in attributes(&code).iter().filter(|attribute| attribute.is_test_only()) {
        if let [keyword, name, end, ..] = &code[attribute.end..]
            && keyword.is("mod")
            && name.kind == Kind::Word
            && end.is(";")
        {
            found.push(name.text.to_owned());
        }
    }
    found
}
