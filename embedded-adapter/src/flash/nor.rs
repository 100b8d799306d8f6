//! NOR flash through the traits of `embedded_storage`.

use core::future::ready;
use core::ops::Range;

use coldpress_core::drive::MediumError;
use embedded_storage::nor_flash::{NorFlash, NorFlashError as _};

use super::access::at_once;
use super::medium::{DeviceMedium, Medium, Started};
use super::nor_part::{AlignedReads, NorPart, NorShape, RangeError, read_any, read_error};

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
    part: NorPart,
}

impl<F: NorFlash> NorMedium<F> {
    const CHECKED: () = Self::shape_of(0).check();

    const fn shape_of(capacity: usize) -> NorShape {
        NorShape { read: F::READ_SIZE, write: F::WRITE_SIZE, erase: F::ERASE_SIZE, capacity }
    }

    fn shape(&self) -> NorShape {
        Self::shape_of(self.flash.capacity())
    }

    /// Takes a flash whose erased bytes read 0xFF. It is not touched.
    pub const fn new(flash: F) -> Self {
        Self::erased_to(flash, 0xFF)
    }

    /// Takes a flash whose erased bytes read `erase_value`, 0xFF or 0x00.
    pub const fn erased_to(flash: F, erase_value: u8) -> Self {
        const { Self::CHECKED }
        Self { flash, part: NorPart::whole(erase_value) }
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
        Ok(Self { part: self.part.within(&range, self.shape())?, ..self })
    }

    /// The flash.
    pub const fn flash(&self) -> &F {
        &self.flash
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }
}

/// A flash whose reads do not wait.
struct Reads<'f, F>(&'f mut F);

impl<F: NorFlash> AlignedReads for Reads<'_, F> {
    fn read_units(&mut self, at: u32, bytes: &mut [u8]) -> impl Future<Output = Result<(), MediumError>> {
        ready(self.0.read(at, bytes).map_err(|error| read_error(error.kind())))
    }
}

impl<F: NorFlash> DeviceMedium for NorMedium<F> {
    fn write_unit_bytes(&self) -> u32 {
        self.shape().write_unit()
    }

    fn erase_unit_bytes(&self) -> u32 {
        self.shape().erase_unit()
    }

    fn erase_value(&self) -> u8 {
        self.part.erase_value
    }

    fn medium_bytes(&self) -> u64 {
        self.part.medium_bytes(self.shape())
    }
}

impl<F: NorFlash> Medium for NorMedium<F> {
    type Error = MediumError;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        let at = self.part.address(at, bytes.len() as u64, self.shape())?;
        let mut flash = Reads(&mut self.flash);
        at_once(read_any(&mut flash, F::READ_SIZE, at, bytes)).unwrap_or(Err(MediumError::Io))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        let at = self.part.address(at, bytes.len() as u64, self.shape())?;
        self.flash.write(at, bytes).map_err(|_| MediumError::Io)?;
        Ok(Started::Done)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        let range = self.part.erased(at, bytes, self.shape())?;
        self.flash.erase(range.start, range.end).map_err(|_| MediumError::Io)?;
        Ok(Started::Done)
    }

    /// Programmed bytes are durable.
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}
