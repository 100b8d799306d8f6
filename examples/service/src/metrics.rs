//! Counters and latencies of the service, and their text for Prometheus.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;

use coldpress_std::archive::ContinuousStats;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};

use crate::archive_metrics;
use crate::errors::ServiceError;

/// The kinds of requests whose latencies are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Set,
    Remove,
    Other,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Get, Self::Set, Self::Remove, Self::Other];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Remove => "remove",
            Self::Other => "other",
        }
    }
}

/// Upper bounds of the latencies that a bucket counts, in microseconds; one more counts the rest.
pub(crate) const BOUNDS_US: [u32; 31] = [
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000,
    7_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000,
];
/// Buckets of a histogram.
pub(crate) const BUCKETS: usize = BOUNDS_US.len() + 1;

/// A histogram of latencies that many threads count in.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Latency {
    pub(crate) fn record(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS_US.partition_point(|&bound| u64::from(bound) * 1000 < ns);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    pub(crate) fn counts(&self) -> [u64; BUCKETS] {
        core::array::from_fn(|at| self.buckets.get(at).map_or(0, |bucket| bucket.load(Relaxed)))
    }
}

/// The latency in microseconds that so many thousandths of the counted requests did not exceed; 0 where none was counted.
pub(crate) fn quantile(counts: &[u64; BUCKETS], permille: u64) -> u32 {
    let all: u64 = counts.iter().sum();
    let rank = (all * permille).div_ceil(1000);
    let mut seen = 0;
    for (count, bound) in counts.iter().zip(BOUNDS_US.iter().chain([&u32::MAX])) {
        seen += count;
        if seen >= rank && seen > 0 {
            return *bound;
        }
    }
    0
}

macro_rules! counters {
    ($($name:ident $metric:literal $text:literal;)+) => {
        /// The counters of the service.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(#[doc = $text] pub(crate) $name: AtomicU64,)+
        }

        impl Counters {
            fn describe() {
                $(metrics::describe_counter!($metric, $text);)+
            }

            fn publish(&self) {
                $(metrics::counter!($metric).absolute(self.$name.load(Relaxed));)+
            }

            pub(crate) fn json(&self) -> Value {
                json!({$((stringify!($name)): self.$name.load(Relaxed),)+})
            }
        }
    };
}

counters! {
    resp_connections "coldpress_service_resp_connections_total" "Connections that the Redis port took.";
    resp_refused "coldpress_service_resp_refused_total" "Connections that the Redis port refused, since there were too many.";
    resp_bytes_in "coldpress_service_resp_in_bytes_total" "Bytes read from connections of the Redis port.";
    resp_bytes_out "coldpress_service_resp_out_bytes_total" "Bytes written to connections of the Redis port.";
    commands "coldpress_service_commands_total" "Commands of the Redis port that were answered.";
    command_errors "coldpress_service_command_errors_total" "Commands of the Redis port that were answered by an error.";
    protocol_errors "coldpress_service_protocol_errors_total" "Connections of the Redis port closed for malformed bytes or limits.";
    http_connections "coldpress_service_http_connections_total" "Connections that the HTTP port took.";
    http_refused "coldpress_service_http_refused_total" "Connections that the HTTP port refused, since there were too many.";
    http_requests "coldpress_service_http_requests_total" "HTTP requests that were answered.";
    http_errors "coldpress_service_http_errors_total" "HTTP requests that were answered by a status from 500 on.";
    denied "coldpress_service_denied_total" "Requests without the right token, host or origin.";
    found "coldpress_service_found_total" "Keys asked for that had a value.";
    missed "coldpress_service_missed_total" "Keys asked for that had none.";
    memory_reads "coldpress_service_memory_reads_total" "Values that were answered from memory where the request was read.";
    thread_turns "coldpress_service_thread_turns_total" "Turns of a connection on a thread for blocking work.";
    idle_closed "coldpress_service_idle_closed_total" "Connections closed since they were idle or did not take their answer.";
    syncs "coldpress_service_syncs_total" "Syncs by the clock that worked.";
    sync_failures "coldpress_service_sync_failures_total" "Syncs by the clock that failed.";
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Relaxed);
    }
}

/// Installs the recorder, which has to be there before the store is opened.
pub(crate) fn install() -> Result<PrometheusHandle, ServiceError> {
    let handle = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| ServiceError::Start(error.to_string()))?;
    Counters::describe();
    archive_metrics::describe();
    Ok(handle)
}

/// The text of all metrics.
pub(crate) fn text(
    handle: &PrometheusHandle,
    counters: &Counters,
    latencies: &[Latency; 4],
    archive: Option<&ContinuousStats>,
) -> String {
    counters.publish();
    archive.into_iter().for_each(archive_metrics::publish);
    handle.run_upkeep();
    let mut text = handle.render();
    text.push_str(
        "# HELP coldpress_service_seconds How long requests took, without the time on the network.\n",
    );
    text.push_str("# TYPE coldpress_service_seconds histogram\n");
    for (kind, latency) in Kind::ALL.iter().zip(latencies) {
        let name = kind.name();
        let mut seen = 0;
        for (count, bound) in latency.counts().iter().zip(BOUNDS_US.iter().map(Some).chain([None])) {
            seen += count;
            let _ = match bound {
                Some(&us) => {
                    let seconds = f64::from(us) / 1e6;
                    writeln!(
                        text,
                        "coldpress_service_seconds_bucket{{kind=\"{name}\",le=\"{seconds}\"}} {seen}"
                    )
                }
                None => {
                    writeln!(text, "coldpress_service_seconds_bucket{{kind=\"{name}\",le=\"+Inf\"}} {seen}")
                }
            };
        }
        let sum = Duration::from_nanos(latency.sum_ns.load(Relaxed)).as_secs_f64();
        let _ = writeln!(text, "coldpress_service_seconds_sum{{kind=\"{name}\"}} {sum}");
        let _ = writeln!(text, "coldpress_service_seconds_count{{kind=\"{name}\"}} {seen}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_the_bound_of_its_bucket() {
        let latency = Latency::default();
        assert_eq!(quantile(&latency.counts(), 500), 0);
        for us in 1..=100 {
            latency.record(Duration::from_micros(us));
        }
        let counts = latency.counts();
        assert_eq!(counts.iter().sum::<u64>(), 100);
        assert_eq!((quantile(&counts, 10), quantile(&counts, 500), quantile(&counts, 990)), (1, 50, 100));
        latency.record(Duration::from_secs(60));
        assert_eq!(quantile(&latency.counts(), 1000), u32::MAX);
    }
}
