//! What every client of an OpenAI-compatible model server shares: how it connects, when it tries
//! again, and what its failures are called.
//!
//! [`client`] gives an `async_openai` client whose transport already retries, so callers call
//! `…_byot` once and turn a failure into a [`ModelServerError`] with `?` or `ModelServerError::from`.
//! Connecting, `429` and `5xx` are tried again with growing pauses (or the pause the server asks
//! for); an answer that has begun, such as a stream, is never started anew. A server that a tenant
//! chose is reached through [`crate::fetch`]; no server can send more, or take longer, than the
//! constants here say.

use std::sync::Arc;
use std::time::Duration;

use async_openai::{Client, config::OpenAIConfig, error::OpenAIError, middleware::HttpRequestFactory};
use http_body_util::{LengthLimitError, Limited};
use reqwest::header::{HeaderValue, RETRY_AFTER};
use reqwest::{Body, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::fetch::{self, Refusal};
use crate::models::{Endpoint, ProviderKind};

/// Why a model server gave no usable answer. No text of it holds the key.
#[derive(Debug, thiserror::Error)]
pub enum ModelServerError {
    /// No connection, or it broke before the answer was complete.
    #[error("failed to reach the model server: check its address and that it runs")]
    Unreachable {
        /// What the network said, without the URL.
        source: reqwest::Error,
    },
    /// Its address is not one that a tenant's model server may be at.
    #[error("the model server's address is not allowed")]
    Forbidden {
        /// Why not; fit for the tenant to read.
        source: Refusal,
    },
    /// Connected, but silent for too long.
    #[error("the model server did not answer in time")]
    TimedOut,
    /// 401 or 403.
    #[error("the model server refused the key (status {status})")]
    Unauthorized {
        /// The HTTP status.
        status: u16,
    },
    /// 429 on every attempt, or with a pause too long to wait for.
    #[error("the model server limits the request rate: try again later")]
    RateLimited {
        /// The pause the server asked for.
        retry_after: Option<Duration>,
    },
    /// Any other status that is no success.
    #[error("the model server answered with status {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's own words, cut to [`LONGEST_MESSAGE`] characters.
        message: String,
    },
    /// A success whose body is not what the protocol promises.
    #[error("the model server's answer is not OpenAI-compatible: check the base URL")]
    Malformed {
        /// What the parser said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A success that does not end.
    #[error("the model server's answer is larger than {} MiB", LONGEST_ANSWER >> 20)]
    TooLong,
    /// A stream that broke off.
    #[error("the model server's answer broke off")]
    Interrupted,
}

/// When and how often a request is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    /// Attempts in all, the first included.
    pub(crate) attempts: u32,
    /// Pause before the second attempt; it doubles from there.
    pub(crate) first_pause: Duration,
    /// A server asking for more than this is not waited for.
    pub(crate) longest_pause: Duration,
}

const RETRY: RetryPolicy =
    RetryPolicy { attempts: 4, first_pause: Duration::from_millis(400), longest_pause: Duration::from_secs(20) };

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence, before the first byte and between two.
const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest time for a whole answer; a server that trickles would hold a connection for good.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(10);
/// Bytes of an answer or of a stream; 128 vectors of 4,096 numbers are a fifth of it.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// Characters of a server's error message that are kept.
pub const LONGEST_MESSAGE: usize = 300;
/// Bytes of a server's error body that are read.
const LONGEST_ERROR_BODY: usize = 64 * 1024;

/// A client for the server at `endpoint`, which sends its key if there is one, retries as the module
/// says, and never follows a redirect.
pub fn client(endpoint: &Endpoint) -> Client<OpenAIConfig> {
    client_with(endpoint, RETRY)
}

pub(crate) fn client_with(endpoint: &Endpoint, policy: RetryPolicy) -> Client<OpenAIConfig> {
    // Every field is set: what is left out, async-openai fills from the process environment.
    let config = OpenAIConfig::new()
        .with_api_base(endpoint.base_url.trim_end_matches('/'))
        .with_api_key(endpoint.api_key.as_ref().map_or("", ExposeSecret::expose_secret))
        .with_org_id("")
        .with_project_id("");
    let http = http_client(endpoint);
    let endpoint = Arc::new(endpoint.clone());
    Client::build(http.clone(), config).with_http_service(tower::service_fn(move |request| {
        let (http, endpoint) = (http.clone(), Arc::clone(&endpoint));
        async move { with_retry(policy, || attempt(&http, &request, &endpoint)).await }
    }))
}

/// The one place where a connection to a model server is configured.
fn http_client(endpoint: &Endpoint) -> reqwest::Client {
    let builder = match &endpoint.guard {
        Some(policy) => fetch::client(policy, 0),
        None => reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()),
    };
    builder
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .build()
        .expect("the settings are constants")
}

