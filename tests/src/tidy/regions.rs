//! Finds attributes, and the code that only tests compile.

use super::lex::Token;

/// One attribute: where it starts, and the tokens between its brackets.
pub(super) struct Attribute<'t, 'a> {
    /// Index of its `#`.
    pub(super) start: usize,
    /// Index after its `]`.
    pub(super) end: usize,
    /// Whether it is `#![…]`, about what encloses it.
    pub(super) inner: bool,
    pub(super) body: &'t [Token<'a>],
}

impl Attribute<'_, '_> {
    /// Tells whether the item behind it is a test.
    pub(super) fn is_test(&self) -> bool {
        matches!(self.body, [token] if token.is("test"))
    }

    /// Tells whether the item behind it exists only in a test build.
    pub(super) fn is_test_only(&self) -> bool {
        let head = self.body.first();
        let names = |text| self.body.iter().any(|token| token.is(text));
        head.is_some_and(|token| token.is("test"))
            || head.is_some_and(|token| token.is("cfg")) && names("test") && !names("not")
    }
}

/// Every attribute of `code`, in order.
pub(super) fn attributes<'t, 'a>(code: &'t [Token<'a>]) -> Vec<Attribute<'t, 'a>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let inner = code.get(at + 1).is_some_and(|token| token.is("!"));
        let open = at + 1 + usize::from(inner);
        if code[at].is("#") && code.get(open).is_some_and(|token| token.is("[")) {
            let end = close(code, open, "[", "]");
            let body = &code[open + 1..(end - 1).max(open + 1)];
            found.push(Attribute { start: at, end, inner, body });
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// The index after the mark that closes the one at `open`; the end of the code where none does.
pub(super) fn close(code: &[Token<'_>], open: usize, opens: &str, closes: &str) -> usize {
    let mut depth = 0usize;
    for (at, token) in code.iter().enumerate().skip(open) {
        if token.is(opens) {
            depth += 1;
        } else if token.is(closes) {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    code.len()
}

/// The index after the item that starts at `start`: its closing brace, or its semicolon.
fn item_end(code: &[Token<'_>], start: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in code.iter().enumerate().skip(start) {
        if token.is("{") {
            return close(code, at, "{", "}");
        }
        if token.is("(") || token.is("[") {
            depth += 1;
        } else if token.is(")") || token.is("]") {
            depth = depth.saturating_sub(1);
        } else if token.is(";") && depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The tokens that a build without tests compiles.
pub(super) fn without_tests<'a>(code: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::with_capacity(code.len());
    let mut at = 0;
    for attribute in attributes(code).iter().filter(|attribute| attribute.is_test_only()) {
        if attribute.inner {
            return Vec::new();
        }
        if attribute.start >= at {
            kept.extend_from_slice(&code[at..attribute.start]);
            at = item_end(code, attribute.end);
        }
    }
    kept.extend_from_slice(&code[at..]);
    kept
}
