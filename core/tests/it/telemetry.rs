//! What reaches a collector of spans and a receiver of error reports, and what never does.

use std::panic::{AssertUnwindSafe, catch_unwind};

use docbrain_core::telemetry::{self, Scope, Settings};
use serde_json::Value;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// Stands for what visitors write and for keys.
const CANARY: &str = "the-canary";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The events in the envelopes of Sentry's protocol: a head, then a head and a body for each item, a line each.
fn events(requests: &[Request]) -> Vec<Value> {
    let envelopes = requests.iter().filter(|request| request.url.path() == "/api/7/envelope/");
    let lines = envelopes.flat_map(|envelope| {
        let lines: Vec<Value> =
            envelope.body.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        lines
    });
    lines.filter(|line| line.get("event_id").is_some() && line.get("contexts").is_some()).collect()
}

/// What a request does that goes wrong in two ways.
async fn failing() {
    tracing::info!(target: "docbrain_test", route = "/conversation/chat", path = CANARY, "request began");
    tokio::task::yield_now().await;
    let error = std::io::Error::other("the connection was refused");
    tracing::error!(target: "docbrain_test", code = "internal", note = CANARY, error = format!("{error}"), "request failed");
    let panicked = catch_unwind(AssertUnwindSafe(|| panic!("cannot slice {CANARY}")));
    assert!(panicked.is_err());
    tracing::error!(target: telemetry::PANIC, panic = CANARY, "a handler panicked");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_and_reports_are_sent_without_what_they_must_not_hold() {
    let receiver = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&receiver).await;
    let address = receiver.address();
    let settings = Settings {
        sentry: Some(format!("http://{CANARY}@{address}/7").parse().unwrap()),
        traces: Some(receiver.uri().parse().unwrap()),
        ..Settings::default()
    };
    assert!(!format!("{settings:?}").contains(CANARY));

    let telemetry = telemetry::start("docbrain-test", &settings);
    let span = tracing::info_span!(target: "docbrain_test", "request", request_id = "req-1");
    telemetry::continue_trace(&span, &format!("00-{TRACE}-b7ad6b7169203331-01"));
    let scope = Scope::of_request(span, Some("req-1"));
    // In another task, as a stream outlives its handler.
    tokio::spawn(scope.run(failing())).await.unwrap();
    tracing::error!(target: "docbrain_test", "of no request");
    telemetry.stop().await;

    let requests = receiver.received_requests().await.unwrap();
    let spans: Vec<&Request> = requests.iter().filter(|request| request.url.path() == "/v1/traces").collect();
    let [spans] = spans.as_slice() else { panic!("{} exports", spans.len()) };
    assert_eq!(spans.headers["content-type"], "application/x-protobuf");
    let has = |text: &[u8]| spans.body.windows(text.len()).any(|window| window == text);
    assert!(has(b"docbrain-test") && has(b"request_id") && has(b"req-1"));
    assert!(has(&hex::decode(TRACE).unwrap()), "the span is not part of the trace that the request named");

    let events = events(&requests);
    let [failed, panicked, other] = events.as_slice() else { panic!("{events:#?}") };
    assert_eq!(failed["message"], "request failed");
    assert_eq!(failed["tags"]["request_id"], "req-1");
    assert_eq!(failed["release"], concat!("docbrain@", env!("CARGO_PKG_VERSION")));
    let fields = &failed["contexts"]["Rust Tracing Fields"];
    assert_eq!((&fields["code"], &fields["error"]), (&"internal".into(), &"the connection was refused".into()));
    let breadcrumb = &failed["breadcrumbs"]["values"][0];
    assert_eq!(
        (&breadcrumb["message"], &breadcrumb["data"]["route"]),
        (&"request began".into(), &"/conversation/chat".into())
    );
    assert_eq!(panicked["tags"]["request_id"], "req-1");
    let exception = &panicked["exception"]["values"][0];
    assert!(exception["value"].as_str().unwrap().contains("telemetry.rs:"), "{exception}");
    assert!(exception["stacktrace"]["frames"].as_array().is_some_and(|frames| !frames.is_empty()));
    assert!(other["tags"].get("request_id").is_none() && other.get("breadcrumbs").is_none(), "{other}");
    for event in &events {
        assert!(!event.to_string().contains(CANARY), "{event:#}");
        assert!(event.get("request").is_none() && event.get("user").is_none());
    }
}
