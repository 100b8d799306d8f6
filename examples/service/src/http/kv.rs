//! Keys and values at `/kv/{key}`.
//!
//! A key is the path behind `/kv/`, percent-decoded to any bytes. The `ETag` of a value names its bytes, so conditional requests work
//! across restarts.

use core::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AsHeaderName, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use coldpress_std::ValueVersion;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

use super::answer::{Refused, on_a_thread};
use crate::metrics::Counters;
use crate::service::Service;
use crate::store::{Condition, Lifetime};

/// The header of a lifetime in whole seconds.
const TTL: &str = "ttl";

/// GET /kv/{key}
pub(super) async fn get(
    State(service): State<&'static Service>,
    request: Request,
) -> Result<Response, Refused> {
    let key = key(service, request.uri())?;
    let store = service.store;
    let found = on_a_thread(move || {
        let found = store.get_versioned(&key)?;
        let left = if found.is_some() { store.time_left(&key)?.flatten() } else { None };
        Ok(found.map(|(value, version)| (value, version, left)))
    });
    let counters = &service.counters;
    let Some((value, version, left)) = found.await? else {
        Counters::add(&counters.missed, 1);
        return Err(Refused::new(StatusCode::NOT_FOUND, "the key has no value"));
    };
    Counters::add(&counters.found, 1);
    let mut answer = Response::new(Body::empty());
    let tag = format!("\"{version}\"");
    if let Ok(tag) = tag.parse() {
        answer.headers_mut().insert(ETAG, tag);
    }
    if let Some(left) = left {
        answer.headers_mut().insert(TTL, left.as_secs().into());
    }
    let known = text(request.headers(), IF_NONE_MATCH)?;
    if known.is_some_and(|known| known.trim() == "*" || tags(known).any(|known| known == tag)) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(answer);
    }
    if let Some(expected) = text(request.headers(), IF_MATCH)?
        && expected.trim() != "*"
        && !tags(expected).any(|expected| expected == tag)
    {
        return Err(unmet());
    }
    answer.headers_mut().insert(CONTENT_TYPE, "application/octet-stream".parse().map_err(|_| unmet())?);
    *answer.body_mut() = Body::from(value);
    Ok(answer)
}

/// PUT /kv/{key}
pub(super) async fn put(
    State(service): State<&'static Service>,
    request: Request,
) -> Result<Response, Refused> {
    let key = key(service, request.uri())?;
    let condition = condition(request.headers())?;
    let lifetime = lifetime(request.headers())?;
    let value = body(service, request).await?;
    let (store, durability) = (service.store, service.config.durability);
    let is_set = on_a_thread(move || store.set(&key, &value, lifetime, condition, durability)).await?;
    match (is_set, condition) {
        (false, _) => Err(unmet()),
        (true, Condition::Absent) => Ok(StatusCode::CREATED.into_response()),
        (true, _) => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// DELETE /kv/{key}
pub(super) async fn delete(
    State(service): State<&'static Service>,
    request: Request,
) -> Result<Response, Refused> {
    let key = key(service, request.uri())?;
    let condition = condition(request.headers())?;
    let (store, durability) = (service.store, service.config.durability);
    let removed = on_a_thread(move || match condition {
        Condition::Version(version) => Ok((store.remove_version(&key, version, durability)?, true)),
        Condition::Absent => Ok((false, true)),
        Condition::None => Ok((store.remove(&key, durability)?, false)),
        Condition::Present => Ok((store.remove(&key, durability)?, true)),
    });
    match removed.await? {
        (true, _) => Ok(StatusCode::NO_CONTENT.into_response()),
        (false, true) => Err(unmet()),
        (false, false) => Err(Refused::new(StatusCode::NOT_FOUND, "the key has no value")),
    }
}

fn unmet() -> Refused {
    Refused::new(StatusCode::PRECONDITION_FAILED, "the key does not have the value that the request asks for")
}

/// The key: the rest of the path, as bytes.
fn key(service: &Service, uri: &Uri) -> Result<Vec<u8>, Refused> {
    let text = uri.path().strip_prefix("/kv/").unwrap_or_default();
    let key: Vec<u8> = percent_decode_str(text).collect();
    let max = service.config.limits.key_bytes;
    if key.len() > max {
        let text = format!("a key of {} bytes: the limit is {max}", key.len());
        return Err(Refused::new(StatusCode::URI_TOO_LONG, text));
    }
    Ok(key)
}

/// The value, within the limits on its length and on the wait for it.
async fn body(service: &Service, request: Request) -> Result<Vec<u8>, Refused> {
    let limits = &service.config.limits;
    let max = limits.value_bytes;
    let too_long = || {
        let text = format!("the value is too long: the limit is {max} bytes");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let declared = text(request.headers(), CONTENT_LENGTH)?.and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| length > max as u64) {
        return Err(too_long());
    }
    let read = Limited::new(request.into_body(), max).collect();
    match timeout(limits.idle, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => Err(Refused::new(StatusCode::BAD_REQUEST, error.to_string())),
        Err(_) => Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "the value did not come in time (--idle)")),
    }
}

