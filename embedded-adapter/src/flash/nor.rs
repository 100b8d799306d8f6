//! NOR flash through the traits of `embedded_storage`.

use core::fmt;
use core::ops::Range;

use coldpress_core::drive::MediumError;
use embedded_storage::nor_flash::{NorFlash, NorFlashError as _, NorFlashErrorKind};

use super::medium::{DeviceMedium, Medium, Started};

/// The widest read alignment served.
const READ_UNIT_MAX: usize = 32;

/// Makes a [`Medium`] of any [`NorFlash`]; each operation is done when its call returns.
///
/// It is the whole flash, or a part of it beside other data ([`within`](Self::within)).
///
/// Each write unit is programmed once between erases, so parts with error-correcting codes, which forbid any second
/// program, serve too. Reads that are not aligned to `READ_SIZE` go through a few bytes of stack.
///
/// A mismatch is found at compile time: `WRITE_SIZE` is a power of two up to 32, `ERASE_SIZE` a multiple of it,
/// `READ_SIZE` at most 32.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NorMedium<F> {
    flash: F,
    erase_value: u8,
    /// Where it begins in the flash.
    start: u32,
    /// Its bytes; `None` for all of the flash.
    bytes: Option<u32>,
}

/// Why a part of a flash is refused as a medium; nothing was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RangeError {
    /// It is empty.
    Empty,
    /// It begins or ends at an address that is no multiple of so many bytes, the erase unit, so that an erase would take others' data.
    EraseUnit(u32),
    /// It begins at an address that is no multiple of so many bytes, the read unit.
    ReadUnit(u32),
    /// It ends beyond the flash, which has so many bytes.
    Capacity(u64),
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the range of the flash is empty"),
            Self::EraseUnit(n) => {
                write!(f, "the range begins and ends at a multiple of the erase unit, {n} bytes")
            }
            Self::ReadUnit(n) => write!(f, "the range begins at a multiple of the read unit, {n} bytes"),
            Self::Capacity(n) => write!(f, "the range ends beyond the flash, which has {n} bytes"),
        }
    }
}

impl core::error::Error for RangeError {}

impl<F: NorFlash> NorMedium<F> {
    const CHECKED: () = {
        assert!(
            F::WRITE_SIZE.is_power_of_two() && F::WRITE_SIZE <= 32,
            "a write unit is a power of two up to 32"
        );
        assert!(F::ERASE_SIZE.is_multiple_of(F::WRITE_SIZE), "an erase unit is a number of write units");
        assert!(F::ERASE_SIZE <= 1 << 28, "an erase unit is at most a segment");
        assert!(F::READ_SIZE > 0 && F::READ_SIZE <= READ_UNIT_MAX, "a read unit is at most 32 bytes");
    };

    /// Takes a flash whose erased bytes read 0xFF. It is not touched.
    pub const fn new(flash: F) -> Self {
        Self::erased_to(flash, 0xFF)
    }

    /// Takes a flash whose erased bytes read `erase_value`, 0xFF or 0x00.
    pub const fn erased_to(flash: F, erase_value: u8) -> Self {
        const { Self::CHECKED }
        Self { flash, erase_value, start: 0, bytes: None }
    }

    /// Takes only this part of the flash, by its addresses: nothing outside is written or erased. Other data may lie before and
    /// behind it.
    ///
    /// ```
    /// # mod ram { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ram/mod.rs")); }
    /// use coldpress_embedded::flash::{DeviceMedium, NorMedium};
    /// # let flash = ram::Ram::<4, 4096>::new(256);
    ///
    /// // The firmware's own code takes the first half of a flash of 1 MiB.
    /// let medium = NorMedium::new(flash).within(512 << 10..1 << 20)?;
    /// assert_eq!(medium.medium_bytes(), 512 << 10);
    /// # Ok::<(), coldpress_embedded::flash::RangeError>(())
    /// ```
    ///
    /// # Errors
    /// [`RangeError`] where the range is empty, is not aligned, or ends beyond the flash.
    pub fn within(self, range: Range<u32>) -> Result<Self, RangeError> {
        let erase_unit = self.erase_unit_bytes();
        let capacity = self.flash.capacity() as u64;
        if range.is_empty() {
            return Err(RangeError::Empty);
        }
        if !range.start.is_multiple_of(erase_unit) || !range.end.is_multiple_of(erase_unit) {
            return Err(RangeError::EraseUnit(erase_unit));
        }
        if !(range.start as usize).is_multiple_of(F::READ_SIZE) {
            return Err(RangeError::ReadUnit(u32::try_from(F::READ_SIZE).unwrap_or(u32::MAX)));
        }
        if u64::from(range.end) > capacity {
            return Err(RangeError::Capacity(capacity));
        }
        Ok(Self { start: range.start, bytes: Some(range.end - range.start), ..self })
    }

