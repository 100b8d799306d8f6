//! One command: its words, by their places in the buffer.

use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

use crate::limits::{LINE_BYTES_MAX, Limits, ProtocolError};

/// The words of a command; the first is its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command<'a> {
    bytes: &'a [u8],
    words: &'a [RangeFrame],
}

impl<'a> Command<'a> {
    pub(crate) const fn new(bytes: &'a [u8], words: &'a [RangeFrame]) -> Self {
        Self { bytes, words }
    }

    pub(crate) const fn len(&self) -> usize {
        self.words.len()
    }

    /// The word at this place; empty where there is none.
    pub(crate) fn word(&self, at: usize) -> &'a [u8] {
        match self.words.get(at) {
            Some(RangeFrame::BulkString((start, end))) => self.bytes.get(*start..*end).unwrap_or_default(),
            _ => &[],
        }
    }

    /// The words from this place on.
    pub(crate) fn words(self, from: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        (from.min(self.len())..self.len()).map(move |at| self.word(at))
    }
}

/// Decodes the command at the start of `bytes`; `None` while it is not all there. Returns its words and its length.
pub(super) fn decode(
    bytes: &[u8],
    limits: &Limits,
) -> Result<Option<(Vec<RangeFrame>, usize)>, ProtocolError> {
    let Some(end) = limits.command_end(bytes)? else { return Ok(None) };
    let whole = bytes.get(..end).unwrap_or_default();
    match decode_range(whole) {
        Ok(Some((RangeFrame::Array(words), length))) => Ok(Some((words, length))),
        // A count below zero.
        Ok(Some((_, length))) => Ok(Some((Vec::new(), length))),
        // Its end was found, so it is whole, and yet no command: a line break is missing.
        Ok(None) | Err(_) => Err(ProtocolError::Malformed),
    }
}

/// Turns the line at the start of `bytes`, as people type it, into a framed command; `None` while it does not end. Returns the
/// frame and the length of the line.
pub(super) fn frame_line(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ProtocolError> {
    let seen = bytes.get(..bytes.len().min(LINE_BYTES_MAX)).unwrap_or_default();
    let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
        return if seen.len() == LINE_BYTES_MAX { Err(ProtocolError::Line) } else { Ok(None) };
    };
    let line = seen.get(..end).unwrap_or_default();
    let words = words(line.strip_suffix(b"\r").unwrap_or(line))?;
    let mut frame = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        frame.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        frame.extend_from_slice(&word);
        frame.extend_from_slice(b"\r\n");
    }
    Ok(Some((frame, end + 1)))
}

/// The words of a line. Quotes keep spaces; in double quotes a backslash escapes, as in `"\n"` and `"\x00"`.
fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let mut words = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    loop {
        while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
        let Some(first) = bytes.peek().copied() else { return Ok(words) };
        let mut word = Vec::new();
        if first == b'"' || first == b'\'' {
            bytes.next();
            loop {
                match bytes.next().ok_or(ProtocolError::Quotes)? {
                    quote if quote == first => break,
                    b'\\' if first == b'"' => word.push(escaped(&mut bytes)?),
                    b'\\' if bytes.peek() == Some(&b'\'') => {
                        bytes.next();
                        word.push(b'\'');
                    }
                    byte => word.push(byte),
                }
            }
            if bytes.peek().is_some_and(|next| !next.is_ascii_whitespace()) {
                return Err(ProtocolError::Quotes);
            }
        } else {
            while let Some(byte) = bytes.next_if(|byte| !byte.is_ascii_whitespace()) {
                word.push(byte);
            }
        }
        words.push(word);
    }
}

/// The byte that stands behind a backslash.
fn escaped(bytes: &mut (impl Iterator<Item = u8> + Clone)) -> Result<u8, ProtocolError> {
    Ok(match bytes.next().ok_or(ProtocolError::Quotes)? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        b'x' => {
            let mut ahead = bytes.clone();
            let mut digit =
                || char::from(ahead.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            match (digit(), digit()) {
                (Some(high), Some(low)) => {
                    bytes.nth(1);
                    high << 4 | low
                }
                _ => b'x',
            }
        }
        byte => byte,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(line: &str) -> Result<Option<String>, ProtocolError> {
        Ok(frame_line(line.as_bytes())?
            .map(|(frame, _)| String::from_utf8_lossy(&frame).replace("\r\n", " ")))
    }

    #[test]
    fn typed_line_becomes_a_frame() {
        assert_eq!(framed("PING\r\n"), Ok(Some("*1 $4 PING ".to_owned())));
        assert_eq!(framed("  set  k  'a b'\nrest"), Ok(Some("*3 $3 set $1 k $3 a b ".to_owned())));
        assert_eq!(framed("echo \"\\x41\\n\\q\\\"\"\n"), Ok(Some("*2 $4 echo $4 A\nq\" ".to_owned())));
        assert_eq!(framed("\r\n"), Ok(Some("*0 ".to_owned())));
        assert_eq!(framed("PING"), Ok(None));
        assert_eq!(framed("echo \"a\n"), Err(ProtocolError::Quotes));
        assert_eq!(framed("echo \"a\"b\n"), Err(ProtocolError::Quotes));
        assert_eq!(framed(&"a".repeat(LINE_BYTES_MAX)), Err(ProtocolError::Line));
    }
}
