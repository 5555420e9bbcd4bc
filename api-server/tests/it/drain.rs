//! How a server ends, with an answer under way.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use axum::routing::post;
use docbrain_core::models::Endpoint;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::harness::{TOKEN, World};

const EXPIRE: &str = "The EXPIRE command sets a timeout on a key, and the key is deleted after the timeout.";

/// A chat model that writes a word, and another one after each pause.
async fn slow_model(words: usize, pause: Duration) -> Endpoint {
    let completion = move || async move {
        let piece = |delta: Value, reason: Value| {
            format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}))
        };
        let words = stream::iter(0..words).then(move |number| async move {
            if number > 0 {
                tokio::time::sleep(pause).await;
            }
            piece(json!({"content": format!("word{number} ")}), Value::Null)
        });
        let end = piece(json!({}), json!("stop")) + "data: [DONE]\n\n";
        let body = words.chain(stream::iter([end])).map(Ok::<_, Infallible>);
        ([("content-type", "text/event-stream")], Body::from_stream(body)).into_response()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/chat/completions", post(completion));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    Endpoint::new(&base_url, "slow", None)
}

/// A served API with an answer that has begun to come.
struct Busy {
    address: SocketAddr,
    /// The same server, asked without a connection.
    inside: Router,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    answer: reqwest::Response,
}

impl Busy {
    async fn new(owner: PgPool, model: Endpoint, drain: Duration) -> Self {
        let world = World::with_chat(owner, Some(model)).await;
        world.index(world.acme, "docs", "guide/expire.md", &[EXPIRE]).await;
        let state = world.state.clone();
        let inside = docbrain_api::router(state.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { stopped.await.unwrap() };
        let served = tokio::spawn(docbrain_api::serve(listener, state, stopped, drain));
        let mut answer = reqwest::Client::new()
            .post(format!("http://{address}/conversation/chat"))
            .bearer_auth(TOKEN)
            .header("x-docbrain-tenant", "acme")
            .header("x-request-id", "slow-1")
            .header("accept", "text/event-stream")
            .json(&json!({"chatbot": "helper", "message": "Which command sets a timeout on a key?"}))
            .send()
            .await
            .unwrap();
        let first = answer.chunk().await.unwrap().unwrap();
        assert!(first.starts_with(b"event: delta"), "{first:?}");
        Self { address, inside, stop, served, answer }
    }
}

async fn readiness(inside: &Router) -> u16 {
    let request = Request::get("/readyz").body(Body::empty()).unwrap();
    inside.clone().oneshot(request).await.unwrap().status().as_u16()
}

async fn rest(mut answer: reqwest::Response) -> String {
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).unwrap()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn an_answer_under_way_is_completed_and_nothing_new_is_taken(owner: PgPool) {
    let model = slow_model(12, Duration::from_millis(150)).await;
    let busy = Busy::new(owner, model, Duration::from_secs(20)).await;
    assert_eq!(readiness(&busy.inside).await, 200);
    busy.stop.send(()).unwrap();

    let deadline = Instant::now() + Duration::from_secs(1);
    while let Ok(_taken) = TcpStream::connect(busy.address).await {
        assert!(Instant::now() < deadline, "connections are still taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = TcpStream::connect(busy.address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(readiness(&busy.inside).await, 503);
    assert!(!busy.served.is_finished());

    let told = rest(busy.answer).await;
    assert!(told.contains("word11") && told.contains("event: done") && !told.contains("event: error"), "{told}");
    busy.served.await.unwrap().unwrap();
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_stream_that_outlasts_the_patience_ends_with_a_problem(owner: PgPool) {
    let model = slow_model(3, Duration::from_mins(5)).await;
    let busy = Busy::new(owner, model, Duration::from_millis(300)).await;
    busy.stop.send(()).unwrap();
    let stopped = Instant::now();
    let told = rest(busy.answer).await;
    let (_, problem) = told.split_once("event: error\ndata: ").unwrap_or_else(|| panic!("{told}"));
    let problem: Value = serde_json::from_str(problem.trim()).unwrap();
    assert_eq!((&problem["code"], &problem["request_id"]), (&json!("not_ready"), &json!("slow-1")));
    busy.served.await.unwrap().unwrap();
    assert!((300..3_000).contains(&stopped.elapsed().as_millis()), "{:?}", stopped.elapsed());
}
