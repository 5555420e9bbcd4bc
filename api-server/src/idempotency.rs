//! Creates that may be sent again: the header `Idempotency-Key` makes of several sendings one.
//!
//! A handler takes its body as [`Create`], answers through [`Once::answer`], and lists [`IdempotencyKey`] among its
//! `params`, by which the table of routes documents the rest.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::{CACHE_CONTROL, HeaderMap, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use docbrain_core::ids::TenantId;
use docbrain_core::store::Pool;
use docbrain_core::store::idempotency::{self, Begun};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use crate::extract::Json;
use crate::problem::{Problem, ProblemKind};

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
const REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");
/// Longest key.
const MOST_CHARACTERS: usize = 128;

/// The header as the OpenAPI document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKey {
    /// A word of your choice, such as a UUID: the same request sent again with it, within a day, is not carried out again
    /// but answered as before, with the header `Idempotent-Replay: true`.
    #[param(rename = "Idempotency-Key", max_length = 128, pattern = "^[!-~]+$", required = false)]
    _key: Option<String>,
}

/// The JSON body of a create, and the right to carry it out.
pub(crate) struct Create<T> {
    pub(crate) body: T,
    pub(crate) once: Once,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Create<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let key = key(request.headers())?;
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await?;
        let mut hash = Sha256::new();
        for part in [parts.method.as_str().as_bytes(), parts.uri.to_string().as_bytes(), &bytes] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let once = Once { key, request_sha256: hash.finalize().into() };
        let Json(body) = Json::from_request(Request::from_parts(parts, Body::from(bytes)), state).await?;
        Ok(Self { body, once })
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let is_word =
        |text: &&str| (1..=MOST_CHARACTERS).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
    let Some(key) = value.to_str().ok().filter(is_word) else {
        let detail = "the header `Idempotency-Key` is a word of at most 128 visible ASCII characters";
        return Err(Problem::new(ProblemKind::InvalidField, detail));
    };
    Ok(Some(key.to_owned()))
}

/// A request that is carried out once for its key; always, when it has none.
pub(crate) struct Once {
    key: Option<String>,
    request_sha256: [u8; 32],
}

/// Whether an answer is kept for those who ask again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Answer,
    /// Only that there was one.
    Status,
}

impl Once {
    /// Carries out `create`, or answers as before. A route that may change something goes on when its client goes away
    /// (`middleware::carry_through`); otherwise the key would stay under way.
    pub(crate) fn answer<'a, R: Serialize + Send + Sync + 'a>(
        self,
        pool: &'a Pool,
        tenant: TenantId,
        create: impl Future<Output = Result<(StatusCode, R), Problem>> + Send + 'a,
    ) -> BoxFuture<'a, Result<Response, Problem>> {
        Box::pin(self.carry_out(pool, tenant, Keep::Answer, create))
    }

    /// As [`Once::answer`], for an answer with a secret that is shown once: it is kept nowhere, and sending the request
    /// again is refused.
    pub(crate) fn answer_with_secret<'a, R: Serialize + Send + Sync + 'a>(
        self,
        pool: &'a Pool,
        tenant: TenantId,
        create: impl Future<Output = Result<(StatusCode, R), Problem>> + Send + 'a,
    ) -> BoxFuture<'a, Result<Response, Problem>> {
        Box::pin(async move {
            let answer = self.carry_out(pool, tenant, Keep::Status, create).await?;
            Ok(([(CACHE_CONTROL, "no-store")], answer).into_response())
        })
    }

    async fn carry_out<R: Serialize>(
        self,
        pool: &Pool,
        tenant: TenantId,
        keep: Keep,
        create: impl Future<Output = Result<(StatusCode, R), Problem>>,
    ) -> Result<Response, Problem> {
        let Some(key) = self.key else {
            let (status, body) = create.await?;
            return Ok((status, axum::Json(body)).into_response());
        };
        match idempotency::begin(pool, tenant, &key, &self.request_sha256).await? {
            Begun::New => {}
            Begun::UnderWay => return Err(Problem::new(ProblemKind::IdempotencyKeyInUse, "wait for its answer")),
            Begun::Reused => {
                return Err(Problem::new(ProblemKind::IdempotencyKeyReused, "a new request needs a new key"));
            }
            Begun::Answered { status, body } => return replay(status, body),
        }
        let created = create.await;
        let kept = match &created {
            Ok((status, body)) if status.is_success() => {
                let body = match keep {
                    Keep::Answer => Some(serde_json::to_value(body).expect("a body is JSON")),
                    Keep::Status => None,
                };
                idempotency::answer(pool, tenant, &key, status.as_u16(), body.as_ref()).await
            }
            _ => idempotency::forget(pool, tenant, &key).await,
        };
        if let Err(error) = kept {
            // What was created stays created, and the client learns of it.
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to keep the answer of a create");
        }
        let (status, body) = created?;
        Ok((status, axum::Json(body)).into_response())
    }
}

fn replay(status: u16, body: Option<Value>) -> Result<Response, Problem> {
    let Some(body) = body else {
        let detail = "it holds a secret, which is not kept; revoke what was created, and create anew with another key";
        return Err(Problem::new(ProblemKind::AlreadyCreated, detail));
    };
    let status = StatusCode::from_u16(status).map_err(Problem::internal)?;
    Ok((status, [(REPLAY, HeaderValue::from_static("true"))], axum::Json(body)).into_response())
}

#[cfg(test)]
mod tests;
