//! Why an operation of a flash tier was not done.

use core::fmt;

use coldpress_core::codec::CodecId;
use coldpress_core::config::ConfigError;
use coldpress_core::drive::MediumError;
use coldpress_core::format::GeometryError;
use coldpress_core::recovery::MountError;

/// Why a tier could not be built. Nothing was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BuildError {
    /// The shape of the medium is refused.
    Geometry(GeometryError),
    /// The configuration or the memory is refused.
    Config(ConfigError),
    /// A segment is no multiple of so many bytes, the erase unit.
    EraseUnit(u32),
    /// The segments take so many bytes; the medium has fewer, or they are more than can be addressed.
    MediumBytes(u64),
    /// The medium has more write units than an entry of the index can name; so many are the most.
    Units(u32),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::EraseUnit(n) => write!(f, "a segment takes a multiple of the erase unit, {n} bytes"),
            Self::MediumBytes(n) => write!(f, "the segments take {n} bytes, more than the medium has"),
            Self::Units(n) => write!(f, "the index tells {n} write units apart at most"),
        }
    }
}

impl core::error::Error for BuildError {}

/// Why a tier is not mounted. Nothing was written, but for [`Format`](Self::Format).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FlashMountError {
    /// The content of the medium is refused.
    Mount(MountError),
    /// The medium holds more keys than the index has places for: it was written with a larger one.
    Keys,
    /// The mount is not over: an operation of the medium is under way. Once that has ended, mount again, or poll: the mount
    /// goes on.
    Busy,
    /// The mount is not over: the medium failed, and is tried again. Poll, or mount again later.
    Unfinished,
    /// An erase failed that [`format`](super::FlashTier::format) asked for. Poll, or mount again: it goes on.
    Format(MediumError),
}

impl fmt::Display for FlashMountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(error) => error.fmt(f),
            Self::Keys => f.write_str("the medium holds more keys than the index has places for"),
            Self::Busy => f.write_str("the medium is busy: mount again once its operation has ended"),
            Self::Unfinished => f.write_str("the mount is not over"),
            Self::Format(error) => write!(f, "format: {error}"),
        }
    }
}

impl core::error::Error for FlashMountError {}

/// The reason why a call was put off; see [`PutError::Busy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Wait {
    /// The end of the operation that is under way: an interrupt of the flash, or some time.
    Operation,
    /// A pause after an operation that failed; nothing is under way. [`poll_timeout`](super::FlashTier::poll_timeout) tells how long
    /// it takes, and [`poll`](super::FlashTier::poll) then tries the operation again.
    Retry,
}

