//! The directory of a tier: its locks, its partition files, their shape, and how that changes.

mod dir;
mod facts;
pub mod inspect;
mod last_use;
mod lock_identity;
mod log_digest;
mod meta;
mod owner;
mod peek;
mod reshape;
mod snapshot;
mod views;

pub(crate) use self::dir::{Dir, is_plain};
#[cfg(feature = "archive")]
pub(crate) use self::dir::{part_name, part_new_name};
pub(crate) use self::log_digest::LogDigest;
#[cfg(feature = "archive")]
pub(crate) use self::meta::Meta;
pub(crate) use self::peek::{new_store, peek};
pub(crate) use self::views::Views;
