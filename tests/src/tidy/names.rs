//! Rules about names: a test says what it expects, and a type's name is given once.

use std::collections::BTreeMap;

use super::Violation;
use super::lex::{Kind, Token, code};
use super::regions::{attributes, close, without_tests};

/// The longest the name of a test may be, in characters.
pub const TEST_NAME_MAX: usize = 60;

/// Finds functions under `#[test]` with a name that is too long to read in a list.
pub fn long_test_names(source: &str) -> Vec<Violation> {
    let code = code(source);
    let mut found = Vec::new();
    for attribute in attributes(&code).iter().filter(|attribute| attribute.is_test()) {
        // Further attributes, `async` and `pub` may stand between.
        let behind = code[attribute.end..].windows(2);
        let Some(pair) = behind.into_iter().find(|pair| pair[0].is("fn")) else { continue };
        let (name, length) = (pair[1].text, pair[1].text.chars().count());
        if length > TEST_NAME_MAX {
            let what = format!("`{name}`: {length} characters, at most {TEST_NAME_MAX}");
            found.push(Violation::new(pair[1].line, what));
        }
    }
    found
}

/// Lists the types that code outside tests declares, each with its line. Types of an `impl` or a trait belong to it, and are left out.
pub fn type_names(source: &str) -> Vec<(String, usize)> {
    let code = without_tests(&code(source));
    let mut found = Vec::new();
    let mut body_end = 0;
    for (at, pair) in code.windows(2).enumerate() {
        let declares = DECLARATIONS.iter().any(|keyword| pair[0].is(keyword));
        let is_associated = at < body_end && pair[0].is("type");
        if declares && !is_associated && pair[1].kind == Kind::Word {
            found.push((pair[1].text.to_owned(), pair[1].line));
        }
        if at >= body_end && (pair[0].is("impl") || pair[0].is("trait")) {
            body_end = body_behind(&code, at);
        }
    }
    found
}

/// The keywords with which a type is declared.
const DECLARATIONS: [&str; 5] = ["struct", "enum", "union", "trait", "type"];

/// The index after the braces that open next behind `at`; `at` where a semicolon comes first.
fn body_behind(code: &[Token<'_>], at: usize) -> usize {
    match (at..code.len()).find(|&next| code[next].is("{") || code[next].is(";")) {
        Some(open) if code[open].is("{") => close(code, open, "{", "}"),
        _ => at,
    }
}

/// Finds names that more than one of `sources` declares, or one of them twice. Each source is a path and a text. Each exception is a
/// name and a reason: one that no longer excepts anything is found, too.
pub fn repeated_type_names(sources: &[(&str, &str)], exceptions: &[(&str, &str)]) -> Vec<Violation> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources {
        for (name, line) in type_names(text) {
            places.entry(name).or_default().push(format!("{path}:{line}"));
        }
    }
    places.retain(|_, places| places.len() > 1);
    let is_excepted = |name: &str| exceptions.iter().any(|(excepted, _)| *excepted == name);
    let repeated = places.iter().filter(|(name, _)| !is_excepted(name));
    let repeated = repeated.map(|(name, places)| {
        Violation::new(0, format!("`{name}` names {} types: {}", places.len(), places.join(", ")))
    });
    let needless = exceptions.iter().filter(|(name, _)| !places.contains_key(*name));
    let needless = needless
        .map(|(name, _)| Violation::new(0, format!("`{name}` is no longer repeated: remove the exception")));
    repeated.chain(needless).collect()
}
