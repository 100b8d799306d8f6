//! The part of a NOR flash that is a medium: its range, and reads that are not aligned.

use core::fmt;
use core::ops::Range;

use coldpress_core::drive::MediumError;
use embedded_storage::nor_flash::NorFlashErrorKind;

/// The widest read alignment served.
const READ_UNIT_MAX: usize = 32;

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

/// The units of a flash, and its length, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct NorShape {
    pub(super) read: usize,
    pub(super) write: usize,
    pub(super) erase: usize,
    pub(super) capacity: usize,
}

impl NorShape {
    /// Refuses units that a tier can't use; called at compile time.
    pub(super) const fn check(self) {
        assert!(self.write.is_power_of_two() && self.write <= 32, "a write unit is a power of two up to 32");
        assert!(self.erase.is_multiple_of(self.write), "an erase unit is a number of write units");
        assert!(self.erase <= 1 << 28, "an erase unit is at most a segment");
        assert!(self.read > 0 && self.read <= READ_UNIT_MAX, "a read unit is at most 32 bytes");
    }

    /// Bytes of an erase unit.
    #[expect(clippy::cast_possible_truncation, reason = "`check` bounds it")]
    pub(super) const fn erase_unit(self) -> u32 {
        self.erase as u32
    }

    /// Bytes of a write unit.
    #[expect(clippy::cast_possible_truncation, reason = "`check` bounds it")]
    pub(super) const fn write_unit(self) -> u32 {
        self.write as u32
    }
}

/// The range of a flash that a medium takes, and how its erased bytes read.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct NorPart {
    pub(super) erase_value: u8,
    /// Where it begins in the flash.
    start: u32,
    /// Its bytes; `None` for all of the flash.
    bytes: Option<u32>,
}

impl NorPart {
    /// All of a flash.
    pub(super) const fn whole(erase_value: u8) -> Self {
        Self { erase_value, start: 0, bytes: None }
    }

    /// This range of the flash.
    pub(super) fn within(self, range: &Range<u32>, shape: NorShape) -> Result<Self, RangeError> {
        let erase_unit = shape.erase_unit();
        if range.is_empty() {
            return Err(RangeError::Empty);
        }
        if !range.start.is_multiple_of(erase_unit) || !range.end.is_multiple_of(erase_unit) {
            return Err(RangeError::EraseUnit(erase_unit));
        }
        if !(range.start as usize).is_multiple_of(shape.read) {
            return Err(RangeError::ReadUnit(u32::try_from(shape.read).unwrap_or(u32::MAX)));
        }
        if u64::from(range.end) > shape.capacity as u64 {
            return Err(RangeError::Capacity(shape.capacity as u64));
        }
        Ok(Self { start: range.start, bytes: Some(range.end - range.start), ..self })
    }

    /// Its bytes in a flash of this length.
    pub(super) fn medium_bytes(&self, shape: NorShape) -> u64 {
        self.bytes.map_or(shape.capacity as u64, u64::from)
    }

    /// The address in the flash of so many bytes.
    pub(super) fn address(&self, at: u64, len: u64, shape: NorShape) -> Result<u32, MediumError> {
        let is_inside = at.checked_add(len).is_some_and(|end| end <= self.medium_bytes(shape));
        let at = u32::try_from(at).ok().filter(|_| is_inside);
        at.and_then(|at| at.checked_add(self.start)).ok_or(MediumError::Io)
    }
}

impl NorPart {
    /// The addresses of an erase.
    pub(super) fn erased(&self, at: u64, bytes: u64, shape: NorShape) -> Result<Range<u32>, MediumError> {
        let start = self.address(at, bytes, shape)?;
        let bytes = u32::try_from(bytes).map_err(|_| MediumError::Io)?;
        Ok(start..start.saturating_add(bytes))
    }
}

/// The reason why a read failed, for the machine.
pub(super) const fn read_error(kind: NorFlashErrorKind) -> MediumError {
    match kind {
        // An error that the flash part itself reports on a read is an uncorrectable error of that unit.
        NorFlashErrorKind::Other => MediumError::Unreadable,
        _ => MediumError::Io,
    }
}

/// Reads of a flash that are aligned to its read unit.
pub(super) trait AlignedReads {
    /// Reads whole units from the address of one on.
    fn read_units(&mut self, at: u32, bytes: &mut [u8]) -> impl Future<Output = Result<(), MediumError>>;
}

/// Reads any range: where it begins or ends within a read unit, through the stack.
pub(super) async fn read_any<R: AlignedReads>(
    flash: &mut R,
    unit: usize,
    at: u32,
    bytes: &mut [u8],
) -> Result<(), MediumError> {
    let mut at = at as usize;
    let head = (at.next_multiple_of(unit) - at).min(bytes.len());
    let (first, rest) = bytes.split_at_mut(head);
    if !first.is_empty() {
        read_within(flash, unit, at, first).await?;
        at += head;
    }
    let (middle, last) = rest.split_at_mut(rest.len() - rest.len() % unit);
    if !middle.is_empty() {
        flash.read_units(u32::try_from(at).map_err(|_| MediumError::Io)?, middle).await?;
        at += middle.len();
    }
    if last.is_empty() { Ok(()) } else { read_within(flash, unit, at, last).await }
}

/// Reads within one read unit.
async fn read_within<R: AlignedReads>(
    flash: &mut R,
    unit: usize,
    at: usize,
    out: &mut [u8],
) -> Result<(), MediumError> {
    let skip = at % unit;
    let mut bytes = [0; READ_UNIT_MAX];
    let bytes = bytes.get_mut(..unit).unwrap_or_default();
    flash.read_units(u32::try_from(at - skip).map_err(|_| MediumError::Io)?, bytes).await?;
    for (to, from) in out.iter_mut().zip(bytes.iter().skip(skip)) {
        *to = *from;
    }
    Ok(())
}
