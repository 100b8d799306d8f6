//! A tier seen from outside: spans with the workers' events in them, and the documented metrics.
//!
//! A process of its own: subscriber and recorder are global.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Mutex;

use coldpress_std::compaction::CompactionTask;
use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{ColdTier, ColdTierConfig};
use tracing::field::{Field, Visit};
use tracing::{Event, Id, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

const PATIENCE: Duration = Duration::from_secs(120);

/// Subscriber and recorder see the tiers of both tests: one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Bytes that no codec makes shorter, so that segments are filled.
fn value(seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) | 1 << 40;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..500).map(|_| next()).collect()
}

/// Puts, gets, removes, runs every task, closes.
fn exercise(dir: &std::path::Path, pools: &PoolCoordinator) {
    let config = ColdTierConfig::builder().capacity_bytes(4 << 20).op_timeout(PATIENCE).build().unwrap();
    let tier = ColdTier::open(dir, "seen", config, pools.clone()).unwrap();
    for round in 0..6u32 {
        for key in 0..500u32 {
            tier.put(&key.to_le_bytes(), &value(round * 500 + key)).unwrap();
        }
        tier.flush().unwrap();
    }
    for key in 0..50u32 {
        for _ in 0..2 {
            assert!(tier.get(&key.to_le_bytes()).unwrap().is_some());
        }
        assert!(tier.get(&key.to_le_bytes()).unwrap().is_some(), "from the pools");
        assert!(tier.remove(&key.to_le_bytes()).unwrap());
    }
    for task in [
        CompactionTask::CompactData,
        CompactionTask::RebuildIndex,
        CompactionTask::CleanupExpired,
        CompactionTask::OptimizeCompression,
    ] {
        tier.compaction().run_compaction(task, PATIENCE).unwrap();
    }
    tier.close().unwrap();
}

fn pools(name: &str) -> (AllocationManager, PoolCoordinator) {
    let config =
        PoolConfig::builder().capacity_bytes(8 << 20).partitions(1).name(name).request_timeout(PATIENCE);
    AllocationManager::new(&config.build().unwrap()).unwrap()
}

/// Events as the names of the spans around them and their message; spans as opened less closed.
static EVENTS: Mutex<Vec<(Vec<&str>, String)>> = Mutex::new(Vec::new());
static SPANS: Mutex<BTreeMap<&str, (u32, u32)>> = Mutex::new(BTreeMap::new());

struct Recording;

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn core::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recording {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &Id, _: Context<'_, S>) {
        SPANS.lock().unwrap().entry(attributes.metadata().name()).or_default().0 += 1;
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let name = context.span(&id).unwrap().name();
        SPANS.lock().unwrap().entry(name).or_default().1 += 1;
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let scope = context.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        let mut message = Message(String::new());
        event.record(&mut message);
        EVENTS.lock().unwrap().push((scope.map(|span| span.name()).collect(), message.0));
    }
}

#[test]
fn events_of_workers_lie_in_the_spans_of_their_work() {
    let _turn = TURN.lock();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Recording)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools("spans");
    exercise(dir.path(), &pools);
    let events = EVENTS.lock().unwrap();
    for (message, spans) in [
        ("log mounted", &["open", "mount"][..]),
        ("flushed", &["flush"]),
        ("compaction ended", &["compaction"]),
        ("codec chosen", &["compaction"]),
        ("efficiency analysed", &["compaction"]),
        ("log closed", &["close"]),
        ("tier closed", &["close"]),
    ] {
        let mut found = events.iter().filter(|(_, said)| said == message).peekable();
        assert!(found.peek().is_some(), "{message}: {events:?}");
        assert!(found.all(|(scope, _)| scope == spans), "{message}: {events:?}");
    }
    let spans = SPANS.lock().unwrap();
    for name in ["open", "mount", "flush", "compaction", "close", "sync"] {
        let (opened, closed) = spans[name];
        assert!(opened > 0 && opened == closed, "{name}: {opened} opened, {closed} closed");
    }
}

#[cfg(feature = "metrics")]
mod metrics {
    use super::*;
    use coldpress_std::pool::HotKey;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    struct Row {
        kind: &'static str,
        unit: &'static str,
        labels: Vec<&'static str>,
        text: &'static str,
    }

    /// The table of the documentation.
    fn documented() -> BTreeMap<&'static str, Row> {
        let rows = include_str!("../src/metrics.md").lines().filter(|line| line.starts_with("| `"));
        let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
        cells
            .map(|cells| {
                let labels = cells[3].split(", ").collect();
                (cells[0].trim_matches('`'), Row { kind: cells[1], unit: cells[2], labels, text: cells[4] })
            })
            .collect()
    }

    #[test]
    fn documented_metrics_appear_and_no_others() {
        let _turn = TURN.lock();
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        recorder.install().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (_manager, pools) = pools("metrics");
        exercise(dir.path(), &pools);
        let key = HotKey { tier: 9, hash: [7; 12] };
        assert!(pools.hot().insert(key, 1, b"value", None));
        // The pools are measured after each cleanup: after the first of two for sure.
        pools.emergency_cleanup().unwrap();
        pools.trigger_defragmentation().unwrap();
        let documented = documented();
        assert!(documented.len() > 30);
        let mut seen = BTreeMap::new();
        let of_this_test = |labels: &[(&str, &str)]| {
            labels.iter().any(|label| *label == ("tier", "seen") || *label == ("pools", "metrics"))
        };
        for (key, unit, text, value) in snapshotter.snapshot().into_vec() {
            let name = key.key().name();
            let Some(row) = documented.get(name) else { panic!("{name} is not documented") };
            let labels: Vec<_> = key.key().labels().map(|label| (label.key(), label.value())).collect();
            let names: Vec<_> = labels.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, row.labels, "{name}");
            let unit = unit.map(|unit| unit.as_str());
            assert_eq!(unit, Some(row.unit), "{name}");
            assert_eq!(text.as_deref(), Some(row.text), "{name}");
            let (kind, amount) = match value {
                DebugValue::Counter(count) => ("counter", count as f64),
                DebugValue::Gauge(value) => ("gauge", value.into_inner()),
                DebugValue::Histogram(samples) => ("histogram", samples.len() as f64),
            };
            assert_eq!(kind, row.kind, "{name}");
            if of_this_test(&labels) {
                *seen.entry(row_name(&documented, name)).or_insert(0.0) += amount;
            }
        }
        for name in documented.keys() {
            assert!(seen.contains_key(name), "{name} does not appear");
        }
        for (name, least) in [
            ("coldpress_puts_total", 3000.0),
            ("coldpress_hot_hits_total", 50.0),
            ("coldpress_bytes_written_total", 3000.0 * 500.0),
            ("coldpress_live_bytes", 1.0),
            ("coldpress_charge_bytes_max", 1_000_000.0),
            ("coldpress_compactions_total", 4.0),
            ("coldpress_put_seconds", 3000.0),
            ("coldpress_get_seconds", 100.0),
            ("coldpress_sync_seconds", 6.0),
            ("coldpress_pool_hits_total", 50.0),
            ("coldpress_pool_committed_bytes", 1.0),
            ("coldpress_pool_cleanups_total", 2.0),
        ] {
            assert!(seen[name] >= least, "{name}: {}", seen[name]);
        }
    }

    /// The name as the documentation holds it, which outlives the snapshot.
    fn row_name(documented: &BTreeMap<&'static str, Row>, name: &str) -> &'static str {
        documented.get_key_value(name).map(|(name, _)| *name).unwrap_or_default()
    }
}