/// Calls `attempt` until it succeeds, fails for good, or `policy` is used up.
pub(crate) async fn with_retry<T, F: Future<Output = Result<T, ModelServerError>>>(
    policy: RetryPolicy,
    attempt: impl Fn() -> F,
) -> Result<T, ModelServerError> {
    let mut pause = policy.first_pause;
    for _ in 1..policy.attempts {
        let error = match attempt().await {
            Err(error) if error.is_transient() => error,
            done => return done,
        };
        let asked = match error {
            ModelServerError::RateLimited { retry_after } => retry_after,
            _ => None,
        };
        if asked.is_some_and(|asked| asked > policy.longest_pause) {
            return Err(error);
        }
        tracing::debug!(error = %error, "trying the model server again");
        tokio::time::sleep(asked.unwrap_or(pause)).await;
        pause = (pause * 2).min(policy.longest_pause);
    }
    attempt().await
}

async fn attempt(
    http: &reqwest::Client,
    request: &HttpRequestFactory,
    endpoint: &Endpoint,
) -> Result<Response, ModelServerError> {
    let mut request = request.build().await?;
    if let Some(policy) = &endpoint.guard {
        policy.check(request.url()).map_err(|source| ModelServerError::Forbidden { source })?;
    }
    if let (ProviderKind::Azure, Some(key)) = (endpoint.kind, &endpoint.api_key) {
        let mut key = HeaderValue::from_str(key.expose_secret()).expect("the request holds it in a header already");
        key.set_sensitive(true);
        request.headers_mut().insert("api-key", key);
    }
    let response = http.execute(request).await?;
    if response.status().is_success() {
        Ok(limited(response))
    } else {
        Err(refusal(response, endpoint.api_key.as_ref()).await)
    }
}

/// The response, failing where it becomes longer than [`LONGEST_ANSWER`].
fn limited(response: Response) -> Response {
    let (head, body) = hyper::Response::<Body>::from(response).into_parts();
    hyper::Response::from_parts(head, Body::wrap(Limited::new(body, LONGEST_ANSWER))).into()
}

async fn refusal(mut response: Response, key: Option<&SecretString>) -> ModelServerError {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|seconds| seconds.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST_ERROR_BODY {
            break;
        }
    }
    let body = String::from_utf8_lossy(&body);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ModelServerError::Unauthorized { status: status.as_u16() },
        // An exhausted budget is a 429 too, but waiting does not fill it.
        StatusCode::TOO_MANY_REQUESTS if !body.contains("insufficient_quota") => {
            ModelServerError::RateLimited { retry_after }
        }
        _ => ModelServerError::Refused { status: status.as_u16(), message: message_in(&body, key) },
    }
}

/// The server's words out of the error bodies seen in the wild, without the key it may echo.
fn message_in(body: &str, key: Option<&SecretString>) -> String {
    let json = serde_json::from_str::<Value>(body).unwrap_or_default();
    let words = ["/error/message", "/error", "/message", "/detail", "/detail/0/msg"]
        .iter()
        .find_map(|path| json.pointer(path)?.as_str())
        .unwrap_or("no reason given");
    let words = match key.map(ExposeSecret::expose_secret) {
        Some(key) if !key.is_empty() => words.replace(key, "[key]"),
        _ => words.to_owned(),
    };
    words.chars().take(LONGEST_MESSAGE).collect()
}

impl ModelServerError {
    /// Whether the same request may succeed when sent again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Unreachable { source } => source.is_connect(),
            _ => false,
        }
    }
}

impl From<reqwest::Error> for ModelServerError {
    fn from(error: reqwest::Error) -> Self {
        // A URL can hold credentials.
        let source = error.without_url();
        if let Some(refusal) = fetch::behind::<Refusal>(&source) {
            return Self::Forbidden { source: refusal.clone() };
        }
        if fetch::behind::<LengthLimitError>(&source).is_some() {
            return Self::TooLong;
        }
        if source.is_timeout() && !source.is_connect() { Self::TimedOut } else { Self::Unreachable { source } }
    }
}

impl From<OpenAIError> for ModelServerError {
    fn from(error: OpenAIError) -> Self {
        match error {
            OpenAIError::Boxed(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(source) => Self::Malformed { source },
            },
            OpenAIError::Reqwest(inner) => inner.into(),
            // The body, which it also carries, is dropped.
            OpenAIError::JSONDeserialize(source, _) => Self::Malformed { source: source.into() },
            OpenAIError::StreamError(_) => Self::Interrupted,
            other => Self::Malformed { source: other.into() },
        }
    }
}

impl From<ModelServerError> for OpenAIError {
    fn from(error: ModelServerError) -> Self {
        Self::Boxed(error.into())
    }
}

#[cfg(test)]
pub(crate) mod tests;
