//! Rules about manifests and crate roots.
//!
//! Manifests are read line by line: ours are plain, and a rule that misreads a fancy one fails loudly.

use super::Violation;
use super::lex::code;
use super::regions::attributes;

/// Crates whose purpose is shared ownership.
const SHARED_CRATES: [&str; 9] = [
    "arc-swap",
    "archery",
    "arcstr",
    "bytes",
    "hybrid-rc",
    "portable-atomic-util",
    "rclite",
    "servo_arc",
    "triomphe",
];

/// Cargo features that hand shared ownership to the code that enables them.
const SHARED_FEATURES: [&str; 2] = ["arc", "rc"];

/// Finds dependencies and features that bring in shared ownership.
pub fn shared_ownership_in_manifest(manifest: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (section, line, text) in lines(manifest) {
        let key = text.split(['=', '.']).next().unwrap_or_default().trim().trim_matches('"');
        let table = section.rsplit('.').next().unwrap_or_default();
        let declares = section.ends_with("dependencies") && SHARED_CRATES.contains(&key);
        if declares
            || section.contains("dependencies.") && text.starts_with('[') && SHARED_CRATES.contains(&table)
        {
            found.push(Violation::new(line, "a crate for shared ownership"));
        }
        for feature in quoted(text) {
            if SHARED_FEATURES.contains(&feature.rsplit('/').next().unwrap_or_default()) {
                found.push(Violation::new(line, format!("the feature `{feature}` brings shared ownership")));
            }
        }
        if quoted(text).any(|name| SHARED_CRATES.contains(&name)) && text.contains("package") {
            found.push(Violation::new(line, "a crate for shared ownership under another name"));
        }
    }
    found
}

/// Finds lints that the root manifest lacks.
pub fn root_manifest(manifest: &str) -> Vec<Violation> {
    let wanted = [
        ("workspace.lints.rust", "unsafe_code = \"forbid\""),
        ("workspace.lints.rust", "missing_docs = \"deny\""),
        ("workspace.lints.clippy", "disallowed_types = \"deny\""),
    ];
    missing(manifest, &wanted)
}

/// Finds settings that the manifest of a crate in the workspace lacks.
pub fn member_manifest(manifest: &str) -> Vec<Violation> {
    missing(manifest, &[("lints", "workspace = true"), ("package", "rust-version.workspace = true")])
}

/// Finds a crate root that does not itself forbid unsafe code.
pub fn crate_root(source: &str) -> Vec<Violation> {
    let code = code(source);
    let forbids = attributes(&code).iter().any(|attribute| {
        attribute.inner
            && attribute.body.first().is_some_and(|head| head.is("forbid"))
            && attribute.body.iter().any(|token| token.is("unsafe_code"))
    });
    (!forbids).then(|| Violation::new(1, "`#![forbid(unsafe_code)]` is missing")).into_iter().collect()
}

fn missing(manifest: &str, wanted: &[(&str, &str)]) -> Vec<Violation> {
    let has =
        |want: &(&str, &str)| lines(manifest).any(|(section, _, text)| section == want.0 && text == want.1);
    let absent = wanted.iter().filter(|want| !has(want));
    absent.map(|(section, text)| Violation::new(0, format!("`{text}` is missing from [{section}]"))).collect()
}

/// The lines with content, each with its section's name and its number from 1.
fn lines(manifest: &str) -> impl Iterator<Item = (&str, usize, &str)> {
    let mut section = "";
    manifest.lines().enumerate().filter_map(move |(at, text)| {
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.starts_with('[') && text.ends_with(']') && !text.contains('=') && !text.contains('"') {
            section = text.trim_matches(['[', ']']);
        }
        (!text.is_empty()).then_some((section, at + 1, text))
    })
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}
