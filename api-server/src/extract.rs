//! What a request holds, read so that a failure is a [`Problem`].

use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
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

/// A query string of two parts: the pairs that `A` names, and all others, which are `B`.
#[derive(Debug)]
pub(crate) struct SplitQuery<A, B>(pub(crate) A, pub(crate) B);

/// What takes some pairs of a query string, as other routes' query strings have them too.
pub(crate) trait Pairs: DeserializeOwned {
    /// The names of the pairs.
    const NAMES: &[&str];
}

/// What can be read from the pairs of a query string.
pub(crate) trait FromPairs: Sized {
    fn from_pairs(pairs: &[&str]) -> Result<Self, Problem>;
}

impl<T: DeserializeOwned> FromPairs for T {
    fn from_pairs(pairs: &[&str]) -> Result<Self, Problem> {
        let uri = Uri::builder().path_and_query(format!("/?{}", pairs.join("&"))).build().expect("it is part of a URI");
        Ok(axum::extract::Query::try_from_uri(&uri)?.0)
    }
}

impl<A: Pairs, B: FromPairs> FromPairs for SplitQuery<A, B> {
    fn from_pairs(pairs: &[&str]) -> Result<Self, Problem> {
        let (own, others): (Vec<&str>, Vec<&str>) =
            pairs.iter().partition(|pair| A::NAMES.contains(&pair.split('=').next().unwrap_or_default()));
        Ok(Self(A::from_pairs(&own)?, B::from_pairs(&others)?))
    }
}

impl<A: Pairs, B: FromPairs, S: Send + Sync> FromRequestParts<S> for SplitQuery<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::from_pairs(&parts.uri.query().unwrap_or_default().split('&').collect::<Vec<_>>())
    }
}

// What a rejection says is about the client's own bytes, so the client may read it.

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        of_body(rejection.status(), rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        of_body(rejection.status(), rejection.body_text())
    }
}

fn of_body(status: StatusCode, text: String) -> Problem {
    match ProblemKind::of_status(status) {
        // How it was being read says nothing to whoever sent it.
        ProblemKind::BodyTooLarge => Problem::of_status(status),
        kind => Problem::new(kind, text),
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::paging::Page;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        search: Option<String>,
    }

    async fn split(uri: &str) -> Result<SplitQuery<Page, Filter>, Problem> {
        let (mut parts, ()) = axum::http::Request::get(uri).body(()).unwrap().into_parts();
        SplitQuery::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn each_part_takes_its_own_pairs() {
        let SplitQuery(page, filter) = split("/?search=a%26b&limit=7&after=Mg").await.unwrap();
        assert_eq!((page.rows().unwrap(), page.after::<u32>().unwrap()), (8, Some(2)));
        assert_eq!(filter.search.as_deref(), Some("a&b"));
        let SplitQuery(page, filter) = split("/").await.unwrap();
        assert_eq!((page.rows().unwrap(), filter), (101, Filter::default()));
        for bad in ["/?limit=x", "/?page=2", "/?limit=1&limit=2", "/?limits=1", "/?search=a&search=b"] {
            assert_eq!(split(bad).await.err().map(|problem| problem.kind), Some(ProblemKind::BadRequest), "{bad}");
        }
    }
}
