//! NOR flash through the async traits of `embedded_storage_async`.

use core::mem::replace;
use core::ops::Range;

use coldpress_core::cleanup::Ticket;
use coldpress_core::drive::{Action, MediumError};
use coldpress_core::format::{Geometry, KeyHash, Sequence};
use coldpress_core::machine::Tier;
use embedded_storage::nor_flash::NorFlashError as _;
use embedded_storage_async::nor_flash::NorFlash;

use super::access::Access;
use super::driving::{Allowance, Work};
use super::index::{IndexOnFlash, Match};
use super::medium::{DeviceMedium, Started};
use super::nor_part::{AlignedReads, NorPart, NorShape, RangeError, read_any, read_error};
use super::prepared::Prepared;
use super::reader::{Flash, Later, OpenedRecord};

/// Bytes compared at once with those that a write may have left.
const COMPARED_BYTES: usize = 32;

/// Makes a medium of any async [`NorFlash`]: the calls of a [`FlashTier`](super::FlashTier) over it are futures.
///
/// It is the whole flash, or a part of it beside other data ([`within`](Self::within)). Units are checked as those of
/// [`NorMedium`](super::NorMedium) are, when the program is compiled.
///
/// **The driver must allow a drop** of any of its futures. Before its next operation it must finish the dropped one or give it up. A dropped
/// write or erase may have happened fully, partly or not at all. It must change only its own units. A dropped read must not write to
/// the buffer afterwards.
#[derive(Debug)]
pub struct AsyncNorMedium<F> {
    flash: F,
    part: NorPart,
    /// The operation that the machine asked for, until its end was taken.
    begun: Option<Begun>,
    /// Whether the future of its operation was made, and has not ended: where it was dropped, nobody knows how far it came.
    is_carried: bool,
    end: Option<Result<(), MediumError>>,
    prepared: Prepared,
    spent: Spent,
}

/// An operation that the machine waits for.
#[derive(Debug, Clone, Copy)]
enum Begun {
    Read {
        ticket: Ticket,
        at: u64,
    },
    Write {
        ticket: Ticket,
        at: u64,
    },
    Erase {
        at: u64,
        bytes: u64,
    },
    /// One that NOR flash has no need of.
    Nothing,
}

/// The cost of one call so far.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    operations: u32,
    erases: u32,
    bytes: u32,
}

impl<F: NorFlash> AsyncNorMedium<F> {
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
        Self {
            flash,
            part: NorPart::whole(erase_value),
            begun: None,
            is_carried: false,
            end: None,
            prepared: Prepared::new(),
            spent: Spent { operations: 0, erases: 0, bytes: 0 },
        }
    }

    /// Takes only this part of the flash, by its addresses, as [`NorMedium::within`](super::NorMedium::within) does.
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

    /// Begins a call: its bound is whole.
    pub(super) fn begin_call(&mut self) {
        self.spent = Spent::default();
    }

    /// The cost of the call so far, but for reads of the index.
    pub(super) fn cost(&self) -> Work {
        let Spent { operations, erases, bytes } = self.spent;
        Work { operations, erases, bytes_programmed: bytes, ..Work::default() }
    }

    /// Whether the operation under way was given up, because its future was dropped.
    pub(super) fn was_interrupted(&self) -> bool {
        self.end == Some(Err(MediumError::Interrupted))
    }

    /// Carries out the operation that was submitted, up to its end.
    ///
    /// Where an earlier future of it was dropped, a read or an erase is made again. A write is not: its units may be programmed. The
    /// flash tells whether all of it is there.
    pub(super) async fn carry_out(&mut self, tier: &mut Tier<'_>) {
        let Some(begun) = self.begun else { return };
        let was_dropped = replace(&mut self.is_carried, true);
        let result = match begun {
            Begun::Read { ticket, at } => self.read_bytes(at, tier.read_buffer(ticket)).await,
            Begun::Write { ticket, at } if was_dropped => {
                self.find_written(at, tier.write_bytes(ticket)).await
            }
            Begun::Write { ticket, at } => self.write(at, tier.write_bytes(ticket)).await,
            Begun::Erase { at, bytes } => self.erase(at, bytes).await,
            Begun::Nothing => Ok(()),
        };
        self.end = Some(result);
        self.begun = None;
        self.is_carried = false;
    }

    async fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), MediumError> {
        let at = self.part.address(at, bytes.len() as u64, self.shape())?;
        self.flash.write(at, bytes).await.map_err(|_| MediumError::Io)
    }

    async fn erase(&mut self, at: u64, bytes: u64) -> Result<(), MediumError> {
        let range = self.part.erased(at, bytes, self.shape())?;
        self.flash.erase(range.start, range.end).await.map_err(|_| MediumError::Io)
    }

    /// Compares the flash with bytes whose write was dropped.
    async fn find_written(&mut self, at: u64, bytes: &[u8]) -> Result<(), MediumError> {
        let mut at = at;
        let mut found = [0; COMPARED_BYTES];
        for piece in bytes.chunks(COMPARED_BYTES) {
            let found = found.get_mut(..piece.len()).unwrap_or_default();
            match self.read_bytes(at, found).await {
                Ok(()) if found == piece => at += piece.len() as u64,
                _ => return Err(MediumError::Interrupted),
            }
        }
        Ok(())
    }
}

