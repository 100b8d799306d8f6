//! The last minutes, sampled once a second, so that a page shows them as soon as it is opened.

use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::collections::VecDeque;

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::metrics::{BUCKETS, Kind, quantile};
use crate::service::Service;
use crate::store::StoreView;

/// Samples that are kept.
const SAMPLES_MAX: usize = 300;
/// How often one is taken.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How often writes are looked at for waits.
const PRESSURE_EVERY: Duration = Duration::from_millis(10);

/// The columns of a sample.
const COLUMNS: [&str; 15] = [
    "number",
    "gets",
    "sets",
    "removes",
    "others",
    "hot",
    "warm",
    "cold",
    "missed",
    "get_p50_us",
    "get_p99_us",
    "set_p50_us",
    "set_p99_us",
    "external_permille",
    "stale_permille",
];

/// The last samples.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<[u64; COLUMNS.len()]>,
    taken: u64,
    last: Last,
}

/// The counts at the last sample.
#[derive(Debug, Default)]
struct Last {
    counts: [[u64; BUCKETS]; 4],
    hits: Vec<(&'static str, u64)>,
}

impl History {
    /// The samples after this number, and their columns.
    pub(crate) fn json(&self, since: u64) -> Value {
        let samples =
            self.samples.iter().filter(|sample| sample.first().is_some_and(|number| *number > since));
        json!({
            "columns": COLUMNS, "every_ms": u64::try_from(SAMPLE_EVERY.as_millis()).unwrap_or(u64::MAX), "samples_max": SAMPLES_MAX,
            "samples": samples.collect::<Vec<_>>(),
        })
    }

    fn sample(&mut self, service: &Service, view: &StoreView) {
        let mut kinds = [[0; BUCKETS]; 4];
        for ((kind, last), since) in Kind::ALL.iter().zip(&mut self.last.counts).zip(&mut kinds) {
            let counts = service.latency(*kind).counts();
            *since = core::array::from_fn(|at| {
                let count = |row: &[u64; BUCKETS]| row.get(at).copied().unwrap_or(0);
                count(&counts).saturating_sub(count(last))
            });
            *last = counts;
        }
        let [gets, sets, removes, others] = kinds.map(|counts| counts.iter().sum::<u64>());
        let hits = view.hits(service.counters.missed.load(Relaxed));
        let since = |name: &str| {
            let of = |rows: &[(&str, u64)]| rows.iter().find(|row| row.0 == name).map_or(0, |row| row.1);
            of(&hits).saturating_sub(of(&self.last.hits))
        };
        let us = |kind: Kind, permille| {
            let counts = kinds.get(kind as usize).unwrap_or(&[0; BUCKETS]);
            u64::from(quantile(counts, permille))
        };
        let log = view.tier.live_bytes + view.tier.stale_bytes;
        self.taken += 1;
        let sample = [
            self.taken,
            gets,
            sets,
            removes,
            others,
            since("hot"),
            since("warm"),
            since("cold"),
            since("missed"),
            us(Kind::Get, 500),
            us(Kind::Get, 990),
            us(Kind::Set, 500),
            us(Kind::Set, 990),
            view.pools.external_permille.into(),
            (view.tier.stale_bytes * 1000).checked_div(log).unwrap_or(0),
        ];
        self.last.hits = hits.to_vec();
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }
}

/// Takes a sample each second until the service closes.
pub(crate) async fn keep(service: &'static Service) {
    let mut ticks = interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !service.is_closing() {
        ticks.tick().await;
        // The view asks the workers of the log, and waits for them.
        let Ok(view) = tokio::task::spawn_blocking(|| service.store.view()).await else { return };
        service.history.lock().sample(service, &view);
    }
}

/// Looks often whether writes begin to wait, so that they are sent to other threads before they do.
pub(crate) async fn watch_pressure(service: &'static Service) {
    let mut ticks = interval(PRESSURE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !service.is_closing() {
        ticks.tick().await;
        service.is_pressed.store(service.store.is_pressed(), Relaxed);
    }
}
