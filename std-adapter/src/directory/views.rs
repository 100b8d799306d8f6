//! A medium of one partition, once for each thread that uses it.

use crate::storage::{MediumFailure, ServiceMedium};

/// The views of one medium.
pub(crate) struct Views {
    pub(crate) worker: Box<dyn ServiceMedium>,
    pub(crate) reader: Box<dyn ServiceMedium>,
    /// None where nothing is to be synced.
    pub(crate) syncer: Option<Box<dyn ServiceMedium>>,
}

impl Views {
    pub(crate) fn of(medium: Box<dyn ServiceMedium>, is_read_only: bool) -> Result<Self, MediumFailure> {
        let syncer = if is_read_only { None } else { Some(medium.another_view()?) };
        Ok(Self { reader: medium.another_view()?, worker: medium, syncer })
    }
}
