//! The page, and the requests that describe and maintain the store.

use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use coldpress_std::cache::MaintenanceTask;
use serde_json::{Value, json};

use super::answer::{Refused, on_a_thread};
use crate::metrics::{self, BOUNDS_US, Kind};
use crate::service::Service;
use crate::store::{StoreHandle, TASKS};

/// How long a maintenance task may take; it goes on behind that.
const TASK_TIME_MAX: Duration = Duration::from_secs(600);

/// GET /
pub(super) async fn page() -> Response {
    text("text/html; charset=utf-8", include_str!("../page/index.html"))
}

/// GET /page.css
pub(super) async fn style() -> Response {
    text("text/css; charset=utf-8", include_str!("../page/page.css"))
}

/// GET /page.js
pub(super) async fn script() -> Response {
    text("text/javascript; charset=utf-8", include_str!("../page/page.js"))
}

/// GET /draw.js
pub(super) async fn drawing() -> Response {
    text("text/javascript; charset=utf-8", include_str!("../page/draw.js"))
}

fn text(kind: &'static str, text: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn json(value: &Value) -> Response {
    text("application/json", value.to_string())
}

/// GET /stats
pub(super) async fn stats(State(service): State<&'static Service>) -> Result<Response, Refused> {
    let store = service.store;
    let (view, keys) = on_a_thread(move || Ok((store.view(), store.len()?))).await?;
    let config = &service.config;
    let latency: Value = Kind::ALL
        .iter()
        .map(|kind| (kind.name().to_owned(), json!(service.latency(*kind).counts())))
        .collect();
    let open = |places: &tokio::sync::Semaphore| config.limits.connections - places.available_permits();
    Ok(json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": service.started.elapsed().as_secs(),
        "durability": format!("{:?}", config.durability).to_lowercase(),
        "sync_every_ms": u64::try_from(config.sync_every.as_millis()).unwrap_or(u64::MAX),
        "sync_error": *service.sync_error.lock(),
        "archive": service.archive_stats().as_ref().map(crate::archive::json),
        "writes_wait": service.is_pressed.load(Relaxed),
        "connections": {"resp": open(&service.resp_places), "http": open(&service.http_places),
                        "max": config.limits.connections},
        "limits": {"key_bytes": config.limits.key_bytes, "value_bytes": config.limits.value_bytes,
                   "buffer_bytes": config.limits.buffer_bytes},
        "tasks": TASKS.map(|(name, _)| name),
        "keys": keys,
        "counters": service.counters.json(),
        "latency_bounds_us": BOUNDS_US,
        "latency": latency,
        "store": view.json(service.counters.missed.load(Relaxed)),
    })))
}

/// GET /history?since=number
pub(super) async fn history(State(service): State<&'static Service>, RawQuery(query): RawQuery) -> Response {
    let since = query.as_deref().and_then(|query| query.strip_prefix("since="));
    let since = since.and_then(|number| number.parse().ok()).unwrap_or(0);
    json(&service.history.lock().json(since))
}

/// GET /metrics
pub(super) async fn metrics(State(service): State<&'static Service>) -> Response {
    let archive = service.archive_stats();
    let text = metrics::text(&service.prometheus, &service.counters, &service.latencies, archive.as_ref());
    self::text("text/plain; version=0.0.4; charset=utf-8", text)
}

/// GET /healthz
pub(super) async fn health(State(service): State<&'static Service>) -> Response {
    let store = service.store;
    let checked = on_a_thread(move || Ok(trouble(store))).await;
    let trouble = match checked {
        Ok(found) => found,
        Err(refused) => return refused.into_response(),
    };
    let sync_error = service.sync_error.lock().clone();
    let closing = service.is_closing().then(|| "the service is closing".to_owned());
    match closing.or(trouble).or(sync_error) {
        None => text("text/plain; charset=utf-8", "ok\n"),
        Some(reason) => Refused::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}

fn trouble(store: StoreHandle) -> Option<String> {
    if !store.is_open() {
        return Some("the store is closed, or one of its workers died".to_owned());
    }
    store
        .needs_reopen()
        .then(|| "a sync failed: writes are refused until the service is restarted".to_owned())
}

/// POST /compact
pub(super) async fn compact(State(service): State<&'static Service>) -> Result<Response, Refused> {
    carry_out(service, "compact", MaintenanceTask::Compact { target_bytes: 0 }).await
}

/// POST /maintenance/{task}
pub(super) async fn maintain(
    State(service): State<&'static Service>,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    let Some((name, task)) = TASKS.into_iter().find(|(own, _)| *own == name) else {
        let names = TASKS.map(|(name, _)| name).join(", ");
        return Err(Refused::new(StatusCode::NOT_FOUND, format!("there is no such task; there are {names}")));
    };
    carry_out(service, name, task).await
}

/// Runs one task; a second one meanwhile is refused.
async fn carry_out(
    service: &'static Service,
    name: &str,
    task: MaintenanceTask,
) -> Result<Response, Refused> {
    let Ok(place) = service.maintenance.try_acquire() else {
        return Err(Refused::new(StatusCode::CONFLICT, "another task that was asked for is still running"));
    };
    let store = service.store;
    let begun = std::time::Instant::now();
    let report = on_a_thread(move || {
        // The place goes with the task, also where the client leaves before its end.
        let _place = place;
        store.maintain(task, TASK_TIME_MAX)
    })
    .await?;
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(json(&json!({"task": name, "report": report, "ms": ms})))
}
