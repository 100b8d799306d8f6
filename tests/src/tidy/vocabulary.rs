//! Rules about words: comments and names use those of the table in `core/DESIGN.md`.

use super::Violation;
use super::lex::{Kind, Token, tokens};

/// Words that the project once had for its own things, each with the words to write instead.
///
/// Words of that table that also have an ordinary meaning (mark, place, life) are left to the reader.
const PRIVATE: [(&str, &str); 9] = [
    ("bell", "write `signal`"),
    ("gate", "write `admission`"),
    ("landed", "write `written`"),
    ("retiring", "write `reclaiming`"),
    ("room", "write `space`, `capacity` or `place`, whichever is meant"),
    ("rota", "write `schedule`"),
    ("secured", "write `durable`"),
    ("shell", "write `shared partition`"),
    ("told", "write `notified`, or `distinguished`, or name the waiter"),
];

/// Finds private words in comments, and in names as a part of them.
pub fn private_words(source: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let is_said = |token: &&Token<'_>| matches!(token.kind, Kind::Comment | Kind::Word);
    for token in tokens(source).iter().filter(is_said) {
        for (below, text) in token.text.lines().enumerate() {
            let parts = parts(text).into_iter().map(|part| part.to_lowercase());
            let private = parts.filter_map(|part| PRIVATE.iter().find(|(word, _)| *word == part));
            let say = |(word, better): &(&str, &str)| {
                Violation::new(token.line + below, format!("`{word}` is a private word: {better}"))
            };
            found.extend(private.map(say));
        }
    }
    found
}

/// The words of a text. A name in snake or camel case has several.
fn parts(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for word in text.split(|letter: char| !letter.is_alphabetic()) {
        let mut from = 0;
        let mut was_lower = false;
        for (at, letter) in word.char_indices() {
            if letter.is_uppercase() && was_lower {
                found.push(&word[from..at]);
                from = at;
            }
            was_lower = letter.is_lowercase();
        }
        found.push(&word[from..]);
    }
    found
}
