//! Rules about where things lie.

use super::Violation;
use super::lex::{Kind, code};
use super::regions::attributes;

/// What lies at the top, exactly; beside it only dot files and the build's own folder.
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

/// What a build and a replay leave there, which the repository ignores.
const MADE: [&str; 2] = ["target", "replay.html"];

/// Finds what is missing from the top level, and what does not belong there.
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
