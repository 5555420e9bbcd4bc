//! The one error type of the API: RFC 9457 `application/problem+json`.
//!
//! A [`Problem`] says what happened in words made for clients; the error behind it is kept for the log alone. The
//! body is written by the middleware, which knows the request id.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use docbrain_core::answer::AnswerError;
use docbrain_core::chat::ChatError;
use docbrain_core::embed::EmbedError;
use docbrain_core::openai::ModelServerError;
use docbrain_core::providers::ProviderError;
use docbrain_core::retrieve::RetrieveError;
use docbrain_core::store;
use serde::Serialize;
use utoipa::ToSchema;

use crate::middleware::RequestId;

mod shape;

pub(crate) use shape::{OpenAiProblem, Shape};

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! problem_kinds {
    ($($kind:ident = $code:literal, $status:ident, $title:literal;)+) => {
        /// Everything that can go wrong, as programs tell it apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum ProblemKind {
            $(#[doc = $title] $kind,)+
        }

        impl ProblemKind {
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),+];

            /// The word for programs.
            pub(crate) fn code(self) -> &'static str {
                match self { $(Self::$kind => $code,)+ }
            }

            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)+ }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)+ }
            }
        }
    };
}

problem_kinds! {
    BadRequest = "bad_request", BAD_REQUEST, "The request cannot be read";
    TenantRequired = "tenant_required", BAD_REQUEST, "The request does not say which tenant it is for";
    Unauthorized = "unauthorized", UNAUTHORIZED, "The request shows no valid token";
    InvalidCredentials = "invalid_credentials", UNAUTHORIZED, "E-mail or password is wrong";
    TokenExpired = "token_expired", UNAUTHORIZED, "The token or session has expired";
    Forbidden = "forbidden", FORBIDDEN, "The caller may not do that";
    CsrfFailed = "csrf_failed", FORBIDDEN, "The change may have been caused by another site";
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN, "Pages of this origin may not embed the chatbot";
    IdentityRefused = "identity_refused", FORBIDDEN, "The visitor's identity is not believed";
    RegistrationClosed = "registration_closed", FORBIDDEN, "Nobody can register here on their own";
    OidcRefused = "oidc_refused", FORBIDDEN, "The identity provider has signed nobody in";
    OidcNotConfigured = "oidc_not_configured", NOT_FOUND, "This installation has no identity provider";
    RouteNotFound = "route_not_found", NOT_FOUND, "There is no such route";
    TenantNotFound = "tenant_not_found", NOT_FOUND, "There is no such tenant";
    ChatbotNotFound = "chatbot_not_found", NOT_FOUND, "There is no such chatbot";
    KnowledgeSourceNotFound = "knowledge_source_not_found", NOT_FOUND, "There is no such knowledge source";
    ConversationNotFound = "conversation_not_found", NOT_FOUND, "There is no such conversation with this chatbot";
    MessageNotFound = "message_not_found", NOT_FOUND, "There is no such answer";
    DocumentNotFound = "document_not_found", NOT_FOUND, "There is no such document";
    ProviderNotFound = "provider_not_found", NOT_FOUND, "The tenant has no provider of its own for this";
    RunNotFound = "run_not_found", NOT_FOUND, "There is no such run";
    MemberNotFound = "member_not_found", NOT_FOUND, "There is no such member";
    InvitationNotFound = "invitation_not_found", NOT_FOUND, "There is no such invitation, or it has expired";
    ApiTokenNotFound = "api_token_not_found", NOT_FOUND, "There is no such API token";
    OriginRefused = "origin_refused", FORBIDDEN, "Pages in a browser may not call this route";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The route does not take this method";
    EmailTaken = "email_taken", CONFLICT, "There is an account with this e-mail already";
    TenantNameTaken = "tenant_name_taken", CONFLICT, "There is a tenant of this name already";
    ChatbotExists = "chatbot_exists", CONFLICT, "There is a chatbot of this name already";
    KnowledgeSourceExists = "knowledge_source_exists", CONFLICT, "There is a knowledge source of this name already";
    LastAdmin = "last_admin", CONFLICT, "The tenant would be left without an admin";
    QuotaExceeded = "quota_exceeded", CONFLICT, "The tenant has as much as its quota allows";
    FieldOwnedElsewhere = "field_owned_elsewhere", CONFLICT, "Somebody else manages what would change";
    IdempotencyKeyInUse = "idempotency_key_in_use", CONFLICT, "The first request with this idempotency key is under way";
    AlreadyCreated = "already_created", CONFLICT, "The request was carried out before, and its answer is shown only once";
    ChatbotSuspended = "chatbot_suspended", CONFLICT, "The chatbot is suspended";
    KnowledgeSourceSuspended = "knowledge_source_suspended", CONFLICT, "The knowledge source is suspended";
    KnowledgeSourceNotForUploads = "knowledge_source_not_for_uploads", CONFLICT, "The knowledge source fetches its documents itself";
    PreconditionFailed = "precondition_failed", PRECONDITION_FAILED, "Somebody has changed it in the meantime";
    PreconditionRequired = "precondition_required", PRECONDITION_REQUIRED, "The request does not say which revision it changes";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The request is too large";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body is of another media type than the route takes";
    InvalidField = "invalid_field", UNPROCESSABLE_ENTITY, "A field of the request does not hold what it should";
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "Another request had this idempotency key";
    InvalidPath = "invalid_path", UNPROCESSABLE_ENTITY, "A file's name is no path within a knowledge source";
    KnowledgeSourceRequired = "knowledge_source_required", UNPROCESSABLE_ENTITY, "The request does not say which knowledge source it is for";
    TooManyAttempts = "too_many_attempts", TOO_MANY_REQUESTS, "Too many attempts to sign in";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "There were too many requests in this minute";
    BudgetExhausted = "budget_exhausted", TOO_MANY_REQUESTS, "The budget of the day or the month is used up";
    Internal = "internal", INTERNAL_SERVER_ERROR, "The server failed";
    ModelFailed = "model_failed", BAD_GATEWAY, "The chat model gave no complete answer";
    ModelRefused = "model_refused", BAD_GATEWAY, "The chat model's server refused the request";
    ModelUnavailable = "model_unavailable", BAD_GATEWAY, "The chat model's server cannot be reached";
    EmbeddingUnavailable = "embedding_unavailable", BAD_GATEWAY, "The embedding model's server gave no vectors";
    OidcUnavailable = "oidc_unavailable", BAD_GATEWAY, "The identity provider cannot be reached";
    ProviderKeyMissing = "provider_key_missing", BAD_GATEWAY, "The key of the chatbot's model is missing";
    ModelBusy = "model_busy", SERVICE_UNAVAILABLE, "The chat model's server limits the request rate";
    DatabaseUnavailable = "database_unavailable", SERVICE_UNAVAILABLE, "The database cannot be reached";
    ControlPlaneUnavailable = "control_plane_unavailable", SERVICE_UNAVAILABLE, "Configuration cannot be changed at the moment";
    TimedOut = "timed_out", SERVICE_UNAVAILABLE, "The request took too long";
    Busy = "busy", SERVICE_UNAVAILABLE, "The server has as much to do as it can hold";
    NotReady = "not_ready", SERVICE_UNAVAILABLE, "The server is not ready";
    ModelTimeout = "model_timeout", GATEWAY_TIMEOUT, "The chat model did not answer in time";
}

