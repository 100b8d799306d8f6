//! A cold tier on flash: crash-safe, compacted in bounded steps, with an index of four bytes an entry.
//!
//! [`FlashTier`] drives the same machine as the std adapter ([`coldpress_core::tier`]) over a [`Medium`]. Its memory is one
//! [`FlashMemory`], lent from a `static`.

mod config;
mod driving;
mod error;
mod figures;
mod get;
mod hash;
mod index;
mod medium;
mod memory;
mod nor;
mod put;
mod reader;
mod table;
mod tier;

pub use config::FlashConfig;
pub use driving::Work;
pub use error::{BuildError, FlashMountError, GetError, PutError};
pub use figures::{Figures, Worst};
pub use get::{Cursor, KeyFound};
pub use hash::{KEY_BYTES_EXACT, key_hash};
pub use medium::{Medium, Started};
pub use memory::{FlashMemory, buckets_for};
pub use nor::NorMedium;
pub use put::Reserved;
pub use tier::FlashTier;
