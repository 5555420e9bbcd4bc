//! Event streams (`text/event-stream`).

use std::convert::Infallible;
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde::Serialize;
use utoipa::ToSchema;

use crate::middleware::RequestId;
use crate::problem::Problem;

/// An event as the OpenAPI document describes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what axum writes")]
pub(crate) struct EventBody {
    /// What it is; left out where a protocol has one kind of event only.
    #[schema(example = "done", nullable = false)]
    event: Option<String>,
    /// What it tells, as JSON.
    data: String,
}

/// An event with a JSON body.
pub(crate) fn event(name: &str, body: &impl Serialize) -> Event {
    Event::default().event(name).json_data(body).expect("bodies are JSON")
}

/// A failure after the stream has begun: the status is sent already, so it is an event, and logged here.
pub(crate) fn failure(problem: &Problem, request_id: &RequestId) -> Event {
    crate::middleware::log_causes(problem, request_id);
    event("error", &problem.body(request_id))
}

/// Sends events as they come. Proxies are asked not to collect them.
pub(crate) fn response(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
    let events =
        Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)));
    ([(CACHE_CONTROL, "no-store"), (UNBUFFERED, "no")], events).into_response()
}
