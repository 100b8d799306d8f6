//! The directory of a tier: its locks, its partition files, their shape, and how that changes.

mod dir;
mod meta;
mod peek;
mod reshape;
mod views;

pub(crate) use self::dir::Dir;
pub(crate) use self::peek::{new_store, peek};
pub(crate) use self::views::Views;
