//! Answers that refuse, and calls of the store from a request.

use std::borrow::Cow;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::store::{Remedy, StoreError};

/// Why a request was refused: a status, and a line of text.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    text: Cow<'static, str>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into() }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let status = match error.remedy() {
            Remedy::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Remedy::Lifetime => StatusCode::BAD_REQUEST,
            Remedy::Space => StatusCode::INSUFFICIENT_STORAGE,
            Remedy::Later => StatusCode::SERVICE_UNAVAILABLE,
            Remedy::Operator => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = format!("{}\n", self.text);
        let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            return (self.status, plain, [(header::RETRY_AFTER, "1")], body).into_response();
        }
        (self.status, plain, body).into_response()
    }
}

/// Runs a call of the store that may wait on a thread for blocking work.
pub(super) async fn on_a_thread<R: Send + 'static>(
    call: impl FnOnce() -> Result<R, StoreError> + Send + 'static,
) -> Result<R, Refused> {
    match tokio::task::spawn_blocking(call).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}
