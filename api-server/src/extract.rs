//! What a request holds, read so that a failure is a [`Problem`].

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::{Problem, ProblemKind};

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let axum::Json(body) = axum::Json::from_request(request, state).await?;
        Ok(Self(body))
    }
}

/// The parts of the path that the route names.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // Names are looked up in Postgres, which stores no NUL.
        if parts.uri.path().contains("%00") {
            return Err(Problem::new(ProblemKind::RouteNotFound, "no path of a route holds NUL"));
        }
        let axum::extract::Path(path) = axum::extract::Path::from_request_parts(parts, state).await?;
        Ok(Self(path))
    }
}

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Query(query) = axum::extract::Query::from_request_parts(parts, state).await?;
        Ok(Self(query))
    }
}

// What a rejection says is about the client's own bytes, so the client may read it.

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(ProblemKind::of_status(rejection.status()), rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        match rejection {
            PathRejection::FailedToDeserializePathParams(_) => {
                Self::new(ProblemKind::RouteNotFound, rejection.body_text())
            }
            _ => Self::internal(rejection),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(ProblemKind::of_status(rejection.status()), rejection.body_text())
    }
}

/// A line of text of 1 to `most` characters, without its margins.
pub(crate) fn line<'a>(value: &'a str, field: &str, most: usize) -> Result<&'a str, Problem> {
    let line = value.trim();
    if (1..=most).contains(&line.chars().count()) && !line.chars().any(char::is_control) {
        return Ok(line);
    }
    Err(Problem::new(ProblemKind::InvalidField, format!("`{field}` must be one line of 1 to {most} characters")))
}
