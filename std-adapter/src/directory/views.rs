//! A medium of one partition, once for each thread that uses it.

use crate::storage::{Medium, MediumFailure};

/// The views of one medium.
pub(crate) struct Views {
    pub(crate) worker: Box<dyn Medium>,
    pub(crate) reader: Box<dyn Medium>,
    /// None where nothing is to be synced.
    pub(crate) syncer: Option<Box<dyn Medium>>,
}

impl Views {
    pub(crate) fn of(medium: Box<dyn Medium>, is_read_only: bool) -> Result<Self, MediumFailure> {
        let syncer = if is_read_only { None } else { Some(medium.try_clone()?) };
        Ok(Self { reader: medium.try_clone()?, worker: medium, syncer })
    }
}