impl ProblemKind {
    pub(crate) fn named(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Whether a chat or embedding model is to blame.
    pub(crate) fn is_of_a_model(self) -> bool {
        matches!(
            self,
            Self::ModelFailed
                | Self::ModelRefused
                | Self::ModelUnavailable
                | Self::ModelBusy
                | Self::ModelTimeout
                | Self::EmbeddingUnavailable
                | Self::ProviderKeyMissing
        )
    }

    /// What a status that no handler chose means.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::RouteNotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::UNPROCESSABLE_ENTITY => Self::InvalidField,
            StatusCode::SERVICE_UNAVAILABLE => Self::TimedOut,
            status if status.is_client_error() => Self::BadRequest,
            _ => Self::Internal,
        }
    }
}

/// What went wrong with a request.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    /// A sentence for the client's developer; never the text of an inner error.
    detail: Cow<'static, str>,
    /// When the same request may succeed.
    retry_after: Option<Duration>,
    /// For the log.
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Problem {
    /// A refusal that no handler explained: axum's own.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let kind = ProblemKind::of_status(status);
        let detail = match kind {
            ProblemKind::RouteNotFound => "no route has this path; /docs lists all of them",
            ProblemKind::MethodNotAllowed => "the header `Allow` lists the methods of this route",
            ProblemKind::BodyTooLarge => "send a smaller body",
            ProblemKind::TimedOut => "try again, with less at a time where that is possible",
            ProblemKind::Internal => "look for the request id in the server's log",
            _ => "/docs describes what the route takes",
        };
        Self::new(kind, detail)
    }

    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None, source: None }
    }

    pub(crate) fn because(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Says when the same request may succeed.
    pub(crate) fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Adds a sentence to the detail.
    pub(crate) fn also(mut self, sentence: &str) -> Self {
        self.detail = format!("{}; {sentence}", self.detail).into();
        self
    }

    /// A failure that is no fault of the client.
    pub(crate) fn internal(source: impl Error + Send + Sync + 'static) -> Self {
        Self::new(ProblemKind::Internal, "try again; if it happens again, look for the request id in the server's log")
            .because(source)
    }

    /// What happened and what to do, in one sentence.
    pub(crate) fn sentence(&self) -> String {
        format!("{}: {}", self.kind.title(), self.detail)
    }

    /// The database cannot be reached at the moment.
    pub(crate) fn database_unavailable(source: impl Error + Send + Sync + 'static) -> Self {
        Self::new(ProblemKind::DatabaseUnavailable, "try again in a moment")
            .retry_after(Duration::from_secs(1))
            .because(source)
    }

    /// The server ends before the answer does.
    pub(crate) fn stopping() -> Self {
        Self::new(ProblemKind::NotReady, "the server stops; send the request again")
    }

    /// As a client reads it.
    pub(crate) fn body(&self, request_id: &RequestId) -> ProblemBody {
        ProblemBody {
            r#type: format!("urn:docbrain:problem:{}", self.kind.code()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: self.detail.to_string(),
            code: self.kind,
            timestamp: Utc::now(),
            request_id: request_id.to_string(),
        }
    }

    /// The errors behind it, outermost first, in one line.
    pub(crate) fn causes(&self) -> Option<String> {
        let mut error: Option<&(dyn Error + 'static)> = Some(self.source.as_deref()?);
        let mut messages: Vec<String> = Vec::new();
        while let Some(current) = error {
            let message = current.to_string();
            // A transparent variant repeats its source.
            if messages.last() != Some(&message) {
                messages.push(message);
            }
            error = current.source();
        }
        Some(messages.join(": "))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        if self.kind.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(pause) = self.retry_after {
            // Rounded up: a client that comes too early is refused again.
            let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// A problem as `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemBody {
    /// Names the kind of problem.
    #[schema(example = "urn:docbrain:problem:chatbot_not_found")]
    r#type: String,
    /// The kind of problem in words.
    #[schema(example = "There is no such chatbot")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What happened with this request, and what to do.
    #[schema(example = "no chatbot is known by that name or id")]
    detail: String,
    /// The kind of problem for programs.
    code: ProblemKind,
    /// When it happened.
    timestamp: DateTime<Utc>,
    /// Finds the request in the server's log.
    #[schema(example = "0198f1de-7c1b-7c3e-9f0a-3b0d4a1c2e5f")]
    request_id: String,
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        if error.is_unavailable() {
            return Self::database_unavailable(error);
        }
        let what = match error {
            store::Error::NotFound { what } => what,
            store::Error::QuotaExceeded { what, limit, count } => {
                let detail = format!(
                    "the quota is {limit} {what}, and there are {count}; delete some, or ask for a larger quota"
                );
                return Self::new(ProblemKind::QuotaExceeded, detail);
            }
            store::Error::Taken { what: "e-mail" } => {
                return Self::new(ProblemKind::EmailTaken, "sign in, or register with another e-mail");
            }
            store::Error::Taken { .. } => return Self::new(ProblemKind::TenantNameTaken, "choose another name"),
            store::Error::LastAdmin => return Self::new(ProblemKind::LastAdmin, "make somebody else an admin first"),
            store::Error::Changed { .. } => {
                return Self::new(
                    ProblemKind::PreconditionFailed,
                    "read it again, and repeat the change on what it is now",
                );
            }
            store::Error::Nul { .. } => {
                return Self::new(ProblemKind::InvalidField, "no text of a request may hold NUL");
            }
            _ => return Self::internal(error),
        };
        let kind = match what {
            "chatbot" => ProblemKind::ChatbotNotFound,
            "knowledge source" => ProblemKind::KnowledgeSourceNotFound,
            "conversation" => ProblemKind::ConversationNotFound,
            "message" => ProblemKind::MessageNotFound,
            "document" => ProblemKind::DocumentNotFound,
            "run" => ProblemKind::RunNotFound,
            "tenant" => ProblemKind::TenantNotFound,
            "provider" => ProblemKind::ProviderNotFound,
            "member" => ProblemKind::MemberNotFound,
            "invitation" => ProblemKind::InvitationNotFound,
            "API token" => ProblemKind::ApiTokenNotFound,
            _ => return Self::internal(store::Error::NotFound { what }),
        };
        Self::new(kind, format!("no {what} is known by that name or id"))
    }
}

impl From<RetrieveError> for Problem {
    fn from(error: RetrieveError) -> Self {
        match error {
            RetrieveError::Store { source } => source.into(),
            RetrieveError::Embed { source } => source.into(),
        }
    }
}

impl From<AnswerError> for Problem {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Chat(error) => error.into(),
            AnswerError::Embed(error) => error.into(),
        }
    }
}

impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Fault(fault) => Self::new(ProblemKind::InvalidField, fault.to_string()),
            ProviderError::Store(source) => Self::internal(source),
            ProviderError::Embed(source) => source.into(),
            ProviderError::KeyMissing { secret, key } => {
                let detail = format!("the chatbot's model wants the key {key:?} of the Secret {secret:?}; add it");
                Self::new(ProblemKind::ProviderKeyMissing, detail)
            }
        }
    }
}

impl From<EmbedError> for Problem {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Server { .. } | EmbedError::VectorCount { .. } | EmbedError::VectorLength { .. } => {
                Self::new(ProblemKind::EmbeddingUnavailable, "the question could not be embedded; try again later")
                    .because(error)
            }
            _ => Self::internal(error),
        }
    }
}

impl From<ChatError> for Problem {
    fn from(error: ChatError) -> Self {
        let (kind, detail) = match &error {
            ChatError::Server(ModelServerError::Unreachable { .. }) => {
                (ProblemKind::ModelUnavailable, "check that the chat model's server runs, and its address")
            }
            ChatError::Server(ModelServerError::Forbidden { .. }) => (
                ProblemKind::ModelUnavailable,
                "the chat model's server is not at an address that this installation allows",
            ),
            ChatError::Server(ModelServerError::TimedOut) => (ProblemKind::ModelTimeout, "try again later"),
            ChatError::Server(ModelServerError::RateLimited { .. }) => (ProblemKind::ModelBusy, "try again later"),
            ChatError::Server(ModelServerError::Unauthorized { .. }) => {
                (ProblemKind::ModelRefused, "the chat model's server does not accept the configured key")
            }
            ChatError::Server(ModelServerError::Refused { .. }) => {
                (ProblemKind::ModelRefused, "check the model's name and settings; the server's log holds the refusal")
            }
            ChatError::Server(_) | ChatError::NotAStream => (
                ProblemKind::ModelFailed,
                "the chat model's server does not answer as an OpenAI-compatible one; check its base URL",
            ),
            ChatError::Reported { .. } => (
                ProblemKind::ModelFailed,
                "the model's server reported an error in the middle of the answer; try again",
            ),
            ChatError::CutOff => {
                (ProblemKind::ModelFailed, "the model's answer broke off before it was complete; try again")
            }
            ChatError::Empty => (ProblemKind::ModelFailed, "the model gave an empty answer; another model may help"),
        };
        let pause = match &error {
            ChatError::Server(ModelServerError::RateLimited { retry_after }) => *retry_after,
            _ => None,
        };
        Self { retry_after: pause, ..Self::new(kind, detail).because(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_how_the_kind_is_serialised_and_found() {
        for &kind in ProblemKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
            assert_eq!(ProblemKind::named(kind.code()), Some(kind));
        }
    }

    #[test]
    fn causes_are_told_without_repetition() {
        let error = AnswerError::Chat(ChatError::CutOff);
        assert_eq!(
            Problem::internal(error).causes().unwrap(),
            "the model's answer broke off before it was complete: try again"
        );
    }
}
