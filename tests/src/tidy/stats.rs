//! The stats that a source defines: each name with the text that says what it counts.

/// A stat: its name, the first line of its documentation, and the line where it is defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatText {
    /// Its name.
    pub name: String,
    /// The first line of its documentation.
    pub text: String,
    /// The line, counted from 1.
    pub line: usize,
}

/// Finds fields and rows of tables that are documented: a name behind its documentation, with a type, a value or a metric behind it.
#[must_use]
pub fn stat_texts(source: &str) -> Vec<StatText> {
    let mut found = Vec::new();
    let mut text: Option<&str> = None;
    for (line, code) in (1..).zip(source.lines().map(str::trim_start)) {
        if let Some(doc) = code.strip_prefix("///") {
            text.get_or_insert(doc.trim());
            continue;
        }
        if code.starts_with("#[") {
            continue;
        }
        let Some(text) = text.take() else { continue };
        let code = code.strip_prefix("pub ").unwrap_or(code);
        let end = code.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(code.len());
        let (name, rest) = code.split_at(end);
        let is_row =
            [":", ";", " =>"].iter().any(|behind| rest.starts_with(behind)) && !rest.starts_with("::");
        if is_row && name.starts_with(|c: char| c.is_ascii_lowercase()) {
            found.push(StatText { name: name.to_owned(), text: text.to_owned(), line });
        }
    }
    found
}

/// Compares the texts of stats that two sources have under one name, but for those that are `known` to be of another kind.
#[must_use]
pub fn differing_stats(one: &str, other: &str, known: &[&str]) -> Vec<String> {
    let others = stat_texts(other);
    let differ = |stat: &StatText| {
        let other = others.iter().find(|other| other.name == stat.name && !known.contains(&&*stat.name))?;
        let says =
            format!("{} is \"{}\" in one place and \"{}\" in another", stat.name, stat.text, other.text);
        (other.text != stat.text).then_some(says)
    };
    stat_texts(one).iter().filter_map(differ).collect()
}
