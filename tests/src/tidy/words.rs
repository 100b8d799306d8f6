//! Rules about words of the code.

use super::Violation;
use super::lex::{Kind, Token, code, tokens};
use super::regions::{attributes, without_tests};

/// Names of shared ownership in the standard library. The rules for manifests find crates that bring their own.
const SHARED: [&str; 3] = ["Arc", "Rc", "Weak"];

/// Finds shared ownership: workers own their state, and everything else is a message.
///
/// A name counts wherever it appears, whatever path it came by: an alias must name it once.
pub fn shared_ownership(source: &str) -> Vec<Violation> {
    let code = code(source);
    let named =
        code.iter().filter(|token| token.kind == Kind::Word && SHARED.contains(&token.text)).map(|token| {
            Violation::new(token.line, format!("`{}`: send a message or lend a reference", token.text))
        });
    let modules = code
        .windows(4)
        .filter(|w| (w[0].is("std") || w[0].is("alloc")) && w[1].is(":") && w[2].is(":") && w[3].is("rc"))
        .map(|w| Violation::new(w[0].line, "the `rc` module: send a message or lend a reference"));
    named.chain(modules).collect()
}

/// Finds `#[allow(…)]`, outer, inner or conditional: an expectation carries its reason and goes when it is met.
pub fn allowed_lints(source: &str) -> Vec<Violation> {
    let code = code(source);
    attributes(&code)
        .iter()
        .flat_map(|attribute| attribute.body.windows(2))
        .filter(|pair| pair[0].is("allow") && pair[1].is("("))
        .map(|pair| Violation::new(pair[0].line, "`allow(…)`: use `expect(…, reason = \"…\")`"))
        .collect()
}

/// Finds tests that never run.
pub fn ignored_tests(source: &str) -> Vec<Violation> {
    let code = code(source);
    attributes(&code)
        .iter()
        .filter(|attribute| match attribute.body.first() {
            Some(head) if head.is("cfg_attr") => attribute.body.iter().any(|token| token.is("ignore")),
            Some(head) => head.is("ignore"),
            None => false,
        })
        .map(|attribute| Violation::new(attribute.body[0].line, "an ignored test"))
        .collect()
}

/// Finds work left for later, in code and in comments.
pub fn unfinished(source: &str) -> Vec<Violation> {
    let tokens = tokens(source);
    let notes = tokens.iter().filter(|token| token.kind == Kind::Comment).flat_map(|token| {
        token.text.lines().enumerate().filter_map(|(below, text)| {
            let mut words = text.split(|letter: char| !letter.is_alphanumeric());
            let found = words.find(|word| ["TODO", "FIXME", "XXX", "HACK"].contains(word))?;
            Some(Violation::new(token.line + below, format!("`{found}`: finish it or leave it out")))
        })
    });
    let code = code(source);
    let macros = code
        .windows(2)
        .filter(|pair| (pair[0].is("todo") || pair[0].is("unimplemented")) && pair[1].is("!"))
        .map(|pair| Violation::new(pair[0].line, format!("`{}!`: finish it or leave it out", pair[0].text)))
        .collect::<Vec<_>>();
    notes.chain(macros).collect()
}

/// Finds panics that input could cause, outside tests: `unwrap()`, `expect(…)`, `panic!`.
pub fn panics(source: &str) -> Vec<Violation> {
    let code = without_tests(&code(source));
    code.windows(3)
        .filter_map(|w| {
            let method = w[0].is(".") && (w[1].is("unwrap") || w[1].is("expect")) && w[2].is("(");
            let call = w[0].is("panic") && w[1].is("!");
            let at = if method { w[1] } else { w[0] };
            (method || call).then(|| Violation::new(at.line, format!("`{}`: return a typed error", at.text)))
        })
        .collect()
}

/// Finds an allocator or the standard library in code that must do without either.
pub fn allocation(source: &str) -> Vec<Violation> {
    let code = without_tests(&code(source));
    code.windows(3)
        .filter(|w| w[0].is("extern") && w[1].is("crate") && (w[2].is("alloc") || w[2].is("std")))
        .map(|w| Violation::new(w[0].line, format!("`extern crate {}` outside tests", w[2].text)))
        .collect()
}

/// Finds type names that say nothing of what the type does.
pub fn banned_type_names(source: &str) -> Vec<Violation> {
    let code = code(source);
    code.windows(2)
        .filter(|pair| declares_type(&pair[0]) && pair[1].kind == Kind::Word && says_nothing(pair[1].text))
        .map(|pair| Violation::new(pair[1].line, format!("`{}`: name what it does", pair[1].text)))
        .collect()
}

fn declares_type(token: &Token<'_>) -> bool {
    ["struct", "enum", "union", "trait", "type", "mod"].iter().any(|keyword| token.is(keyword))
}

fn says_nothing(name: &str) -> bool {
    let starts = |at: usize| name[at..].starts_with(|letter: char| letter.is_uppercase() || letter == '_');
    let mut cuts: Vec<_> = (0..name.len()).filter(|&at| name.is_char_boundary(at) && starts(at)).collect();
    cuts.push(name.len());
    let mut from = 0;
    let mut words = cuts.into_iter().map(|to| &name[core::mem::replace(&mut from, to)..to]);
    let empty = ["manager", "helper", "helpers", "util", "utils"];
    // The two names with which the project began.
    !["AllocationManager", "UnifiedCacheManager"].contains(&name)
        && words.any(|word| empty.contains(&word.trim_start_matches('_').to_ascii_lowercase().as_str()))
}
