use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use bytes::Bytes;
use tokio::net::TcpListener;

use super::summary::Latencies;
use super::{Bodies, Judgement, Summary, Target, Until, run};

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/ask")
}

fn judge(body: &[u8]) -> Judgement {
    match body {
        b"wrong" => Judgement::Wrong,
        b"slight" => Judgement::Slight,
        _ => Judgement::Good,
    }
}

async fn load(url: &str, clients: usize, until: Until) -> Summary {
    let bodies = Bodies::new(["one", "two", "three", "slight"]).unwrap();
    let target = Target::post(url, &bodies, judge).unwrap().header("authorization", "Bearer x").unwrap();
    run(&Arc::new(target), clients, until).await.unwrap()
}

#[tokio::test]
async fn a_count_is_sent_exactly_with_bodies_in_turn() {
    let seen = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&seen);
    let echo = post(async move |headers: axum::http::HeaderMap, body: Bytes| {
        assert_eq!(headers["authorization"], "Bearer x");
        counter.fetch_add(1, Ordering::Relaxed);
        body
    });
    let summary = load(&serve(Router::new().route("/ask", echo)).await, 3, Until::Count(40)).await;
    assert_eq!((summary.replies, summary.errors, seen.load(Ordering::Relaxed)), (40, 0, 40));
    assert!((summary.slight - 0.25).abs() < 1e-9, "{}", summary.slight);
}

#[tokio::test]
async fn rate_and_latency_follow_the_server() {
    let slow = post(async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        "done"
    });
    let summary =
        load(&serve(Router::new().route("/ask", slow)).await, 4, Until::Elapsed(Duration::from_millis(600))).await;
    // Four clients, one reply each every 20 ms: at most 200 per second.
    assert!((20.0..=200.0).contains(&summary.rate), "{summary}");
    assert!((20.0..200.0).contains(&summary.latency.p50), "{summary}");
    let (low, high) = summary.rate_range;
    assert!(low <= summary.rate * 1.05 && summary.rate <= high * 1.05, "{summary}");
}

#[tokio::test]
async fn failures_are_counted_and_the_first_is_told() {
    let number = Arc::new(AtomicU32::new(0));
    let broken = post(async move || match number.fetch_add(1, Ordering::Relaxed) % 4 {
        0 => (StatusCode::SERVICE_UNAVAILABLE, "no room").into_response(),
        1 => "wrong".into_response(),
        _ => "fine".into_response(),
    });
    let summary = load(&serve(Router::new().route("/ask", broken)).await, 1, Until::Count(20)).await;
    assert_eq!((summary.replies, summary.errors), (10, 10));
    let first = summary.first_error.unwrap();
    assert!(first.contains("503") && first.contains("no room"), "{first}");
}

#[test]
fn other_machines_are_refused() {
    let refused = |url| Target::post(url, &Bodies::new([""]).unwrap(), judge).err().map(|error| error.to_string());
    assert!(refused("http://example.org/").unwrap().contains("loopback"));
    assert!(refused("http://10.0.0.1:80/").unwrap().contains("loopback"));
    assert_eq!(refused("http://127.0.0.1:1/"), None);
    assert!(Bodies::new([""; 0]).is_err());
}

#[test]
fn percentiles_are_nearest_ranks() {
    let of = |micros: &[u64]| Latencies::of(micros.to_vec());
    assert_eq!(of(&[]), Latencies::default());
    assert_eq!(of(&[2000]), Latencies { p50: 2.0, p95: 2.0, p99: 2.0 });
    let hundred: Vec<u64> = (1..=100).rev().map(|n| n * 1000).collect();
    assert_eq!(of(&hundred), Latencies { p50: 50.0, p95: 95.0, p99: 99.0 });
    assert_eq!(of(&[1000, 9000]), Latencies { p50: 1.0, p95: 9.0, p99: 9.0 });
}