fn text<K: AsHeaderName>(headers: &HeaderMap, name: K) -> Result<Option<&str>, Refused> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let refuse = |_| Refused::new(StatusCode::BAD_REQUEST, "a header that matters here is no ASCII text");
    value.to_str().map(Some).map_err(refuse)
}

/// The tags of a list; a weak one equals none.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// The condition of a request that changes something.
fn condition(headers: &HeaderMap) -> Result<Condition, Refused> {
    let refuse = |text| Err(Refused::new(StatusCode::BAD_REQUEST, text));
    match (text(headers, IF_MATCH)?, text(headers, IF_NONE_MATCH)?) {
        (None, None) => Ok(Condition::None),
        (Some(_), Some(_)) => refuse("a change takes If-Match or If-None-Match, not both"),
        (None, Some(list)) if list.trim() == "*" => Ok(Condition::Absent),
        (None, Some(_)) => refuse("If-None-Match of a change takes `*` alone"),
        (Some(list), None) if list.trim() == "*" => Ok(Condition::Present),
        (Some(tag), None) => {
            let version = tag.trim().strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            match version.and_then(|text| text.parse::<ValueVersion>().ok()) {
                Some(version) => Ok(Condition::Version(version)),
                None => refuse("If-Match of a change takes one ETag of this service, or `*`"),
            }
        }
    }
}

/// The lifetime that the header asks for; none where it is missing.
fn lifetime(headers: &HeaderMap) -> Result<Lifetime, Refused> {
    let Some(asked) = text(headers, TTL)? else { return Ok(Lifetime::Forever) };
    if asked.eq_ignore_ascii_case("keep") {
        return Ok(Lifetime::Keep);
    }
    match asked.trim().parse::<u64>() {
        Ok(seconds) if seconds > 0 => Ok(Lifetime::For(Duration::from_secs(seconds))),
        _ => Err(Refused::new(StatusCode::BAD_REQUEST, "TTL takes whole seconds from 1, or `keep`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn headers<const N: usize>(pairs: [(HeaderName, &'static str); N]) -> HeaderMap {
        pairs.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect()
    }

    #[test]
    fn conditions_of_a_change_are_read_from_two_headers() {
        let read = |headers: HeaderMap| condition(&headers).ok();
        let version = ValueVersion::from_bytes([7; 12]);
        assert_eq!(read(headers([])), Some(Condition::None));
        assert_eq!(read(headers([(IF_NONE_MATCH, "*")])), Some(Condition::Absent));
        assert_eq!(read(headers([(IF_MATCH, "*")])), Some(Condition::Present));
        assert_eq!(
            read(headers([(IF_MATCH, "\"070707070707070707070707\"")])),
            Some(Condition::Version(version))
        );
        for wrong in ["\"07\"", "070707070707070707070707", "W/\"070707070707070707070707\"", "\"a\", \"b\""]
        {
            assert_eq!(read(headers([(IF_MATCH, wrong)])), None, "{wrong}");
        }
        assert_eq!(read(headers([(IF_NONE_MATCH, "*"), (IF_MATCH, "*")])), None);
        assert_eq!(read(headers([(IF_NONE_MATCH, "\"a\"")])), None);
    }

    #[test]
    fn lifetime_is_whole_seconds_from_one() {
        let read = |value| lifetime(&headers([(HeaderName::from_static(TTL), value)])).ok();
        assert_eq!(read("60"), Some(Lifetime::For(Duration::from_secs(60))));
        assert_eq!(read("keep"), Some(Lifetime::Keep));
        for wrong in ["0", "-1", "1.5", "", "soon"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(lifetime(&HeaderMap::new()).ok(), Some(Lifetime::Forever));
    }
}
