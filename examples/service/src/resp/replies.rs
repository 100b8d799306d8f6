//! Answers, encoded into the buffer that is written next.

use core::fmt;
use std::io::Write as _;

/// The answers of a turn, in the version of the protocol that the client asked for.
#[derive(Debug)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    /// Whether the client asked for version 3.
    pub(crate) is_resp3: bool,
    /// Answers that were errors.
    pub(crate) errors: usize,
}

impl Replies {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), is_resp3: false, errors: 0 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes back what was answered from this length on.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Forgets what was written. A buffer that grew beyond `keep` bytes is given back.
    pub(crate) fn clear(&mut self, keep: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep);
        self.errors = 0;
    }

    pub(crate) fn ok(&mut self) {
        self.bytes.extend_from_slice(b"+OK\r\n");
    }

    pub(crate) fn simple(&mut self, text: &str) {
        self.line(b'+', format_args!("{text}"));
    }

    /// An error: its code, then a text. Line breaks would end it early.
    pub(crate) fn error(&mut self, text: impl fmt::Display) {
        self.errors += 1;
        let text = text.to_string().replace(['\r', '\n'], " ");
        self.line(b'-', format_args!("{text}"));
    }

    pub(crate) fn integer(&mut self, number: i64) {
        match number {
            0 => self.bytes.extend_from_slice(b":0\r\n"),
            1 => self.bytes.extend_from_slice(b":1\r\n"),
            _ => self.line(b':', format_args!("{number}")),
        }
    }

    pub(crate) fn count(&mut self, number: u64) {
        self.integer(i64::try_from(number).unwrap_or(i64::MAX));
    }

    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        self.length(b'$', bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(crate) fn null(&mut self) {
        self.bytes.extend_from_slice(if self.is_resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    pub(crate) fn array(&mut self, length: usize) {
        self.length(b'*', length);
    }

    /// Begins a map of so many pairs; in version 2 it is an array of keys and values in turn.
    pub(crate) fn map(&mut self, pairs: usize) {
        if self.is_resp3 {
            self.length(b'%', pairs);
        } else {
            self.length(b'*', 2 * pairs);
        }
    }

    /// Begins a set; in version 2 it is an array.
    pub(crate) fn set(&mut self, length: usize) {
        self.length(if self.is_resp3 { b'~' } else { b'*' }, length);
    }

    fn length(&mut self, mark: u8, length: usize) {
        self.line(mark, format_args!("{length}"));
    }

    fn line(&mut self, mark: u8, text: fmt::Arguments<'_>) {
        self.bytes.push(mark);
        // Writing to a vector does not fail.
        let _ = self.bytes.write_fmt(text);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_maps_depend_on_the_version() {
        let mut replies = Replies::new();
        replies.null();
        replies.map(2);
        replies.set(1);
        assert_eq!(replies.bytes(), b"$-1\r\n*4\r\n*1\r\n");
        replies.clear(0);
        replies.is_resp3 = true;
        replies.null();
        replies.map(2);
        replies.set(1);
        assert_eq!(replies.bytes(), b"_\r\n%2\r\n~1\r\n");
    }

    #[test]
    fn error_of_several_lines_stays_one_line() {
        let mut replies = Replies::new();
        replies.error("ERR a\r\nb");
        assert_eq!(replies.bytes(), b"-ERR a  b\r\n");
        assert_eq!(replies.errors, 1);
    }
}
