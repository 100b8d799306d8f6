//! Recovery: the mount, and the second look at segments that could not be read.
//!
//! No byte is trusted that no checksum covers, and an error of the medium says nothing about the bytes (rule 13).

mod error;
mod grown;
mod head;
mod mount;
mod report;
mod restore;
mod scanner;

pub use error::MountError;
pub(crate) use mount::Mount;
pub use report::MountReport;
pub(crate) use restore::{Outcome, Restore, RestoreStep};
pub use scanner::SEARCH_TIMES_MAX;
pub(crate) use scanner::{Found, Scan, Scanner, identity, is_early};
