//! Rules about imports between layers and files.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::lex::{Kind, Token, code};
use super::regions::without_tests;

/// The layers of the core from the bottom up: the folders of `core/src`, and two files. A layer imports only what stands before it.
pub const CORE_LAYERS: [&str; 15] = [
    "cleanup",
    "codec",
    "pool",
    "efficiency",
    "invariant",
    "format",
    "segments",
    "drive",
    "index",
    "config",
    "durability",
    "writer",
    "recovery",
    "compaction",
    "machine",
];

/// The layers of the adapter for services, in the same way: folders and files of `std-adapter/src`.
pub const STD_LAYERS: [&str; 18] = [
    "clock",
    "recycled",
    "budget",
    "file_error",
    "codec",
    "storage",
    "observe",
    "pool",
    "image",
    "config",
    "errors",
    "admission",
    "index",
    "directory",
    "worker",
    "api",
    "cache",
    "archive",
];

/// Finds the first names behind each `crate::` or `super::`, groups in braces included.
fn names_behind<'a>(code: &[Token<'a>], root: &str) -> Vec<(usize, &'a str)> {
    let is_path = |at: usize| {
        code[at].is(root)
            && code.get(at + 1).is_some_and(|token| token.is(":"))
            && code.get(at + 2).is_some_and(|token| token.is(":"))
            && !(at > 0 && code[at - 1].is(":"))
    };
    let mut found = Vec::new();
    for at in (0..code.len()).filter(|at| is_path(*at)) {
        let first = at + 3;
        if code.get(first).is_some_and(|token| token.is("{")) {
            let (mut depth, mut is_start) = (0usize, false);
            for token in &code[first..] {
                match token.text {
                    "{" => (depth, is_start) = (depth + 1, depth == 0),
                    "}" if depth == 1 => break,
                    "}" => depth -= 1,
                    "," => is_start = depth == 1,
                    _ if is_start => {
                        found.push((token.line, token.text));
                        is_start = false;
                    }
                    _ => {}
                }
            }
        } else if let Some(token) = code.get(first).filter(|token| token.kind == Kind::Word) {
            found.push((token.line, token.text));
        }
    }
    found
}

/// Finds imports of a layer by one that stands before it in `layers`, and imports by way of the crate's front, which hide their
/// layer. Tests may import anything.
pub fn upward_imports(layer: &str, layers: &[&str], source: &str) -> Vec<Violation> {
    let place = |name: &str| layers.iter().position(|known| *known == name);
    let Some(own) = place(layer) else {
        return vec![Violation::new(0, format!("`{layer}` is in no list of layers"))];
    };
    let code = without_tests(&code(source));
    let imports = names_behind(&code, "crate").into_iter();
    let found = imports.filter_map(|(line, name)| match place(name) {
        None => Some(Violation::new(line, format!("`{layer}` imports `{name}`, which is no layer"))),
        Some(place) if place > own => {
            Some(Violation::new(line, format!("`{layer}` imports `{name}`, a layer above")))
        }
        Some(_) => None,
    });
    found.collect()
}

/// Finds a file of a folder that imports itself by way of others of that folder; `files` are names without their ending, and sources.
///
/// `mod` is the front of its folder: it names what the others offer, and is left out.
pub fn import_cycles(files: &[(&str, &str)]) -> Vec<Violation> {
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| *name).collect();
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, source) in files.iter().filter(|(name, _)| *name != "mod") {
        let code = without_tests(&code(source));
        let others = names_behind(&code, "super").into_iter().map(|(_, other)| other);
        imports.insert(name, others.filter(|other| names.contains(other) && other != name).collect());
    }
    // A file that imports none of those left is in no cycle. A file that is left at the end is in one, or imports one that is.
    loop {
        let is_free = |name: &&str| imports[name].iter().all(|other| !imports.contains_key(other));
        let free: Vec<_> = imports.keys().copied().filter(|name| is_free(name)).collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            imports.remove(name);
        }
    }
    let left = imports.keys();
    left.map(|name| Violation::new(0, format!("`{name}` is in a cycle of imports, or imports one"))).collect()
}
