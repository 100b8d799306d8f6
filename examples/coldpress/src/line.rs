//! The line of an entry in an export: a JSON object with text where bytes are text, else with base64.
//!
//! ```text
//! {"key":"a","value":"b"}
//! {"key_base64":"/w==","value_base64":"AP8=","expires_at":1900000000}
//! ```

use core::fmt;

use coldpress_std::inspect::SnapshotEntry;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

/// An entry, or a key alone.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<u32>,
}

/// Why a line is not taken.
#[derive(Debug)]
pub(crate) enum LineError {
    Json(serde_json::Error),
    Base64(&'static str),
    /// The field is missing, or is there as text and as base64.
    Field(&'static str),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "{error}"),
            Self::Base64(field) => write!(f, "`{field}_base64` is no base64"),
            Self::Field(field) => write!(f, "it takes one of `{field}` and `{field}_base64`"),
        }
    }
}

/// Bytes as text, or as base64.
fn text_or_base64(bytes: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64.encode(error.as_bytes()))),
    }
}

fn bytes(field: &'static str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, LineError> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => BASE64.decode(base64.as_bytes()).map_err(|_| LineError::Base64(field)),
        (None, None) | (Some(_), Some(_)) => Err(LineError::Field(field)),
    }
}

impl EntryLine {
    pub(crate) fn of(entry: SnapshotEntry) -> Self {
        let (value, value_base64) = text_or_base64(entry.value);
        Self { value, value_base64, ..Self::of_key(entry.key, entry.expires_s) }
    }

    /// The line of a key without its value.
    pub(crate) fn of_key(key: Vec<u8>, expires_at: Option<u32>) -> Self {
        let (key, key_base64) = text_or_base64(key);
        Self { key, key_base64, expires_at, ..Self::default() }
    }

    /// Reads a line: key, value, and when it expires.
    pub(crate) fn read(line: &[u8]) -> Result<SnapshotEntry, LineError> {
        let line: Self = serde_json::from_slice(line).map_err(LineError::Json)?;
        let expires_s = line.expires_at;
        let key = bytes("key", line.key, line.key_base64)?;
        Ok(SnapshotEntry { key, value: bytes("value", line.value, line.value_base64)?, expires_s })
    }
}

/// Decodes a key of the command line.
pub(crate) fn key_of(text: &str, is_base64: bool) -> Result<Vec<u8>, LineError> {
    if is_base64 {
        return BASE64.decode(text.as_bytes()).map_err(|_| LineError::Base64("key"));
    }
    Ok(text.as_bytes().to_vec())
}

/// The encoding of a string in a typed cache: its length in base 128, the low digits first, and its bytes.
pub(crate) fn typed_string(text: &str) -> Vec<u8> {
    let (mut encoded, mut rest) = (Vec::with_capacity(text.len() + 5), text.len());
    loop {
        let digit = u8::try_from(rest & 0x7F).unwrap_or(0);
        rest >>= 7;
        if rest == 0 {
            encoded.push(digit);
            break;
        }
        encoded.push(digit | 0x80);
    }
    encoded.extend_from_slice(text.as_bytes());
    encoded
}

/// The bytes of a string or byte string of a typed cache; `None` where the value is not the encoding of one.
pub(crate) fn from_typed(value: &[u8]) -> Option<&[u8]> {
    let end = value.iter().take(9).position(|digit| digit & 0x80 == 0)?;
    let (digits, bytes) = value.split_at_checked(end + 1)?;
    let length = digits.iter().rev().fold(0_u64, |sum, digit| sum << 7 | u64::from(digit & 0x7F));
    (length == bytes.len() as u64).then_some(bytes)
}

/// Reads a number of bytes: digits, then k, m or g.
pub(crate) fn bytes_of(text: &str) -> Result<u64, String> {
    let at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let shift = match unit {
        "" => Some(0),
        "k" | "K" => Some(10),
        "m" | "M" => Some(20),
        "g" | "G" => Some(30),
        _ => None,
    };
    let count = digits.parse::<u64>().ok().zip(shift);
    count
        .and_then(|(count, shift)| count.checked_mul(1 << shift))
        .ok_or_else(|| "a number of bytes, such as 4096, 64k, 256m or 1g".to_owned())
}

/// A key as one line: as it is where it is plain text, else escaped.
pub(crate) fn shown(key: &[u8]) -> String {
    let is_plain = |text: &&str| !text.chars().any(|letter| letter.is_control() || letter == '\\');
    match core::str::from_utf8(key).ok().filter(is_plain) {
        Some(text) => text.to_owned(),
        None => key.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &[u8], value: &[u8], expires_s: Option<u32>) -> SnapshotEntry {
        SnapshotEntry { key: key.to_vec(), value: value.to_vec(), expires_s }
    }

    #[test]
    fn entry_line_reads_back_as_the_same_entry() {
        for (key, value, expires_s) in [
            (&b"plain"[..], &b"text \" \\ \n"[..], None),
            (b"\xFF\0", b"\xC3\xA9", Some(7)),
            (b"", b"\x80", Some(u32::MAX)),
        ] {
            let line = serde_json::to_string(&EntryLine::of(entry(key, value, expires_s))).unwrap();
            assert_eq!(EntryLine::read(line.as_bytes()).unwrap(), entry(key, value, expires_s), "{line}");
        }
    }

    #[test]
    fn lines_that_are_no_entry_are_refused() {
        for (line, reason) in [
            (r#"{"key":"a"}"#, "value"),
            (r#"{"value":"a"}"#, "key"),
            (r#"{"key":"a","key_base64":"YQ==","value":""}"#, "one of `key`"),
            (r#"{"key":"a","value_base64":"!"}"#, "no base64"),
            (r#"{"key":"a","value":"b","ttl":5}"#, "unknown field"),
            (r#"{"key":"a","value":"b","expires_at":-1}"#, "invalid value"),
            ("[]", "invalid length"),
            ("", "EOF"),
        ] {
            let refused = EntryLine::read(line.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(reason), "{line}: {refused}");
        }
    }

    #[test]
    fn keys_with_other_than_plain_text_are_escaped() {
        assert_eq!(shown("plain é".as_bytes()), "plain é");
        assert_eq!(shown(b"a\nb\\"), "a\\nb\\\\");
        assert_eq!(shown(b"\xFF"), "\\xff");
    }
}
