//! Cuts Rust source into tokens, just far enough to tell code from comments and literals.
//!
//! A text search would find `Arc` in a sentence about why there is none; a parser would be a dependency. The way between is
//! small: comments nest, raw strings count their hashes, and a quote opens a character or a lifetime.

/// The kind of a token, as far as the rules need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or keyword; a raw identifier without its `r#`.
    Word,
    /// One character of punctuation.
    Mark,
    /// A string, character, number or lifetime.
    Literal,
    /// A comment of any form, documentation included.
    Comment,
}

/// One token and the line it starts at, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) line: usize,
}

impl Token<'_> {
    /// Tells whether this is the given name or mark (never a literal or a comment).
    pub(super) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Mark) && self.text == text
    }
}

/// Cuts `source` into tokens; an unterminated comment or string runs to the end.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (kind, length) = measure(rest, first);
        let (text, after) = rest.split_at(length);
        if let Some(kind) = kind {
            found.push(Token {
                kind,
                text: text.strip_prefix("r#").filter(|_| kind == Kind::Word).unwrap_or(text),
                line,
            });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    found
}

/// The code alone: every token that is not a comment.
pub(super) fn code(source: &str) -> Vec<Token<'_>> {
    tokens(source).into_iter().filter(|token| token.kind != Kind::Comment).collect()
}

/// The kind (none for white space) and length in bytes of the token that starts here.
fn measure(rest: &str, first: char) -> (Option<Kind>, usize) {
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if rest.starts_with("//") {
        return (Some(Kind::Comment), rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Some(Kind::Comment), block_comment(rest));
    }
    if let Some(length) = string(rest) {
        return (Some(Kind::Literal), length);
    }
    if first == '\'' {
        return (Some(Kind::Literal), quote(rest));
    }
    if first.is_ascii_digit() {
        return (Some(Kind::Literal), word(rest));
    }
    if is_word(first) {
        let skip = if rest.starts_with("r#") { 2 } else { 0 };
        return (Some(Kind::Word), skip + word(&rest[skip..]));
    }
    (Some(Kind::Mark), first.len_utf8())
}

fn is_word(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

fn word(rest: &str) -> usize {
    rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())
}

fn block_comment(rest: &str) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 {
        let open = rest[at..].find("/*");
        let Some(close) = rest[at..].find("*/") else { return rest.len() };
        match open {
            Some(open) if open < close => (depth, at) = (depth + 1, at + open + 2),
            _ => (depth, at) = (depth - 1, at + close + 2),
        }
    }
    at
}

/// The length of a string literal in any of its forms, or `None` if none starts here.
fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let after = rest.strip_prefix(prefix);
        after.is_some_and(|after| after.trim_start_matches('#').starts_with('"'))
            && (prefix.ends_with('r') || after.is_some_and(|after| after.starts_with('"')))
    })?;
    let body = &rest[prefix.len()..];
    if !prefix.ends_with('r') {
        return Some(prefix.len() + escaped(body, '"'));
    }
    let hashes = body.len() - body.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let start = hashes + 1;
    let length = body[start..].find(&end).map_or(body.len(), |at| start + at + end.len());
    Some(prefix.len() + length)
}

/// The length of a literal that starts and ends with `quote` and escapes with a backslash.
fn escaped(body: &str, quote: char) -> usize {
    let mut letters = body.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == quote {
            return at + 1;
        }
    }
    body.len()
}

/// The length of a character literal or, where no quote closes it, of a lifetime.
fn quote(rest: &str) -> usize {
    let mut letters = rest.chars().skip(1);
    match (letters.next(), letters.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => escaped(rest, '\''),
        _ => 1 + word(&rest[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<&str> {
        tokens(source).into_iter().filter(|token| token.kind == Kind::Word).map(|token| token.text).collect()
    }

    #[test]
    fn comments_of_every_form_are_not_code() {
        assert_eq!(words("a // b\n/* c /* d */ e */ f /// g\n//! h\nr#i"), ["a", "f", "i"]);
    }

    #[test]
    fn strings_of_every_form_are_not_code() {
        assert_eq!(words(r####"a "b\" c" r#"d " e"# b"f" br"g" c"h" i"####), ["a", "i"]);
        assert_eq!(words("rabbit brr crate b c r"), ["rabbit", "brr", "crate", "b", "c", "r"]);
    }

    #[test]
    fn quotes_open_characters_or_lifetimes() {
        assert_eq!(words(r"a 'b' '\'' '\u{1F600}' 'é' <'c> &'d e b'f' g"), ["a", "e", "b", "g"]);
    }

    #[test]
    fn lines_count_through_comments_and_strings() {
        let source = "/* 1\n2 */ \"3\n\" a\nb";
        let lines: Vec<_> =
            tokens(source).into_iter().filter(|t| t.kind == Kind::Word).map(|t| t.line).collect();
        assert_eq!(lines, [3, 4]);
    }

    #[test]
    fn unterminated_tokens_run_to_the_end() {
        for source in ["/* a", "\"a", "r#\"a\"", "'\\", "a '"] {
            assert!(words(source).len() <= 1, "{source}");
        }
    }
}
