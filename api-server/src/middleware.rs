//! Around every request: an id, a span, one line of log, metrics, and problems written out.

use std::any::Any;
use std::fmt;
use std::panic::resume_unwind;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state, map_request};
use axum::response::{IntoResponse, Response};
use docbrain_core::ids::{ConversationId, TenantId};
use docbrain_core::telemetry::{self, Counted, PANIC, Scope, metrics};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Span;
use tracing::field::{Empty, display};
use uuid::Uuid;

use crate::draining::Draining;
use crate::pace::keep_pace;
use crate::problem::{Problem, Shape};
use crate::sse;

/// Largest body of a request, in bytes, where a route does not say otherwise. The longest spec fits, whatever its language and
/// however a client escapes it: 16,000 characters of a prompt at 12 bytes each.
const MAX_BODY_BYTES: usize = 256 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names the trace that a request belongs to (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Puts all middleware around the routes.
pub(crate) fn around<S: Clone + Send + Sync + 'static>(routes: Router<S>, draining: Draining) -> Router<S> {
    routes
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(map_request(keep_pace))
        .layer(from_fn_with_state(draining, observe))
}

/// What a request is called in answers and in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7().to_string().parse().expect("a UUID is header text"))
    }

    /// The caller's own id, if it is a short word, or a new one.
    fn of(headers: &HeaderMap) -> Self {
        let sane = |value: &&HeaderValue| {
            (1..=64).contains(&value.len())
                && value.as_bytes().iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        headers.get(REQUEST_ID).filter(sane).cloned().map_or_else(Self::new, Self)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().expect("it is checked to be ASCII"))
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get().cloned().unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

async fn observe(State(draining): State<Draining>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = RequestId::of(request.headers());
    request.extensions_mut().insert(request_id.clone());
    let method = name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let span = tracing::info_span!("request", %request_id, method, route, tenant = Empty, conversation = Empty);
    if let Some(parent) = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok()) {
        telemetry::continue_trace(&span, parent);
    }
    let scope = Scope::of_request(span, Some(&request_id.to_string()));

    let shape = Shape::of(request.uri().path());
    let answered = async {
        let _in_flight = Counted::in_gauge(&metrics().requests_in_flight);
        let response = tokio::select! {
            response = next.run(request) => response,
            () = draining.over() => Problem::stopping().into_response(),
        };
        let mut response = written_out(response, shape, &request_id);
        response.headers_mut().insert(REQUEST_ID, request_id.0.clone());
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let (status, took) = (response.status().as_u16(), started.elapsed());
        metrics().requests_total.with_label_values(&[route, method, response.status().as_str()]).inc();
        metrics().request_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
        tracing::info!(status, duration_ms = took.as_secs_f64() * 1e3, "request");
        response
    };
    let response = scope.clone().run(answered).await;
    sse::attend(response, shape, scope, draining, request_id)
}

/// Carries a request through to its end, whoever stops waiting for its answer: a change of several steps is not left half done.
pub(crate) async fn carry_through(request: Request, next: Next) -> Response {
    let task = tokio::spawn(Scope::current().run(next.run(request)));
    task.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Notes in the log which tenant the request is for.
pub(crate) fn note_tenant(tenant: TenantId) {
    Span::current().record("tenant", display(tenant));
}

/// Notes in the log which conversation the request belongs to.
pub(crate) fn note_conversation(conversation: ConversationId) {
    Span::current().record("conversation", display(conversation));
}

/// The method as a label: callers may invent methods.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Marks a refusal whose body its handler has written, in the words of another protocol.
#[derive(Clone, Copy)]
pub(crate) struct WrittenOut;

/// Gives every refusal a problem as its body, also the ones that axum makes itself.
fn written_out(mut response: Response, shape: Shape, request_id: &RequestId) -> Response {
    let refused = response.status().is_client_error() || response.status().is_server_error();
    if !refused || response.extensions().get::<WrittenOut>().is_some() {
        return response;
    }
    let problem =
        response.extensions_mut().remove::<Problem>().unwrap_or_else(|| Problem::of_status(response.status()));
    log_causes(&problem);
    *response.status_mut() = problem.kind.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(shape.media_type()));
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from(shape.body(&problem, request_id));
    response
}

/// Logs the errors behind a problem, and counts those of models; called once for each.
pub(crate) fn log_causes(problem: &Problem) {
    if problem.kind.is_of_a_model() {
        metrics().model_errors_total.with_label_values(&[problem.kind.code()]).inc();
    }
    if let Some(causes) = problem.causes() {
        tracing::error!(code = problem.kind.code(), error = causes, "request failed");
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let message = payload
        .downcast::<String>()
        .map(|text| *text)
        .or_else(|payload| payload.downcast::<&str>().map(|text| (*text).to_owned()));
    tracing::error!(target: PANIC, panic = message.unwrap_or_default(), "a handler panicked");
    Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::routing::get;
    use tower::ServiceExt;
    use tower_http::timeout::TimeoutLayer;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_that_says_nothing_of_it() {
        async fn boom() -> &'static str {
            panic!("secret")
        }
        let routes = around(Router::new().route("/", get(boom)), Draining::default());
        let response = routes
            .oneshot(Request::get("/").header("x-request-id", "abc-1").body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["x-request-id"], "abc-1");
        let body = String::from_utf8(to_bytes(response.into_body(), 10_000).await.unwrap().into()).unwrap();
        assert!(
            body.contains(r#""code":"internal""#)
                && body.contains(r#""request_id":"abc-1""#)
                && !body.contains("secret"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_a_problem() {
        let slow = get(|| tokio::time::sleep(std::time::Duration::from_mins(1)));
        let limit = std::time::Duration::from_millis(20);
        let limited = slow.layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limit));
        let routes = around(Router::new().route("/", limited), Draining::default());
        let response = routes.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 503);
        let body = String::from_utf8(to_bytes(response.into_body(), 10_000).await.unwrap().into()).unwrap();
        assert!(body.contains(r#""code":"timed_out""#), "{body}");
    }

    #[test]
    fn only_short_words_are_taken_as_request_ids() {
        let given = |text: &str| {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap())]);
            RequestId::of(&headers).to_string() == text
        };
        assert!(given("req_1.a-B"));
        for text in ["", "two words", "ü", "<b>", &"x".repeat(65)] {
            assert!(!given(text), "{text:?}");
        }
    }
}
