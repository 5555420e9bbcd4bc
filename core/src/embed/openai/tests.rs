use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request as Incoming, Respond, ResponseTemplate, matchers::method};

use super::*;
use crate::openai::{client_with, tests::IMPATIENT};

/// Answers each text with `[its length, 1]`, then lets `shape` change the body.
struct Server<F>(F);

impl<F: Fn(Value) -> Value + Send + Sync> Respond for Server<F> {
    fn respond(&self, request: &Incoming) -> ResponseTemplate {
        let body: Value = request.body_json().unwrap();
        let texts = body["input"].as_array().unwrap();
        let data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| json!({ "index": index, "embedding": [text.as_str().unwrap().len(), 1] }))
            .collect();
        ResponseTemplate::new(200).set_body_json((self.0)(json!({ "data": data })))
    }
}

async fn serve(shape: impl Fn(Value) -> Value + Send + Sync + 'static) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(Server(shape)).mount(&server).await;
    server
}

async fn connect(server: &MockServer, dimensions: Option<usize>) -> Result<OpenAiEmbedder, EmbedError> {
    OpenAiEmbedder::over(
        client_with(&Endpoint::new(server.uri(), "some-model", None), IMPATIENT),
        "some-model",
        dimensions,
    )
    .await
}

fn texts(count: usize) -> Vec<String> {
    (1..=count).map(|length| "x".repeat(length)).collect()
}

async fn bodies(server: &MockServer) -> Vec<Value> {
    let requests = server.received_requests().await.unwrap();
    requests.iter().map(|request| request.body_json().unwrap()).collect()
}

/// The length of the text a vector stands for.
fn length_behind(vector: &[f32]) -> usize {
    (0..10_000_u16).find(|&length| (vector[0] / vector[1] - f32::from(length)).abs() < 0.01).unwrap().into()
}

#[tokio::test]
async fn asks_for_the_dimensions_once() {
    let server = serve(|body| body).await;
    let embedder = connect(&server, None).await.unwrap();
    let expected =
        EmbeddingModel { name: "some-model".into(), precision: "remote".into(), dimensions: 2, max_tokens: MAX_TOKENS };
    assert_eq!(embedder.model(), &expected);
    embedder.embed(&texts(1)).await.unwrap();
    let sent = bodies(&server).await;
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1], json!({ "model": "some-model", "input": ["x"], "encoding_format": "float" }));
}

#[tokio::test]
async fn given_dimensions_are_sent_and_not_probed() {
    let server = serve(|body| body).await;
    let embedder = connect(&server, Some(2)).await.unwrap();
    assert!(bodies(&server).await.is_empty());
    embedder.embed(&texts(1)).await.unwrap();
    assert_eq!(bodies(&server).await[0]["dimensions"], 2);
}

#[tokio::test]
async fn many_texts_go_in_batches_and_come_back_in_order() {
    let server = serve(|body| body).await;
    let embedder = connect(&server, Some(2)).await.unwrap();
    let vectors = embedder.embed(&texts(300)).await.unwrap();
    assert_eq!(bodies(&server).await.len(), 3);
    for (i, vector) in vectors.iter().enumerate() {
        assert_eq!(length_behind(vector), i + 1);
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_batch_is_bounded_in_bytes_and_takes_a_giant_alone() {
    let giant = "x".repeat(BATCH_BYTES + 1);
    let texts = ["a".to_owned(), giant.clone(), "b".to_owned(), "c".to_owned()];
    let sizes: Vec<usize> = batches(&texts).iter().map(|batch| batch.len()).collect();
    assert_eq!(sizes, [1, 1, 2]);
    assert!(batches(&[]).is_empty());
}

#[tokio::test]
async fn the_index_decides_over_the_order() {
    let server = serve(|mut body| {
        body["data"].as_array_mut().unwrap().reverse();
        body
    })
    .await;
    let vectors = connect(&server, Some(2)).await.unwrap().embed(&texts(3)).await.unwrap();
    let lengths: Vec<usize> = vectors.iter().map(|vector| length_behind(vector)).collect();
    assert_eq!(lengths, [1, 2, 3]);
}

#[tokio::test]
async fn items_without_an_index_are_in_order() {
    let server = serve(|mut body| {
        for item in body["data"].as_array_mut().unwrap() {
            item.as_object_mut().unwrap().remove("index");
        }
        body
    })
    .await;
    let vectors = connect(&server, Some(2)).await.unwrap().embed(&texts(3)).await.unwrap();
    assert_eq!(length_behind(&vectors[2]), 3);
}

#[tokio::test]
async fn a_missing_extra_or_doubled_vector_is_an_error() {
    let missing = serve(|mut body| {
        body["data"].as_array_mut().unwrap().pop();
        body
    })
    .await;
    let extra = serve(|mut body| {
        body["data"].as_array_mut().unwrap().push(json!({ "embedding": [1, 1] }));
        body
    })
    .await;
    let doubled = serve(|mut body| {
        body["data"][1]["index"] = json!(0);
        body
    })
    .await;
    for (server, count) in [(missing, 2), (extra, 4), (doubled, 2)] {
        let error = connect(&server, Some(2)).await.unwrap().embed(&texts(3)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("the model server returned {count} vectors for 3 texts"));
    }
}

#[tokio::test]
async fn another_length_is_an_error() {
    let server = serve(|body| body).await;
    let error = connect(&server, Some(3)).await.unwrap().embed(&texts(1)).await.unwrap_err();
    assert!(matches!(error, EmbedError::VectorLength { expected: 3, got: 2 }));
}

#[tokio::test]
async fn a_vector_of_zeros_is_an_error() {
    let server = serve(|_| json!({ "data": [{ "embedding": [0, 0] }] })).await;
    let error = connect(&server, Some(2)).await.unwrap().embed(&texts(1)).await.unwrap_err();
    assert!(matches!(error, EmbedError::NoDirection));
}

#[tokio::test]
async fn an_empty_text_does_not_fail_its_batch() {
    let server = serve(|body| body).await;
    let embedder = connect(&server, Some(2)).await.unwrap();
    let vectors = embedder.embed(&[String::new(), "xxx".to_owned()]).await.unwrap();
    assert_eq!(length_behind(&vectors[1]), 3);
    assert_eq!(bodies(&server).await[0]["input"][0], " ");
    assert!(embedder.embed(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_is_the_source_of_the_error() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(401)).mount(&server).await;
    let error = connect(&server, None).await.err().unwrap();
    assert!(matches!(error, EmbedError::Server { source: ModelServerError::Unauthorized { status: 401 } }));
}
