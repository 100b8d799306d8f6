//! The medium of a tier's log: a file, or a double that a test puts in its place.
//!
//! A medium implements [`Medium`], the operations that the core's machine asks for, and [`ServiceMedium`], the calls that a
//! service needs beside. A partition has three views of one medium, made with [`ServiceMedium::another_view`]: one reads for
//! the clients, one reads and writes for the log worker, one syncs, so that appends go on during a sync. All calls are
//! positional: a medium has no cursor, and the views need no lock.

pub use coldpress_core::drive::{Medium, MediumError, Started};

pub use super::file_medium::FileMedium;
pub use super::medium_failure::MediumFailure;
pub use super::service_medium::ServiceMedium;
