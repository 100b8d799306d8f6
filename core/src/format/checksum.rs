//! CRC-32C (Castagnoli), the checksum of every structure on a medium.
//!
//! Polynomial 0x1EDC6F41, reflected, as in RFC 3720 (iSCSI) and RFC 9260 (SCTP). A value is the finished checksum, so it can be
//! kept in a field and continued later: a client computes the part over key and value before the place of its record is known.
//! The log continues it over header and segment sequence.

use core::fmt;

/// A CRC-32C that can be continued. `Debug` and defmt do not show it: together with the bytes it reveals the secret that it
/// begins with.
///
/// ```
/// use coldpress_core::format::Checksum;
/// let whole = Checksum::of(b"123456789");
/// assert_eq!(whole.value(), 0xE306_9283);
/// assert_eq!(Checksum::of(b"1234").then(b"56789"), whole);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Checksum(u32);

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checksum")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Checksum {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Checksum");
    }
}

impl Checksum {
    /// Computes the checksum of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(0).then(bytes)
    }

    /// Takes up a checksum that was finished earlier.
    #[must_use]
    pub const fn resume(value: u32) -> Self {
        Self(value)
    }

    /// Continues over `bytes`.
    #[must_use]
    pub fn then(self, bytes: &[u8]) -> Self {
        Self(append(self.0, bytes))
    }

    /// Returns the finished value.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// The start value of a store's record checksums: a secret of the store.
///
/// A plain checksum guards against chance only. With the seed, a client that chooses keys and values and knows the format can't
/// compute one either. Else bytes in a value could pass for records wherever a cut tears the record that holds them.
///
/// CRC is linear, but the seed enters two records of different lengths differently. So a guess without the seed hits with odds of
/// about one in 2³¹; a client has one guess for each record that a cut tears. Anyone who reads stored checksums can compute the
/// seed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(Checksum);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Seed {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Seed");
    }
}

impl Seed {
    /// Version 1 of the format has none.
    pub(crate) const NONE: Self = Self(Checksum(0));

    pub(crate) const fn of(secret: Checksum) -> Self {
        Self(secret)
    }

    /// The checksum before the first byte, to be continued over key and value.
    #[must_use]
    pub const fn begin(self) -> Checksum {
        self.0
    }

    /// The checksum over key and value of a record.
    #[must_use]
    pub fn payload(self, bytes: &[u8]) -> Checksum {
        self.0.then(bytes)
    }
}

#[cfg(feature = "crc32c-hw")]
fn append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

#[cfg(not(feature = "crc32c-hw"))]
fn append(crc: u32, bytes: &[u8]) -> u32 {
    // One table of 1 KiB: the faster forms take 4 to 16 KiB, more than a small part has to spare.
    static CASTAGNOLI: crc::Crc<u32, crc::Table<1>> = crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISCSI);
    let mut digest = CASTAGNOLI.digest_with_initial((!crc).reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors_match() {
        // RFC 3720, appendix B.4.
        assert_eq!(Checksum::of(&[0; 32]).value(), 0x8A91_36AA);
        assert_eq!(Checksum::of(&[0xFF; 32]).value(), 0x62A8_AB43);
    }

    #[test]
    fn any_cut_continues_to_the_same_value() {
        let bytes: [u8; 40] = core::array::from_fn(|i| (i * 7) as u8);
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(Checksum::of(a).then(b), Checksum::of(&bytes), "cut {cut}");
        }
    }
}
