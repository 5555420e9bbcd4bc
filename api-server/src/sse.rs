//! Event streams (`text/event-stream`).

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use docbrain_core::telemetry::{Counted, Scope, metrics};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use utoipa::ToSchema;

use crate::draining::Draining;
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
    crate::middleware::log_causes(problem);
    event("error", &problem.body(request_id))
}

/// Sends events as they come. Proxies are asked not to collect them.
pub(crate) fn response(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
    let events =
        Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)));
    ([(CACHE_CONTROL, "no-store"), (UNBUFFERED, "no")], events).into_response()
}

/// Sees an event stream through, which goes on after its handler: within the request's scope, counted, and with a last
/// `error` event when the server can wait for it no longer. Other responses stay as they are.
pub(crate) fn attend(response: Response, scope: Scope, draining: Draining, request_id: RequestId) -> Response {
    let is_stream = |value: &axum::http::HeaderValue| value.as_bytes().starts_with(b"text/event-stream");
    if !response.headers().get(CONTENT_TYPE).is_some_and(is_stream) {
        return response;
    }
    let counted = Counted::in_gauge(&metrics().streams_open);
    response.map(|body| {
        let mut events = body.into_data_stream();
        let events = stream::poll_fn(move |context| scope.enter(|| events.poll_next_unpin(context)));
        Body::from_stream(stream::unfold(Some((events, counted)), move |state| {
            let (draining, request_id) = (draining.clone(), request_id.clone());
            async move {
                let (mut events, counted) = state?;
                tokio::select! {
                    biased;
                    piece = events.next() => Some((piece?, Some((events, counted)))),
                    () = draining.over() => Some((Ok(broken_off(&request_id)), None)),
                }
            }
        }))
    })
}

fn broken_off(request_id: &RequestId) -> Bytes {
    let problem = serde_json::to_string(&Problem::stopping().body(request_id)).expect("a problem is JSON");
    format!("event: error\ndata: {problem}\n\n").into()
}
