//! The stats of the archive as metrics.

use coldpress_std::archive::ContinuousStats;

macro_rules! archive_metrics {
    ($($name:literal $kind:ident $describe:ident $text:literal $stats:ident $value:expr;)+) => {
        /// Describes the metrics.
        pub(crate) fn describe() {
            $(metrics::$describe!($name, $text);)+
        }

        /// Gives the recorder those values that there are.
        pub(crate) fn publish(stats: &ContinuousStats) {
            $(archive_metrics!(@$kind $name, { let $stats = stats; $value });)+
        }
    };
    (@counter $name:literal, $value:expr) => { metrics::counter!($name).absolute($value) };
    (@gauge $name:literal, $value:expr) => { if let Some(value) = $value { metrics::gauge!($name).set(value) } };
}

archive_metrics! {
    "coldpress_service_archive_behind_seconds" gauge describe_gauge
        "Seconds since the moment of the newest backup: the most that a loss of the machine would take of the log."
        stats stats.behind.map(|behind| behind.as_secs_f64());
    "coldpress_service_archive_newest_timestamp_seconds" gauge describe_gauge
        "When the newest backup was taken, in seconds since 1970."
        stats stats.newest_taken_s.map(|taken_s| taken_s as f64);
    "coldpress_service_archive_unsaved_bytes" gauge describe_gauge
        "Bytes written to the log since the newest backup."
        stats stats.unsaved_bytes.map(|bytes| bytes as f64);
    "coldpress_service_archive_backups_total" counter describe_counter "Backups that were made." stats stats.backups;
    "coldpress_service_archive_unchanged_total" counter describe_counter
        "Looks at the log that found nothing new, so that no backup was made." stats stats.unchanged;
    "coldpress_service_archive_failures_total" counter describe_counter "Backups that failed." stats stats.failures;
    "coldpress_service_archive_failures_in_a_row" gauge describe_gauge
        "Backups that failed since the newest one." stats Some(f64::from(stats.failures_in_a_row));
    "coldpress_service_archive_pruned_backups_total" counter describe_counter
        "Backups that prunes deleted." stats stats.pruned_backups;
    "coldpress_service_archive_prune_failures_total" counter describe_counter
        "Prunes that failed." stats stats.prune_failures;
    "coldpress_service_archive_uploaded_objects_total" counter describe_counter
        "Objects with segments that were uploaded." stats stats.uploaded_objects;
    "coldpress_service_archive_uploaded_bytes_total" counter describe_counter
        "Bytes of objects and manifests that were uploaded." stats stats.uploaded_bytes;
    "coldpress_service_archive_read_bytes_total" counter describe_counter
        "Bytes of the log that complete backups read." stats stats.read_bytes;
    "coldpress_service_archive_backup_seconds" gauge describe_gauge
        "How long the newest backup took." stats Some(stats.newest_took.as_secs_f64());
    "coldpress_service_archive_under_way_bytes" gauge describe_gauge
        "Bytes of the log that the backup has to read that is under way; 0 where none is."
        stats Some(stats.under_way.map_or(0.0, |state| state.bytes_total as f64));
    "coldpress_service_archive_under_way_done_bytes" gauge describe_gauge
        "Those of them that the archive has."
        stats Some(stats.under_way.map_or(0.0, |state| state.bytes_done as f64));
}
