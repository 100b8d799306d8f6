//! Numbers and lifetimes among the words of a command.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

/// Reads a whole number as Redis does: no sign but a minus, no zeros in front, nothing around it.
pub(super) fn integer(word: &[u8]) -> Option<i64> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let is_plain = match digits {
        [b'0'] => word.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_plain.then(|| core::str::from_utf8(word).ok()?.parse().ok()).flatten()
}

/// The units and the start in which a lifetime is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
}

impl Unit {
    /// Reads the name of an option.
    pub(super) fn of(word: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"EX") => Some(Self::Seconds),
            () if is(b"PX") => Some(Self::Milliseconds),
            () if is(b"EXAT") => Some(Self::UnixSeconds),
            () if is(b"PXAT") => Some(Self::UnixMilliseconds),
            () => None,
        }
    }

    /// The time from now, in milliseconds; `None` where it does not fit, as Redis counts.
    pub(super) fn milliseconds(self, number: i64) -> Option<i64> {
        match self {
            Self::Seconds => number.checked_mul(1000),
            Self::Milliseconds => Some(number),
            Self::UnixSeconds => number.checked_mul(1000)?.checked_sub(now_ms()),
            Self::UnixMilliseconds => number.checked_sub(now_ms()),
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A lifetime of so many milliseconds; `None` where it is over already.
pub(super) fn lifetime(milliseconds: i64) -> Option<Duration> {
    u64::try_from(milliseconds).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_redis_reads_them() {
        for (word, number) in [("0", 0), ("-1", -1), ("42", 42), ("-9223372036854775808", i64::MIN)] {
            assert_eq!(integer(word.as_bytes()), Some(number), "{word}");
        }
        for word in ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "x"] {
            assert_eq!(integer(word.as_bytes()), None, "{word}");
        }
    }

    #[test]
    fn lifetimes_that_do_not_fit_are_noticed() {
        assert_eq!(Unit::Seconds.milliseconds(i64::MAX), None);
        assert_eq!(Unit::Seconds.milliseconds(2), Some(2000));
        assert!(Unit::UnixSeconds.milliseconds(1).unwrap() < 0);
        assert_eq!(lifetime(-5), None);
        assert_eq!(lifetime(1500), Some(Duration::from_millis(1500)));
    }
}
