//! Backs the log up to an archive while the service runs.

use core::num::{NonZeroU64, NonZeroUsize};
use core::time::Duration;

use coldpress_std::Durability;
use coldpress_std::archive::{ArchiveError, ArchiveLocation, ContinuousOptions, ContinuousStats};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::errors::ServiceError;
use crate::service::Service;

/// The archive, as the options name it.
#[derive(Debug)]
pub(crate) struct ArchiveConfig {
    pub(crate) url: String,
    pub(crate) every: Duration,
    pub(crate) keep: NonZeroUsize,
    pub(crate) bytes_per_s: Option<NonZeroU64>,
    /// How long the last backup may take.
    pub(crate) drain: Duration,
}

/// The backups that run in the background.
pub(crate) struct Archiving {
    backups: JoinHandle<Result<(), ArchiveError>>,
    drain: Duration,
}

/// Begins the backups, where an archive was named.
pub(crate) fn start(service: &'static Service) -> Result<Option<Archiving>, ServiceError> {
    let Some(config) = &service.config.archive else { return Ok(None) };
    let location = ArchiveLocation::from_url(&config.url)
        .map_err(|error| ServiceError::Option(format!("--archive {}: {error}", config.url)))?;
    let mut options = ContinuousOptions::default();
    (options.every, options.keep) = (config.every, Some(config.keep));
    options.backup.upload_bytes_per_s = config.bytes_per_s;
    let handle = service.store.tier();
    // A backup reads the whole log, which no thread that serves requests may wait for.
    let backups = tokio::task::spawn_blocking(move || {
        Handle::current().block_on(service.archive.run(
            &handle,
            location.store.as_ref(),
            &location.prefix,
            options,
        ))
    });
    Ok(Some(Archiving { backups, drain: config.drain }))
}

impl Archiving {
    /// Waits for a last backup, at most for its own time: requests may have used all of theirs.
    pub(crate) async fn end(self, service: &'static Service) {
        let last = async {
            // The log gets the values that memory alone has.
            let flush = tokio::task::spawn_blocking(|| service.store.flush(Durability::Flushed));
            if let Ok(Err(error)) = flush.await {
                tracing::error!(%error, "the last backup may lack writes of the last moments");
            }
            service.archive.stop();
            self.backups.await
        };
        match timeout(self.drain, last).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(%error, "the last backup failed"),
            Ok(Err(error)) => tracing::error!(%error, "the backups ended early"),
            Err(_) => tracing::error!("the last backup took longer than --archive-drain and was broken off"),
        }
    }
}

/// The stats as a member of `/stats`.
pub(crate) fn json(stats: &ContinuousStats) -> Value {
    json!({
        "newest": stats.newest,
        "newest_taken_s": stats.newest_taken_s,
        "behind_s": stats.behind.map(|behind| behind.as_secs_f64()),
        "unsaved_bytes": stats.unsaved_bytes,
        "backups": stats.backups,
        "unchanged": stats.unchanged,
        "failures": stats.failures,
        "failures_in_a_row": stats.failures_in_a_row,
        "pruned_backups": stats.pruned_backups,
        "prune_failures": stats.prune_failures,
        "last_error": stats.last_error,
        "uploaded_objects": stats.uploaded_objects,
        "uploaded_bytes": stats.uploaded_bytes,
        "read_bytes": stats.read_bytes,
        "newest_took_s": stats.newest_took.as_secs_f64(),
        "under_way": stats.under_way.map(|state| json!({
            "segments_done": state.segments_done,
            "segments_total": state.segments_total,
            "bytes_done": state.bytes_done,
            "bytes_total": state.bytes_total,
        })),
    })
}
