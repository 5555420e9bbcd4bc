//! Revisions of configuration as entity tags (RFC 9110 sections 8.8.3 and 13.1.1): nobody overwrites what they have not seen.

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::{ETAG, HeaderName, IF_MATCH};
use axum::http::request::Parts;

use crate::problem::{Problem, ProblemKind};

/// The revision of what was just made.
pub(crate) const FIRST_REVISION: i64 = 1;

/// The entity tag of a revision, as a header.
pub(crate) fn etag(revision: i64) -> (HeaderName, HeaderValue) {
    (ETAG, format!("\"{revision}\"").parse().expect("a number is header text"))
}

/// The revision a change was made for; `None` stands for `*`: whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IfMatch(pub(crate) Option<i64>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let value = parts.headers.get(IF_MATCH).ok_or_else(|| {
            Problem::new(
                ProblemKind::PreconditionRequired,
                "send the `ETag` of what was read as `If-Match`, or `If-Match: *` to change whatever is there",
            )
        })?;
        value.to_str().ok().and_then(Self::read).ok_or_else(|| {
            Problem::new(ProblemKind::PreconditionFailed, "`If-Match` holds no `ETag` that this resource ever had")
        })
    }
}

impl IfMatch {
    fn read(value: &str) -> Option<Self> {
        if value.trim() == "*" {
            return Some(Self(None));
        }
        let tag = value.trim().strip_prefix("W/").unwrap_or(value.trim());
        Some(Self(Some(tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_they_are_written() {
        let read = IfMatch::read;
        assert_eq!(read(etag(7).1.to_str().unwrap()), Some(IfMatch(Some(7))));
        assert_eq!(read("W/\"7\""), Some(IfMatch(Some(7))));
        assert_eq!(read(" * "), Some(IfMatch(None)));
        for other in ["7", "\"x\"", "\"", ""] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