/// A flash whose reads are awaited.
struct AwaitedReads<'f, F>(&'f mut F);

impl<F: NorFlash> AlignedReads for AwaitedReads<'_, F> {
    async fn read_units(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), MediumError> {
        self.0.read(at, bytes).await.map_err(|error| read_error(error.kind()))
    }
}

impl<F: NorFlash> DeviceMedium for AsyncNorMedium<F> {
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

impl<F: NorFlash> Access for AsyncNorMedium<F> {
    const READS_AT_ONCE: bool = false;

    async fn open(flash: &mut Flash<Self>, place: u32) -> Result<Option<OpenedRecord>, MediumError> {
        Later(flash).open(place).await
    }

    async fn stored_hash(flash: &mut Flash<Self>, opened: &OpenedRecord) -> Result<KeyHash, MediumError> {
        Later(flash).stored_hash(opened).await
    }

    async fn key_is(flash: &mut Flash<Self>, opened: &OpenedRecord, key: &[u8]) -> Result<bool, MediumError> {
        Later(flash).key_is(opened, key).await
    }

    async fn holds(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        key: &[u8],
        sequence: Sequence,
        value: &[u8],
    ) -> Result<bool, MediumError> {
        Later(flash).holds(opened, key, sequence, value).await
    }

    async fn is_whole(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        sequence: Sequence,
    ) -> Result<bool, MediumError> {
        Later(flash).is_whole(opened, sequence).await
    }

    async fn value(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        key: &[u8],
        sequence: Sequence,
        out: &mut [u8],
    ) -> Result<bool, MediumError> {
        Later(flash).value(opened, key, sequence, out).await
    }

    async fn key(flash: &mut Flash<Self>, opened: &OpenedRecord, out: &mut [u8]) -> Result<(), MediumError> {
        Later(flash).key(opened, out).await
    }

    async fn record(desk: &mut IndexOnFlash<'_, '_, Self>, place: u32) -> Option<OpenedRecord> {
        desk.record_later(place).await
    }

    async fn find_twice(desk: &mut IndexOnFlash<'_, '_, Self>, hash: &KeyHash, copies_min: u8) -> Match {
        desk.find_twice_later(hash, copies_min).await
    }

    async fn read_bytes(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        let at = self.part.address(at, bytes.len() as u64, self.shape())?;
        read_any(&mut AwaitedReads(&mut self.flash), F::READ_SIZE, at, bytes).await
    }

    fn begin(
        &mut self,
        geometry: &Geometry,
        _: &mut Tier<'_>,
        action: &Action,
    ) -> Option<Result<Started, MediumError>> {
        self.give_up();
        let bytes = u64::from(geometry.segment_bytes());
        self.begun = Some(match *action {
            Action::Read { ticket, segment, offset, .. } => {
                Begun::Read { ticket, at: u64::from(segment.get()) * bytes + u64::from(offset) }
            }
            Action::Write { ticket, segment, offset, .. } => {
                Begun::Write { ticket, at: u64::from(segment.get()) * bytes + u64::from(offset) }
            }
            Action::Erase { segment, .. } => Begun::Erase { at: u64::from(segment.get()) * bytes, bytes },
            Action::Cleanup { .. } => return None,
            _ => Begun::Nothing,
        });
        Some(Ok(Started::UnderWay))
    }

    fn begin_erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.give_up();
        self.begun = Some(Begun::Erase { at, bytes });
        Ok(Started::UnderWay)
    }

    fn take_end(&mut self) -> Option<Result<(), MediumError>> {
        self.end.take()
    }

    fn prepared(&mut self) -> Option<&mut Prepared> {
        Some(&mut self.prepared)
    }

    fn is_wanting(&self) -> bool {
        self.prepared.is_wanting()
    }

    fn charge(&mut self, action: &Action) {
        self.spent.operations = self.spent.operations.saturating_add(1);
        match action {
            Action::Write { bytes, .. } => self.spent.bytes = self.spent.bytes.saturating_add(*bytes),
            Action::Erase { .. } => self.spent.erases += 1,
            _ => {}
        }
    }

    fn left_of(&self, whole: Allowance) -> Allowance {
        Allowance {
            erases: whole.erases.saturating_sub(self.spent.erases),
            bytes: whole.bytes.saturating_sub(self.spent.bytes),
            ..whole
        }
    }

    fn give_up(&mut self) -> bool {
        (self.begun, self.end, self.is_carried, self.prepared) = (None, None, false, Prepared::new());
        true
    }
}

#[cfg(feature = "defmt")]
impl<F> defmt::Format for AsyncNorMedium<F> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "AsyncNorMedium({}, under way: {=bool})", self.part, self.begun.is_some());
    }
}