    /// The flash.
    pub const fn flash(&self) -> &F {
        &self.flash
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// The address in the flash of so many bytes.
    fn address(&self, at: u64, len: u64) -> Result<u32, MediumError> {
        let is_inside = at.checked_add(len).is_some_and(|end| end <= self.medium_bytes());
        let at = u32::try_from(at).ok().filter(|_| is_inside);
        at.and_then(|at| at.checked_add(self.start)).ok_or(MediumError::Io)
    }

    /// Reads within one read unit, through the stack.
    fn read_within(&mut self, at: usize, out: &mut [u8]) -> Result<(), MediumError> {
        let skip = at % F::READ_SIZE;
        let mut unit = [0; READ_UNIT_MAX];
        let unit = unit.get_mut(..F::READ_SIZE).unwrap_or_default();
        let start = u32::try_from(at - skip).map_err(|_| MediumError::Io)?;
        self.flash.read(start, unit).map_err(|error| failed(error.kind()))?;
        for (to, from) in out.iter_mut().zip(unit.iter().skip(skip)) {
            *to = *from;
        }
        Ok(())
    }
}

fn failed(kind: NorFlashErrorKind) -> MediumError {
    match kind {
        // An error that the flash part itself reports on a read is an uncorrectable error of that unit.
        NorFlashErrorKind::Other => MediumError::Unreadable,
        _ => MediumError::Io,
    }
}

impl<F: NorFlash> DeviceMedium for NorMedium<F> {
    #[expect(clippy::cast_possible_truncation, reason = "CHECKED bounds it")]
    fn write_unit_bytes(&self) -> u32 {
        F::WRITE_SIZE as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "CHECKED bounds it")]
    fn erase_unit_bytes(&self) -> u32 {
        F::ERASE_SIZE as u32
    }

    fn erase_value(&self) -> u8 {
        self.erase_value
    }

    fn medium_bytes(&self) -> u64 {
        self.bytes.map_or(self.flash.capacity() as u64, u64::from)
    }
}

impl<F: NorFlash> Medium for NorMedium<F> {
    type Error = MediumError;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        let mut at = self.address(at, bytes.len() as u64)? as usize;
        let head = (at.next_multiple_of(F::READ_SIZE) - at).min(bytes.len());
        let (first, rest) = bytes.split_at_mut(head);
        if !first.is_empty() {
            self.read_within(at, first)?;
            at += head;
        }
        let (middle, last) = rest.split_at_mut(rest.len() - rest.len() % F::READ_SIZE);
        if !middle.is_empty() {
            let start = u32::try_from(at).map_err(|_| MediumError::Io)?;
            self.flash.read(start, middle).map_err(|error| failed(error.kind()))?;
            at += middle.len();
        }
        if last.is_empty() { Ok(()) } else { self.read_within(at, last) }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        let at = self.address(at, bytes.len() as u64)?;
        self.flash.write(at, bytes).map_err(|_| MediumError::Io)?;
        Ok(Started::Done)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        let start = self.address(at, bytes)?;
        let bytes = u32::try_from(bytes).map_err(|_| MediumError::Io)?;
        self.flash.erase(start, start.saturating_add(bytes)).map_err(|_| MediumError::Io)?;
        Ok(Started::Done)
    }

    /// Programmed bytes are durable.
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}
