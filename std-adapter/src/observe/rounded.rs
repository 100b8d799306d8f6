//! Figures of a sentence: bytes, times and counts, rounded to what a person reads.

use core::fmt;
use core::time::Duration;

/// Bytes in the largest binary unit that they fill; one decimal below 10 units.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundedBytes(pub(super) u64);

/// A time in µs, ms or s; one decimal below 10 s. It is rounded to the nearest.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoundedTime(pub(super) Duration);

/// A count and its noun, in the singular and the plural.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted(pub(super) u64, pub(super) &'static str, pub(super) &'static str);

impl fmt::Display for RoundedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let Some((unit, name)) = units.into_iter().find(|(unit, _)| self.0 >= *unit) else {
            return write!(f, "{}", Counted(self.0, "byte", "bytes"));
        };
        let tenths = (u128::from(self.0) * 10 + u128::from(unit / 2)) / u128::from(unit);
        if tenths < 100 {
            return write!(f, "{}.{} {name}", tenths / 10, tenths % 10);
        }
        write!(f, "{} {name}", (u128::from(self.0) + u128::from(unit / 2)) / u128::from(unit))
    }
}

impl fmt::Display for RoundedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = (self.0.as_nanos() + 500) / 1_000;
        match micros {
            0..1_000 => write!(f, "{micros} µs"),
            1_000..999_500 => write!(f, "{} ms", (micros + 500) / 1_000),
            _ => {
                let tenths = (micros + 50_000) / 100_000;
                if tenths < 100 {
                    return write!(f, "{}.{} s", tenths / 10, tenths % 10);
                }
                write!(f, "{} s", (micros + 500_000) / 1_000_000)
            }
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, one, many) = self;
        write!(f, "{count} {}", if *count == 1 { one } else { many })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_to_a_binary_unit() {
        let cases = [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1_023, "1023 bytes"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (94 << 10, "94 KiB"),
            (5 << 29, "2.5 GiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(RoundedBytes(bytes).to_string(), text);
        }
        assert!(RoundedBytes(u64::MAX).to_string().ends_with(" GiB"));
    }

    #[test]
    fn times_are_rounded_to_the_nearest() {
        let cases = [
            (0, "0 µs"),
            (420_400, "420 µs"),
            (89_068_782, "89 ms"),
            (999_499_000, "999 ms"),
            (999_500_000, "1.0 s"),
            (1_249_000_000, "1.2 s"),
            (12_600_000_000, "13 s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(RoundedTime(Duration::from_nanos(nanos)).to_string(), text);
        }
    }
}
