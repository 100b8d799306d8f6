//! Rules about names: that of a test says what it expects.

use super::Violation;
use super::lex::code;
use super::regions::attributes;

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
