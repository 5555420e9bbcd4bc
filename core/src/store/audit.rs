//! The audit log: who changed what, when, from where. Rows are only ever added.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Error, TenantTx};

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// What kind of caller.
    pub kind: ActorKind,
    /// Its name for people: an e-mail, a token's name.
    pub name: String,
    /// The address it calls from.
    pub ip: Option<IpAddr>,
    /// The request, as logs and answers name it; of a manager the resource's uid and generation.
    pub request_id: String,
}

/// What kind of caller an [`Actor`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// A person.
    Account(crate::ids::AccountId),
    /// A program with an API token.
    Token(crate::ids::ApiTokenId),
    /// Whoever runs the installation.
    Installation,
    /// A field manager of a custom resource, such as `argocd-controller`.
    Manager,
}

impl ActorKind {
    fn columns(self) -> (&'static str, Option<Uuid>) {
        match self {
            Self::Account(id) => ("account", Some(id.0)),
            Self::Token(id) => ("token", Some(id.0)),
            Self::Installation => ("installation", None),
            Self::Manager => ("manager", None),
        }
    }
}

/// Notes a change, in the transaction that makes it. `action` is a noun and a verb, such as `chatbot.update`; `detail`
/// holds no secret.
pub async fn record(tx: &mut TenantTx, actor: &Actor, action: &str, target: &str, detail: &Value) -> Result<(), Error> {
    let (kind, id) = actor.kind.columns();
    sqlx::query!(
        "insert into audit_log (tenant_id, id, actor_kind, actor_id, actor, action, target, detail, ip, request_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::inet, $10)",
        tx.tenant().0,
        Uuid::now_v7(),
        kind,
        id,
        actor.name,
        action,
        target,
        detail,
        actor.ip.map(|ip| ip.to_string()),
        actor.request_id,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A change as noted.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Orders changes by time.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// `account`, `token`, `installation` or `manager`.
    pub actor_kind: String,
    /// Who.
    pub actor: String,
    /// A noun and a verb.
    pub action: String,
    /// What was changed.
    pub target: String,
    /// How.
    pub detail: Value,
    /// From where.
    pub ip: Option<String>,
    /// By which request.
    pub request_id: String,
}

/// The tenant's changes, newest first, older than `before`; at most `limit`.
pub async fn list(tx: &mut TenantTx, before: Option<Uuid>, limit: u32) -> Result<Vec<AuditRow>, Error> {
    let rows = sqlx::query_as!(
        AuditRow,
        r#"select id, at, actor_kind, actor, action, target, detail, host(ip) as ip, request_id from audit_log
         where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3"#,
        tx.tenant().0,
        before,
        i64::from(limit),
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}
