use std::{error::Error as _, time::Duration};

use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;
use crate::fetch::AddressPolicy;

const KEY: &str = "sk-very-secret";

/// Retries without noticeable pauses.
pub(crate) const IMPATIENT: RetryPolicy =
    RetryPolicy { attempts: 3, first_pause: Duration::from_millis(1), longest_pause: Duration::from_secs(2) };

async fn call(server: &MockServer) -> Result<Value, ModelServerError> {
    let key = SecretString::from(KEY);
    let client = client_with(&Endpoint::new(format!("{}/v1/", server.uri()), "m", Some(key)), IMPATIENT);
    Ok(client.embeddings().create_byot(json!({})).await?)
}

async fn answering(first: &[ResponseTemplate], then: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    for response in first {
        Mock::given(any()).respond_with(response.clone()).up_to_n_times(1).mount(&server).await;
    }
    Mock::given(any()).respond_with(then).mount(&server).await;
    server
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

fn status(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status)
}

fn ok() -> ResponseTemplate {
    status(200).set_body_json(json!({ "fine": true }))
}

#[tokio::test]
async fn sends_the_key_and_nothing_of_the_environment() {
    let server = answering(&[], ok()).await;
    call(&server).await.unwrap();
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.url.path(), "/v1/embeddings");
    assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
    assert!(!request.headers.contains_key("openai-organization"));
}

#[tokio::test]
async fn tries_again_when_the_server_is_busy_or_broken() {
    let server = answering(&[status(503), status(429)], ok()).await;
    assert_eq!(call(&server).await.unwrap(), json!({ "fine": true }));
    assert_eq!(requests(&server).await, 3);
}

#[tokio::test]
async fn gives_up_after_the_last_attempt() {
    let server = answering(&[], status(500).set_body_string("<html>oops</html>")).await;
    let error = call(&server).await.unwrap_err();
    assert_eq!(error.to_string(), "the model server answered with status 500: no reason given");
    assert_eq!(requests(&server).await, 3);
}

#[tokio::test]
async fn waits_as_long_as_the_server_asks() {
    let server = answering(&[status(429).insert_header("retry-after", "1")], ok()).await;
    let begin = std::time::Instant::now();
    call(&server).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn does_not_wait_longer_than_anyone_would() {
    let server = answering(&[], status(429).insert_header("retry-after", "3600")).await;
    let error = call(&server).await.unwrap_err();
    let asked = Duration::from_hours(1);
    assert!(matches!(error, ModelServerError::RateLimited { retry_after: Some(pause) } if pause == asked));
    assert_eq!(requests(&server).await, 1);
}

#[tokio::test]
async fn an_exhausted_budget_is_final() {
    let body = json!({ "error": { "message": "You exceeded your quota", "type": "insufficient_quota" } });
    let server = answering(&[], status(429).set_body_json(body)).await;
    let error = call(&server).await.unwrap_err();
    assert_eq!(error.to_string(), "the model server answered with status 429: You exceeded your quota");
    assert_eq!(requests(&server).await, 1);
}

#[tokio::test]
async fn a_refused_key_is_final_and_never_shown() {
    let body = json!({ "error": { "message": format!("Incorrect API key provided: {KEY}") } });
    let server = answering(&[], status(401).set_body_json(body.clone())).await;
    let error = call(&server).await.unwrap_err();
    assert!(matches!(error, ModelServerError::Unauthorized { status: 401 }));
    assert_eq!(requests(&server).await, 1);

    let server = answering(&[], status(400).set_body_json(body)).await;
    let error = call(&server).await.unwrap_err();
    assert!(error.to_string().ends_with("Incorrect API key provided: [key]"), "{error}");
    assert!(!format!("{error:?}").contains(KEY));
}

#[tokio::test]
async fn understands_the_error_bodies_of_other_servers() {
    for body in [
        json!({ "error": "model not found" }),
        json!({ "detail": "model not found" }),
        json!({ "message": "model not found" }),
        json!({ "detail": [{ "msg": "model not found" }] }),
    ] {
        let server = answering(&[], status(404).set_body_json(body)).await;
        let error = call(&server).await.unwrap_err();
        assert_eq!(error.to_string(), "the model server answered with status 404: model not found");
    }
}

#[tokio::test]
async fn a_web_page_is_no_answer() {
    let server = answering(&[], status(200).set_body_string("<html>Welcome</html>")).await;
    let error = call(&server).await.unwrap_err();
    assert!(matches!(error, ModelServerError::Malformed { .. }));
    assert!(error.source().is_some());
}

#[tokio::test]
async fn follows_no_redirect() {
    let target = answering(&[], ok()).await;
    let server = answering(&[], status(307).insert_header("location", target.uri())).await;
    let error = call(&server).await.unwrap_err();
    assert!(matches!(error, ModelServerError::Refused { status: 307, .. }));
    assert_eq!(requests(&target).await, 0);
}

#[tokio::test]
async fn nobody_there_is_said_without_the_address() {
    let address = "http://user:password@127.0.0.1:1";
    let client = client_with(&Endpoint::new(address, "m", None), IMPATIENT);
    let answer: Result<Value, _> = client.embeddings().create_byot(json!({})).await;
    let error = ModelServerError::from(answer.unwrap_err());
    assert!(matches!(error, ModelServerError::Unreachable { .. }));
    assert!(!format!("{error:?}").contains("password"));
}

#[tokio::test]
async fn a_server_that_a_tenant_chose_is_reached_at_public_addresses_alone() {
    let server = answering(&[], ok()).await;
    let port = server.address().port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let guard = Some(AddressPolicy::public_only());
        let endpoint = Endpoint { guard, ..Endpoint::new(format!("http://{host}:{port}/v1"), "m", None) };
        let answer: Result<Value, _> = client_with(&endpoint, IMPATIENT).embeddings().create_byot(json!({})).await;
        let error = ModelServerError::from(answer.unwrap_err());
        assert!(matches!(error, ModelServerError::Forbidden { .. }), "{host}: {error:?}");
    }
    assert_eq!(requests(&server).await, 0);
    let guard = Some("127.0.0.0/8".parse().unwrap());
    let endpoint = Endpoint { guard, ..Endpoint::new(format!("{}/v1", server.uri()), "m", None) };
    let answer: Value = client_with(&endpoint, IMPATIENT).embeddings().create_byot(json!({})).await.unwrap();
    assert_eq!(answer, json!({ "fine": true }));
}

#[tokio::test]
async fn azure_gets_the_key_in_its_own_header() {
    let server = answering(&[], ok()).await;
    for (kind, sent) in [(ProviderKind::Azure, Some(KEY)), (ProviderKind::Compatible, None)] {
        let endpoint = Endpoint { kind, ..Endpoint::new(server.uri(), "m", Some(KEY.into())) };
        let _: Value = client_with(&endpoint, IMPATIENT).embeddings().create_byot(json!({})).await.unwrap();
        let last = server.received_requests().await.unwrap().pop().unwrap();
        assert_eq!(last.headers.get("api-key").map(|key| key.to_str().unwrap()), sent);
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up() {
    let server = answering(&[], status(200).set_body_string(" ".repeat(LONGEST_ANSWER + 1))).await;
    let error = call(&server).await.unwrap_err();
    assert!(matches!(error, ModelServerError::TooLong), "{error:?}");
    assert_eq!(error.to_string(), "the model server's answer is larger than 32 MiB");
}
