//! How a refusal is written: as a problem, or as the clients of another API read it.

use serde::Serialize;
use utoipa::ToSchema;

use super::{MEDIA_TYPE, Problem, ProblemKind};
use crate::middleware::RequestId;

/// How refusals below a path are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As `application/problem+json`.
    Problem,
    /// As the OpenAI API writes them, so that its clients raise the errors of their own.
    OpenAi,
}

impl Shape {
    /// The paths below `/v1/` are OpenAI's.
    pub(crate) fn of(path: &str) -> Self {
        if path.starts_with("/v1/") { Self::OpenAi } else { Self::Problem }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Problem => MEDIA_TYPE,
            Self::OpenAi => "application/json",
        }
    }

    /// Name of the body's schema.
    pub(crate) fn schema(self) -> &'static str {
        match self {
            Self::Problem => "ProblemBody",
            Self::OpenAi => "OpenAiProblem",
        }
    }

    pub(crate) fn body(self, problem: &Problem, request_id: &RequestId) -> Vec<u8> {
        let body = match self {
            Self::Problem => serde_json::to_vec(&problem.body(request_id)),
            Self::OpenAi => serde_json::to_vec(&OpenAiProblem::from(problem)),
        };
        body.expect("a problem is JSON")
    }
}

/// A problem as the OpenAI API writes errors.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OpenAiProblem {
    /// The only member.
    error: OpenAiError,
}

/// What an OpenAI client makes an exception of.
#[derive(Debug, Serialize, ToSchema)]
struct OpenAiError {
    /// The kind of problem in words, and what to do.
    #[schema(example = "There is no such chatbot: no chatbot is known by that name or id")]
    message: String,
    /// Whose fault it is, in OpenAI's words.
    #[schema(example = "invalid_request_error")]
    r#type: &'static str,
    /// Always null.
    param: Option<&'static str>,
    /// The kind of problem for programs.
    code: ProblemKind,
}

impl From<&Problem> for OpenAiProblem {
    fn from(problem: &Problem) -> Self {
        let r#type = match problem.kind.status().as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        Self { error: OpenAiError { message: problem.sentence(), r#type, param: None, code: problem.kind } }
    }
}
