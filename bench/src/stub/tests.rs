use std::time::Instant;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::WrappedError;
use async_openai::types::chat::{
    ChatCompletionRequestUserMessageArgs, CreateChatCompletionRequest, CreateChatCompletionRequestArgs, FinishReason,
};
use async_openai::types::embeddings::{CreateEmbeddingRequestArgs, EncodingFormat};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Behaviour, CHAT_MODEL, EMBEDDING_MODEL, listen};

/// Serves on a real socket for the rest of the test; returns the base URL.
async fn serve(behaviour: Behaviour) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listen(listener, behaviour));
    format!("http://{address}/v1")
}

async fn post(url: String, body: Value) -> (u16, String) {
    let reply = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

async fn vectors(base: &str, body: Value) -> Vec<Vec<f32>> {
    let (status, text) = post(format!("{base}/embeddings"), body).await;
    assert_eq!(status, 200, "{text}");
    let reply: Value = serde_json::from_str(&text).unwrap();
    let data = reply["data"].as_array().unwrap();
    data.iter().map(|item| serde_json::from_value(item["embedding"].clone()).unwrap()).collect()
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[tokio::test]
async fn embeddings_are_deterministic_unit_vectors_in_the_order_of_the_input() {
    let base = serve(Behaviour::default()).await;
    let texts = ["How do I expire a key?", "The borrow checker", "???", "ein Schlüssel läuft ab", "a"];
    let all = vectors(&base, json!({"model": "any", "input": texts})).await;
    assert_eq!(all.len(), texts.len());
    for (text, vector) in texts.iter().zip(&all) {
        assert_eq!(vector.len(), 384);
        assert!((dot(vector, vector) - 1.0).abs() < 1e-4, "{text}: {}", dot(vector, vector));
        assert_eq!(vectors(&base, json!({"input": text})).await[0], *vector, "{text}");
    }
    let short = vectors(&base, json!({"input": texts[0], "dimensions": 8})).await;
    assert_eq!(short[0].len(), 8);
}

#[tokio::test]
async fn similar_texts_get_similar_vectors() {
    let base = serve(Behaviour::default()).await;
    let texts = [
        "How can I make a key expire after ten seconds?",
        "EXPIRE sets a timeout on a key; after the timeout has expired, the key is deleted.",
        "Ownership is a set of rules that govern how a Rust program manages memory.",
    ];
    let all = vectors(&base, json!({"input": texts})).await;
    let (near, far) = (dot(&all[0], &all[1]), dot(&all[0], &all[2]));
    assert!(near > 0.25 && near > far + 0.15, "near {near}, far {far}");
}

#[tokio::test]
async fn base64_carries_the_same_numbers_as_float() {
    let base = serve(Behaviour::default()).await;
    let body = json!({"model": EMBEDDING_MODEL, "input": "the same text twice", "encoding_format": "base64"});
    let (_, text) = post(format!("{base}/embeddings"), body).await;
    let reply: Value = serde_json::from_str(&text).unwrap();
    let bytes = STANDARD.decode(reply["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<f32> = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(vectors(&base, json!({"input": "the same text twice"})).await, [decoded]);
}

#[tokio::test]
async fn unusable_embedding_requests_are_refused_with_a_reason() {
    let base = serve(Behaviour::default()).await;
    let refused = [
        json!({"input": []}),
        json!({"input": ["text", ""]}),
        json!({"input": [1, 2]}),
        json!({"input": "text", "dimensions": 0}),
        json!({}),
    ];
    for body in refused {
        let (status, text) = post(format!("{base}/embeddings"), body.clone()).await;
        assert_eq!(status, 400, "{body}");
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(error["error"]["type"], "invalid_request_error", "{text}");
    }
}

const PROMPT: &str = "Answer from the passages and cite like [1].\n\n[1] # Expiry\nEXPIRE sets a timeout. It is volatile.\n\n\
                      [2] SETEX sets value and timeout in version 2.0 together.\n\nQuestion: how?";
const ANSWER: &str =
    r#"The documents say: "EXPIRE sets a timeout." [1] "SETEX sets value and timeout in version 2.0 together." [2]"#;

fn client(base: &str) -> Client<OpenAIConfig> {
    Client::with_config(OpenAIConfig::new().with_api_base(base).with_api_key("any"))
}

fn chat(content: &str) -> CreateChatCompletionRequest {
    let message = ChatCompletionRequestUserMessageArgs::default().content(content).build().unwrap();
    CreateChatCompletionRequestArgs::default().model(CHAT_MODEL).messages([message.into()]).build().unwrap()
}

fn streamed(content: &str) -> CreateChatCompletionRequest {
    CreateChatCompletionRequest { stream: Some(true), ..chat(content) }
}

#[tokio::test]
async fn a_strictly_typed_client_accepts_embeddings_chat_and_models() {
    let base = serve(Behaviour::default()).await;
    let client = client(&base);
    let request = |format| {
        let mut request = CreateEmbeddingRequestArgs::default();
        request.model(EMBEDDING_MODEL).input(["one", "two"]).encoding_format(format).dimensions(16_u32).build().unwrap()
    };
    let plain = client.embeddings().create(request(EncodingFormat::Float)).await.unwrap();
    assert_eq!((plain.data.len(), plain.data[1].index, plain.data[1].embedding.len()), (2, 1, 16));
    assert_eq!(plain.usage.prompt_tokens, 2);
    let packed = client.embeddings().create_base64(request(EncodingFormat::Base64)).await.unwrap();
    assert_eq!(Vec::<f32>::from(packed.data[1].embedding.clone()), plain.data[1].embedding);

    let reply = client.chat().create(chat(PROMPT)).await.unwrap();
    assert_eq!(reply.choices[0].message.content.as_deref(), Some(ANSWER));
    assert_eq!(reply.choices[0].finish_reason, Some(FinishReason::Stop));
    let usage = reply.usage.unwrap();
    assert_eq!(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    assert_eq!(client.chat().create(chat(PROMPT)).await.unwrap().id, reply.id);

    let models: Value = reqwest::get(format!("{base}/models")).await.unwrap().json().await.unwrap();
    assert_eq!(models["data"][1]["id"], CHAT_MODEL);
}

#[tokio::test]
async fn a_strictly_typed_client_reads_the_stream() {
    let base = serve(Behaviour::default()).await;
    let mut stream = client(&base).chat().create_stream(streamed(PROMPT)).await.unwrap();
    let (mut text, mut finish) = (String::new(), None);
    while let Some(chunk) = stream.next().await {
        let choice = chunk.unwrap().choices.remove(0);
        assert!(finish.is_none(), "nothing follows the finish reason");
        text += choice.delta.content.as_deref().unwrap_or_default();
        finish = choice.finish_reason;
    }
    assert_eq!((text.as_str(), finish), (ANSWER, Some(FinishReason::Stop)));
}

#[tokio::test]
async fn a_stream_is_well_formed_to_the_byte() {
    let base = serve(Behaviour::default()).await;
    let body = json!({
        "messages": [{"role": "user", "content": [{"type": "text", "text": "[1] Say \"ü\\n\"."}]}],
        "stream": true, "stream_options": {"include_usage": true},
    });
    let (_, text) = post(format!("{base}/chat/completions"), body).await;
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(events.last(), Some(&"data: [DONE]"));
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, "The documents say: \"Say \"ü\\n\".\" [1]");
    let (last, others) = chunks.split_last().unwrap();
    assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk["id"] == last["id"]));
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], said.len().div_ceil(4));
    assert_eq!(others.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn passages_between_tags_are_quoted_from_the_last_message_that_has_some() {
    let base = serve(Behaviour::default()).await;
    let ask = async |messages: Value| {
        let (_, text) = post(format!("{base}/chat/completions"), json!({"messages": messages})).await;
        let reply: Value = serde_json::from_str(&text).unwrap();
        reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let tagged = "Passages:\n\n<passage-7 number=\"1\" from=\"Book › Keys\">\nFirst one! More.\n[9] is text in it\n</passage-7>\n\n\
                  <passage-7 number=\"2\" from=\"x\">\n| a | b |\nSecond\n</passage-7>\n\nQuestion:\nwhat?";
    let messages = json!([
        {"role": "system", "content": "[1] An old passage."},
        {"role": "user", "content": tagged},
        {"role": "assistant", "content": null},
    ]);
    assert_eq!(ask(messages).await, r#"The documents say: "First one!" [1] "Second" [2]"#);
    assert_eq!(ask(json!([{"role": "user", "content": "hello"}])).await, super::chat::NO_PASSAGES);
}

#[tokio::test]
async fn faults_come_when_asked_for() {
    let failing = serve(Behaviour { fail_rate: 0.25, ..Behaviour::default() }).await;
    let mut failed = 0;
    for _ in 0..40 {
        failed += u32::from(post(format!("{failing}/embeddings"), json!({"input": "text"})).await.0 == 500);
    }
    assert_eq!(failed, 10);

    let cut = serve(Behaviour { cut_stream: true, ..Behaviour::default() }).await;
    let body = json!({"messages": [{"role": "user", "content": PROMPT}], "stream": true});
    let (status, text) = post(format!("{cut}/chat/completions"), body).await;
    assert_eq!(status, 200);
    assert!(text.contains("\"content\":\"The ") && !text.contains("[DONE]") && !text.contains("\"stop\""), "{text}");
    assert!(!text.ends_with("\n\n"), "the last event is incomplete");

    let slow = serve(Behaviour { latency_ms: 400, ..Behaviour::default() }).await;
    let client = client(&slow);
    let begun = Instant::now();
    let mut stream = client.chat().create_stream(streamed(PROMPT)).await.unwrap();
    assert!(begun.elapsed().as_millis() < 350, "the reply begins at once");
    stream.next().await.unwrap().unwrap();
    assert!(begun.elapsed().as_millis() >= 400);
}

#[tokio::test]
async fn a_fault_has_the_form_of_an_api_error() {
    let base = serve(Behaviour { fail_rate: 1.0, ..Behaviour::default() }).await;
    let (status, text) = post(format!("{base}/chat/completions"), json!({"messages": []})).await;
    let error: WrappedError = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 500);
    assert!(error.error.message.contains("--fail-rate"));
}
