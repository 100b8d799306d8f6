//! Media, and the files of a tier.

mod cache_doubt;
mod file_medium;
mod files;
pub mod medium;
mod medium_failure;
#[cfg(feature = "archive")]
mod packed_segment;
mod service_medium;
mod shared_file;
mod sparse;
mod sync_watch;
mod syncer;
mod system;

pub(crate) use self::cache_doubt::{FileState, Left};
pub(crate) use self::file_medium::MARKER_BLOCK_BYTES;
pub(crate) use self::files::{META_NAME, Mode, make_dirs, real_path, sync_above, sync_dir};
pub(crate) use self::medium::{FileMedium, MediumError, MediumFailure, ServiceMedium};
#[cfg(feature = "archive")]
pub(crate) use self::packed_segment::PackedSegment;
pub(crate) use self::shared_file::SharedFile;
pub(crate) use self::sparse::Sparse;
pub(crate) use self::sync_watch::{IN_DOUBT, SOUND, SyncWatch};
pub(crate) use self::syncer::{Synced, Syncer};
pub(crate) use self::system::{data_ranges, medium_error, reports_unseen_failures};
