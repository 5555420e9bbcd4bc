//! The file that a document was made from.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use docbrain_core::ids::TenantId;
use docbrain_core::store::{Pool, TenantTx, documents};
use docbrain_core::telemetry::Scope;
use futures::{Stream, stream};

use crate::access::TenantAccess;
use crate::attachment;
use crate::extract::Path;
use crate::middleware::log_causes;
use crate::problem::Problem;

/// Bytes that are held in memory at a time.
const SLICE_BYTES: u32 = 1024 * 1024;

/// The file that a document was made from
///
/// It is always to be saved, never to be shown: nobody knows what an uploaded file does in a browser.
#[utoipa::path(
    get, path = "/document/{id}/original", tag = "documents",
    params(
        ("id" = Uuid, Path, description = "Id of the document"),
        ("if-none-match" = Option<String>, Header, description = "`ETag` of the copy at hand")
    ),
    extensions(("x-problems" = json!(["document_not_found"]))),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream", body = String),
        (status = 304, description = "The copy at hand is the file")
    )
)]
pub(crate) async fn get_original(
    State(pool): State<Pool>,
    admin: TenantAccess,
    request: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = super::parse(&id)?;
    let mut tx = TenantTx::begin(&pool, admin.tenant).await?;
    let document = documents::get(&mut tx, id).await?;
    tx.commit().await?;
    let etag = format!("\"{}\"", hex::encode(&document.content_sha256));
    let name = document.path.rsplit('/').next().unwrap_or_default();
    let headers = ([(ETAG, HeaderValue::from_str(&etag).expect("a hash is ASCII"))], attachment::headers(name));
    if is_at_hand(&request, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let size = document.size_bytes;
    let reader = Reader {
        pool,
        tenant: admin.tenant,
        content_sha256: document.content_sha256,
        at: 0,
        size,
        scope: Scope::current(),
    };
    let kind = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CONTENT_LENGTH, HeaderValue::from(size)),
    ];
    Ok((headers, kind, Body::from_stream(reader.slices())).into_response())
}

/// Whether `If-None-Match` names the file (RFC 9110 §13.1.2).
fn is_at_hand(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
    })
}

struct Reader {
    pool: Pool,
    tenant: TenantId,
    content_sha256: Vec<u8>,
    at: u64,
    size: u64,
    scope: Scope,
}

impl Reader {
    fn slices(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::try_unfold(self, async |mut reader| {
            if reader.at >= reader.size {
                return Ok(None);
            }
            let slice = reader.slice().await.map_err(|problem| {
                reader.scope.enter(|| log_causes(&problem));
                io::Error::other("the original cannot be read")
            })?;
            reader.at += u64::from(SLICE_BYTES);
            Ok(Some((slice, reader)))
        })
    }

    async fn slice(&self) -> Result<Bytes, Problem> {
        let mut tx = TenantTx::begin(&self.pool, self.tenant).await?;
        let slice = documents::slice(&mut tx, &self.content_sha256, self.at, SLICE_BYTES).await?;
        tx.commit().await?;
        Ok(slice.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_tags_may_match() {
        let matches = |value: &'static str| {
            is_at_hand(&HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]), "\"ab\"")
        };
        assert!(["\"ab\"", "W/\"ab\"", "\"x\", \"ab\"", "*"].into_iter().all(matches));
        assert!(!["\"a\"", "ab", "", "\"AB\""].into_iter().any(matches));
        assert!(!is_at_hand(&HeaderMap::new(), "\"ab\""));
    }
}
