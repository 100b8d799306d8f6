//! Rules about size: a file is read from the top down, a function fits a screen.

use super::Violation;
use super::lex::{Kind, code};
use super::regions::close;

/// The longest a file may be, in lines, with its tests.
pub const FILE_LINES_MAX: usize = 600;

/// Finds a file that should have been split.
pub fn file_too_long(source: &str) -> Vec<Violation> {
    let lines = source.lines().count();
    let over = lines > FILE_LINES_MAX;
    over.then(|| Violation::new(0, format!("{lines} lines, at most {FILE_LINES_MAX}"))).into_iter().collect()
}

/// One function and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSize {
    /// Its name.
    pub name: String,
    /// The line of its `fn`, counted from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace, both counted.
    pub lines: usize,
}

/// Measures every function that has a body, methods and nested ones too.
pub fn function_sizes(source: &str) -> Vec<FunctionSize> {
    let code = code(source);
    let mut found = Vec::new();
    for (at, pair) in code.windows(2).enumerate() {
        if !pair[0].is("fn") || pair[1].kind != Kind::Word {
            continue;
        }
        let Some(open) = (at..code.len()).find(|&next| code[next].is("{") || code[next].is(";")) else {
            continue;
        };
        if code[open].is("{") {
            let last = &code[close(&code, open, "{", "}") - 1];
            let (name, line) = (pair[1].text.to_owned(), pair[0].line);
            found.push(FunctionSize { name, line, lines: last.line + 1 - line });
        }
    }
    found
}
