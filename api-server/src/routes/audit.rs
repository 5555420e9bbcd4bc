//! Who changed what, when, from where.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use docbrain_core::store::audit::{self, AuditRow};
use docbrain_core::store::{Pool, TenantTx};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::TenantAccess;
use crate::extract::Query;
use crate::paging::Page;
use crate::problem::Problem;

/// A part of the audit log.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditLog {
    /// Newest first.
    changes: Vec<ChangeBody>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// A change.
#[derive(Serialize, ToSchema)]
struct ChangeBody {
    /// Its id.
    id: Uuid,
    /// When.
    at: DateTime<Utc>,
    /// `account`, `token`, `installation`, or `manager`: a field manager of the custom resource, such as `argocd-controller`.
    #[schema(example = "account")]
    actor_kind: String,
    /// Who.
    #[schema(example = "ada@example.com")]
    actor: String,
    /// A noun and a verb.
    #[schema(example = "chatbot.update")]
    action: String,
    /// What was changed.
    #[schema(example = "assistant")]
    target: String,
    /// How; never a secret.
    detail: Value,
    /// From which address.
    ip: Option<String>,
    /// By which request.
    request_id: String,
}

/// The changes of the tenant's configuration, keys and members
#[utoipa::path(
    get, path = "/audit", tag = "tenants", params(Page),
    extensions(("x-problems" = json!(["bad_request", "invalid_field"]))),
    responses((status = 200, description = "The changes, newest first", body = AuditLog))
)]
pub(crate) async fn list_changes(
    State(pool): State<Pool>,
    access: TenantAccess,
    Query(page): Query<Page>,
) -> Result<Json<AuditLog>, Problem> {
    let (rows, before) = (page.rows()?, page.after()?);
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let mut changes = audit::list(&mut tx, before, rows).await?;
    tx.commit().await?;
    let next = page.cut(&mut changes, |last| last.id);
    Ok(Json(AuditLog { changes: changes.into_iter().map(Into::into).collect(), next }))
}

impl From<AuditRow> for ChangeBody {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            at: row.at,
            actor_kind: row.actor_kind,
            actor: row.actor,
            action: row.action,
            target: row.target,
            detail: row.detail,
            ip: row.ip,
            request_id: row.request_id,
        }
    }
}