/// Why a value was not written or a key not removed. The caller still has both, and may offer them again. But for
/// [`Medium`](Self::Medium) and [`Busy`](Self::Busy) nothing was changed, and nothing will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PutError {
    /// The tier is not mounted, or is closed.
    NotMounted,
    /// Not now. Once its wait is over, make the same call again: it goes on where it was, and is answered. Nothing is lost or
    /// half done meanwhile: until the answer the key has its old value or the new one, now and after a cut. A call that is
    /// never made again counts like one that a cut interrupted; another write gives the answer up.
    Busy(Wait),
    /// Compaction must come first, and would take more than one call may do. Poll, or reserve, and offer it again.
    NeedsCompaction,
    /// The medium is full of live records: remove something.
    Full,
    /// As many keys have a value as the index holds ([`FlashMemory::KEYS_MAX`](super::FlashMemory::KEYS_MAX)): remove something.
    ///
    /// Removed keys take places until their last copy is gone from the medium. A put that needs one of these gets
    /// [`NeedsCompaction`](Self::NeedsCompaction), and not this error, while cleaning can free one.
    KeysFull,
    /// Removed keys take the last places of the index. They keep them while some records or segments can't be read, since these
    /// may hold older values of the keys. `RebuildIndex`, with [`give_up_unread`](super::FlashTier::give_up_unread) where they
    /// never can be read again, gives the places back.
    KeysKept,
    /// A record, header and key included, takes at most so many bytes.
    TooLong(u32),
    /// The records of a batch take more bytes than one segment gives them. Nothing was written: commit fewer keys together.
    BatchTooLong {
        /// The bytes that they take, headers included.
        bytes: u32,
        /// The most that a segment gives to a batch.
        max: u32,
    },
    /// A batch has more items than the memory of the tier takes, which are so many: `BATCH` of [`FlashMemory`](super::FlashMemory).
    BatchKeys(u32),
    /// Another key, longer than 7 bytes, has the same identity: this one can't be stored beside it.
    Collision,
    /// Keys that begin with the bytes FF 63 70 are kept for pieces of long values.
    Reserved,
    /// No long value was begun under this key.
    NotBegun,
    /// The stored value is damaged, or may lie where a mount could not read, so its pieces could be mistaken for new ones.
    /// Remove the key, or put a short value, first. `RebuildIndex` gives back segments that could not be read.
    Damaged,
    /// The medium failed. Until the next mount the key has its old value, or none, as before. The next mount finds the old one
    /// or the new one, unless the key was written since; after a remove, the old one or none. Other keys are as they were.
    Medium(MediumError),
    /// All segment sequences were issued, as many as
    /// [`erases_per_segment`](coldpress_core::format::Geometry::erases_per_segment) allows. The medium takes no more records of this
    /// length; shorter ones may still fit. Everything on it can be read, and mounted again.
    Exhausted,
    /// The tier found its own state broken: a fault of this program, or of the RAM that it runs in. It writes nothing more
    /// until it is mounted anew, and stored values can be read; [`status`](super::FlashTier::status) names the invariant. The
    /// write that found the fault gets another answer, and counts like one that a cut interrupted.
    Broken,
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMounted => f.write_str("the tier is not mounted"),
            Self::Busy(Wait::Operation) => {
                f.write_str("the medium is busy: make the call again once its operation has ended")
            }
            Self::Busy(Wait::Retry) => f.write_str(
                "the medium failed and is tried again after a pause: poll, and make the call again",
            ),
            Self::NeedsCompaction => f.write_str("compaction must come first: poll and offer it again"),
            Self::Full => f.write_str("the medium is full of live records"),
            Self::KeysFull => f.write_str("the index holds as many keys as it can: remove something"),
            Self::KeysKept => {
                f.write_str("removed keys take all places while something can't be read: rebuild the index")
            }
            Self::TooLong(max) => write!(f, "a record takes at most {max} bytes"),
            Self::BatchTooLong { bytes, max } => {
                write!(f, "the batch takes {bytes} bytes, and a segment gives it {max}")
            }
            Self::BatchKeys(max) => write!(f, "the memory of the tier takes batches of at most {max} items"),
            Self::Reserved => f.write_str("keys that begin so are kept for pieces of long values"),
            Self::NotBegun => f.write_str("no long value was begun under this key"),
            Self::Damaged => f.write_str("the value there is damaged: remove it first"),
            Self::Collision => f.write_str("another key has the same identity"),
            Self::Medium(error) => error.fmt(f),
            Self::Exhausted => f.write_str("all segment sequences were issued"),
            Self::Broken => f.write_str("an invariant is broken: nothing more is written"),
        }
    }
}

impl core::error::Error for PutError {}

/// Why a value was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum GetError {
    /// The tier is not mounted.
    NotMounted,
    /// An operation of the medium is under way: ask again once it has ended.
    Busy,
    /// The record is damaged. The bytes that were read are not its value.
    Damaged,
    /// The value, or key, takes so many bytes: more than the buffer has.
    Short(u32),
    /// The value, of so many bytes, was written in pieces: read it in pieces.
    InPieces(u32),
    /// The value is encoded with the codec of this number: a host made it, and a device decodes none.
    Codec(CodecId),
    /// The medium failed.
    Medium(MediumError),
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMounted => f.write_str("the tier is not mounted"),
            Self::Busy => f.write_str("the medium is busy: ask again"),
            Self::Damaged => f.write_str("the record is damaged"),
            Self::Short(n) => write!(f, "it takes a buffer of {n} bytes"),
            Self::InPieces(n) => write!(f, "a value of {n} bytes is read in pieces"),
            Self::Codec(codec) => {
                write!(f, "the value is encoded with codec {codec}, which a device does not decode")
            }
            Self::Medium(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GetError {}

impl From<MediumError> for GetError {
    fn from(error: MediumError) -> Self {
        Self::Medium(error)
    }
}
