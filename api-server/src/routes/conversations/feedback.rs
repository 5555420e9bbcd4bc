//! What a visitor thinks of an answer.

use axum::extract::State;
use axum::http::StatusCode;
use docbrain_core::ids::MessageId;
use docbrain_core::store::messages::{self, Rating};
use docbrain_core::store::{Pool, TenantTx};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access::TenantAccess;
use crate::extract::{Json, Path};
use crate::problem::{Problem, ProblemKind};

/// Longest comment in characters.
const LONGEST_COMMENT: usize = 2_000;

/// What a visitor thinks of an answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedbackRequest {
    /// Whether it helped.
    rating: RatingBody,
    /// What there is to add.
    #[schema(max_length = 2000, pattern = "^[^\\u0000]*$", example = "This is about version 1.")]
    comment: Option<String>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RatingBody {
    /// It helped.
    Up,
    /// It did not.
    Down,
}

/// Rate an answer
///
/// A rating replaces the one before it, with its comment.
#[utoipa::path(
    put, path = "/messages/{id}/feedback", tag = "conversations",
    params(("id" = Uuid, Path, description = "`message_id` of the reply")), request_body = FeedbackRequest,
    extensions(("x-problems" = json!(["bad_request", "message_not_found", "body_too_large", "unsupported_media_type", "invalid_field"]))),
    responses((status = 204, description = "It is rated so"))
)]
pub(crate) async fn put_feedback(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
    Json(request): Json<FeedbackRequest>,
) -> Result<StatusCode, Problem> {
    let comment = request.comment.as_deref().map(str::trim).filter(|comment| !comment.is_empty());
    // Postgres stores no NUL.
    if comment.is_some_and(|comment| comment.chars().count() > LONGEST_COMMENT || comment.contains('\0')) {
        return Err(Problem::new(
            ProblemKind::InvalidField,
            "`comment` must be a text of at most 2000 characters, without NUL",
        ));
    }
    let rating = match request.rating {
        RatingBody::Up => Rating::Up,
        RatingBody::Down => Rating::Down,
    };
    rate(&pool, &access, &id, Some(rating), comment).await
}

/// Take the rating of an answer back
#[utoipa::path(
    delete, path = "/messages/{id}/feedback", tag = "conversations",
    params(("id" = Uuid, Path, description = "`message_id` of the reply")),
    extensions(("x-problems" = json!(["message_not_found"]))),
    responses((status = 204, description = "It is not rated"))
)]
pub(crate) async fn delete_feedback(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    rate(&pool, &access, &id, None, None).await
}

async fn rate(
    pool: &Pool,
    access: &TenantAccess,
    id: &str,
    rating: Option<Rating>,
    comment: Option<&str>,
) -> Result<StatusCode, Problem> {
    let unknown = |_| {
        Problem::new(
            ProblemKind::MessageNotFound,
            "the id of an answer is a UUID, as its reply's `message_id` gives it",
        )
    };
    let id: MessageId = id.parse().map_err(unknown)?;
    let mut tx = TenantTx::begin(pool, access.tenant).await?;
    messages::rate(&mut tx, id, access.visitor_id(), rating, comment).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
