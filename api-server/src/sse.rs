//! Event streams (`text/event-stream`).

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use docbrain_core::telemetry::{Counted, Scope, metrics};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use utoipa::ToSchema;

use crate::draining::Draining;
use crate::middleware::RequestId;
use crate::problem::{Problem, Shape};

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

/// Sees a streamed body through, which goes on after its handler: within the request's scope, and, where it is a stream
/// of events, counted, and with a last `error` event when the server can wait for it no longer.
pub(crate) fn attend(
    response: Response,
    shape: Shape,
    scope: Scope,
    draining: Draining,
    request_id: RequestId,
) -> Response {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    let tells_events = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/event-stream");
    let tells_events = response.headers().get(CONTENT_TYPE).is_some_and(tells_events);
    response.map(|body| {
        let mut pieces = body.into_data_stream();
        let pieces = stream::poll_fn(move |context| scope.enter(|| pieces.poll_next_unpin(context)));
        if !tells_events {
            return Body::from_stream(pieces);
        }
        let counted = Counted::in_gauge(&metrics().streams_open);
        Body::from_stream(stream::unfold(Some((pieces, counted)), move |state| {
            let (draining, request_id) = (draining.clone(), request_id.clone());
            async move {
                let (mut pieces, counted) = state?;
                tokio::select! {
                    biased;
                    piece = pieces.next() => Some((piece?, Some((pieces, counted)))),
                    () = draining.over() => Some((Ok(broken_off(shape, &request_id)), None)),
                }
            }
        }))
    })
}

fn broken_off(shape: Shape, request_id: &RequestId) -> Bytes {
    let name: &[u8] = match shape {
        Shape::Problem => b"event: error\n",
        Shape::OpenAi => b"",
    };
    [name, b"data: ", &shape.body(&Problem::stopping(), request_id), b"\n\n"].concat().into()
}
