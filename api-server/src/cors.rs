//! What browsers let pages of other origins do (the Fetch standard's CORS protocol).
//!
//! Only the routes of the widget are for other origins. A preflight request names no chatbot, so it is answered for every
//! origin that some chatbot allows; the answer itself is readable only for an origin that the asked chatbot allows.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, ORIGIN, VARY,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use docbrain_core::store::Pool;
use docbrain_core::store::chatbots;
use moka::future::Cache;

/// How long an origin may be remembered.
const REMEMBERED: Duration = Duration::from_secs(2);

/// Origins that some chatbot allows; cheap to clone.
#[derive(Clone)]
pub(crate) struct Origins {
    pool: Pool,
    known: Cache<String, bool>,
}

impl Origins {
    pub(crate) fn new(pool: Pool) -> Self {
        Self { pool, known: Cache::builder().max_capacity(10_000).time_to_live(REMEMBERED).build() }
    }

    async fn allow(&self, origin: &str) -> bool {
        let load = async { chatbots::knows_origin(&self.pool, origin).await };
        match self.known.try_get_with(origin.to_owned(), load).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(error = &*error as &dyn std::error::Error, "cannot look an origin up");
                false
            }
        }
    }
}

/// Lets pages of an origin read an answer.
pub(crate) fn allow(headers: &mut HeaderMap, origin: &str) {
    let Ok(origin) = origin.parse() else {
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after, x-request-id"));
    headers.append(VARY, HeaderValue::from_static("origin"));
}

/// Answers preflight requests.
pub(crate) async fn preflight(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if request.method() != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return next.run(request).await;
    }
    let Some(origin) = headers.get(ORIGIN).and_then(|value| value.to_str().ok()).map(str::to_owned) else {
        return next.run(request).await;
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    if is_for_visitors(request.uri().path()) && origins.allow(&origin).await {
        let headers = response.headers_mut();
        allow(headers, &origin);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, PUT, DELETE"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    response
}

/// What a widget calls.
fn is_for_visitors(path: &str) -> bool {
    path == "/widget/session"
        || path == "/conversation/chat"
        || (path.starts_with("/messages/") && path.ends_with("/feedback"))
}
