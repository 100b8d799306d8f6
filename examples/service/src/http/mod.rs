//! The HTTP port: connections, routes, and the checks before a request is answered.

mod admin;
mod answer;
mod kv;

use core::net::SocketAddr;
use std::pin::pin;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;

use self::answer::Refused;
use crate::auth::{is_own_host, is_own_origin};
use crate::limits::{HEADER_BYTES_MAX, HEADER_TIME_MAX};
use crate::metrics::{Counters, Kind};
use crate::run::accept;
use crate::service::Service;

/// The answer to a connection beyond the limit, written before anything is read.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 21\r\n\
    connection: close\r\nretry-after: 1\r\n\r\ntoo many connections\n";

/// Scripts, styles and requests of the page come from here, and no other page may frame it.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Takes connections until the service closes.
pub(crate) async fn listen(service: &'static Service, listener: TcpListener) {
    let bound = listener.local_addr().unwrap_or(service.config.http);
    let routes = routes(service, bound);
    while let Some((stream, peer)) = accept(service, &listener).await {
        match service.http_places.try_acquire() {
            Ok(place) => {
                Counters::add(&service.counters.http_connections, 1);
                let routes = routes.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(service, stream, routes).await {
                        tracing::debug!(%peer, %error, "a connection of HTTP broke off");
                    }
                    drop(place);
                });
            }
            Err(_) => {
                Counters::add(&service.counters.http_refused, 1);
                // The socket of a new connection has space for this; if not, the client sees it closed.
                let _ = stream.try_write(TOO_MANY);
            }
        }
    }
}

/// Serves one connection until it ends, is idle for too long, or the service closes.
async fn serve(service: &'static Service, stream: TcpStream, routes: Router) -> Result<(), hyper::Error> {
    let idle = service.config.limits.idle;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(idle));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX.min(idle))
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(routes));
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = service.closing() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

fn routes(service: &'static Service, bound: SocketAddr) -> Router {
    let guarded = Router::new()
        .route("/kv/{*key}", get(kv::get).put(kv::put).delete(kv::delete))
        .route("/stats", get(admin::stats))
        .route("/history", get(admin::history))
        .route("/metrics", get(admin::metrics))
        .route("/compact", post(admin::compact))
        .route("/maintenance/{task}", post(admin::maintain))
        .route_layer(from_fn_with_state(service, check_token));
    Router::new()
        .route("/", get(admin::page))
        .route("/page.css", get(admin::style))
        .route("/page.js", get(admin::script))
        .route("/draw.js", get(admin::drawing))
        .route("/healthz", get(admin::health))
        .merge(guarded)
        .fallback(|| async { Refused::new(StatusCode::NOT_FOUND, "there is nothing at this path") })
        .layer(from_fn_with_state((service, bound), check_source))
        .with_state(service)
}

/// Asks for the token, where one is configured.
async fn check_token(State(service): State<&'static Service>, request: Request, next: Next) -> Response {
    if let Some(token) = &service.config.token {
        let shown = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        if !shown.is_some_and(|shown| token.is_bearer(shown)) {
            Counters::add(&service.counters.denied, 1);
            let refused = Refused::new(StatusCode::UNAUTHORIZED, "this needs `Authorization: Bearer TOKEN`");
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"coldpress\"")];
            return (challenge, refused).into_response();
        }
    }
    next.run(request).await
}

/// Refuses requests that a page of another origin has a browser send, and counts.
async fn check_source(
    State((service, bound)): State<(&'static Service, SocketAddr)>,
    request: Request,
    next: Next,
) -> Response {
    let begun = std::time::Instant::now();
    let kind = match *request.method() {
        Method::GET | Method::HEAD if request.uri().path().starts_with("/kv/") => Kind::Get,
        Method::PUT => Kind::Set,
        Method::DELETE => Kind::Remove,
        _ => Kind::Other,
    };
    let mut response = match source(service, bound, &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            Counters::add(&service.counters.denied, 1);
            refused.into_response()
        }
    };
    protect(response.headers_mut());
    Counters::add(&service.counters.http_requests, 1);
    if response.status().is_server_error() {
        Counters::add(&service.counters.http_errors, 1);
    }
    service.latency(kind).record(begun.elapsed());
    response
}

fn source(service: &Service, bound: SocketAddr, request: &Request) -> Result<(), Refused> {
    let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    // With a token a foreign name does no harm: the page behind it does not have the token.
    if service.config.token.is_none() && !is_own_host(host, bound, &service.config.hosts) {
        let text = "the Host header names another machine: allow the name with --allow-host";
        return Err(Refused::new(StatusCode::FORBIDDEN, text));
    }
    let is_foreign = text(header::ORIGIN).is_some_and(|origin| !is_own_origin(origin, host));
    let is_cross_site = request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && (is_foreign || is_cross_site) {
        return Err(Refused::new(StatusCode::FORBIDDEN, "a page of another origin may change nothing here"));
    }
    Ok(())
}

fn protect(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
