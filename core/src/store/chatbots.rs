//! Chatbots, and all that a question to one needs to know of it.

use docbrain_crds::{ChatbotSpec, Quota};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::specs::Origin;
use super::{Error, Pool, TenantTx, Written};
use crate::ids::{ChatbotId, GenerationId, KnowledgeSourceId, TenantId};
use crate::lexical::Language;

/// How a caller names a chatbot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatbotRef {
    /// By id.
    Id(ChatbotId),
    /// By name within the tenant.
    Name(String),
}

impl From<&str> for ChatbotRef {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }
}

/// A chatbot with the index its answers are drawn from.
#[derive(Clone, Debug)]
pub struct ChatbotRow {
    /// Its id.
    pub id: ChatbotId,
    /// Its name, unique within the tenant.
    pub name: String,
    /// Its spec.
    pub spec: ChatbotSpec,
    /// Whether its tenant, or it, is suspended.
    pub suspended: bool,
    /// Its knowledge sources that exist.
    pub sources: Vec<KnowledgeSourceId>,
    /// Their active generations.
    pub generations: Vec<GenerationId>,
    /// The languages of their documents.
    pub languages: Vec<Language>,
    /// The upper limits of its tenant.
    pub quota: Quota,
}

/// The chatbot of this id or name.
pub async fn get(tx: &mut TenantTx, chatbot: &ChatbotRef) -> Result<ChatbotRow, Error> {
    let tenant = tx.tenant();
    find(&mut **tx, tenant, chatbot).await
}

/// As [`get`], without a transaction: one round trip.
pub async fn find<'e>(
    executor: impl PgExecutor<'e>,
    tenant: TenantId,
    chatbot: &ChatbotRef,
) -> Result<ChatbotRow, Error> {
    let (id, name) = match chatbot {
        ChatbotRef::Id(id) => (Some(id.0), None),
        ChatbotRef::Name(name) => (None, Some(name.as_str())),
    };
    let row = sqlx::query!(
        r#"select id as "id!", name as "name!", spec as "spec!", suspended as "suspended!", sources, generations, languages,
                quota
         from chatbot_of($1, $2, $3)"#,
        tenant.0,
        id,
        name,
    )
    .fetch_optional(executor)
    .await?
    .ok_or(Error::NotFound { what: "chatbot" })?;
    let quota = row.quota.map(serde_json::from_value).transpose();
    Ok(ChatbotRow {
        id: row.id.into(),
        name: row.name,
        spec: serde_json::from_value(row.spec).map_err(|source| Error::Inconsistent { table: "chatbots", source })?,
        suspended: row.suspended,
        sources: row.sources.unwrap_or_default().into_iter().map(KnowledgeSourceId).collect(),
        generations: row.generations.unwrap_or_default().into_iter().map(GenerationId).collect(),
        languages: row.languages.unwrap_or_default().iter().map(|code| Language::from_code(code)).collect(),
        quota: quota.map_err(|source| Error::Inconsistent { table: "tenants", source })?.unwrap_or_default(),
    })
}

/// Writes a chatbot's projection.
pub async fn put(tx: &mut TenantTx, name: &str, spec: &ChatbotSpec, origin: Origin) -> Result<Written, Error> {
    let spec_json = serde_json::to_value(spec).expect("a spec is JSON");
    let row = sqlx::query!(
        "insert into chatbots as c (tenant_id, id, name, spec, suspended, resource_uid, resource_generation)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (tenant_id, name) do update set
            spec = excluded.spec, suspended = excluded.suspended, revision = c.revision + 1, updated_at = now(),
            resource_uid = excluded.resource_uid, resource_generation = excluded.resource_generation
         returning id, revision",
        tx.tenant().0,
        ChatbotId::new().0,
        name,
        spec_json,
        spec.suspended,
        origin.uid,
        origin.generation,
    )
    .fetch_one(&mut **tx)
    .await?;
    let sources: Vec<String> = spec.knowledge_sources.iter().map(|source| source.name.clone()).collect();
    sqlx::query!(
        "with gone as (
            delete from chatbot_sources where tenant_id = $1 and chatbot_id = $2 and source_name <> all ($3::text[]))
         insert into chatbot_sources (tenant_id, chatbot_id, source_name) select $1, $2, unnest($3::text[])
         on conflict do nothing",
        tx.tenant().0,
        row.id,
        &sources,
    )
    .execute(&mut **tx)
    .await?;
    Ok(Written { id: row.id, revision: row.revision, changed: true })
}

/// Deletes a chatbot with its conversations.
pub async fn delete(tx: &mut TenantTx, id: ChatbotId) -> Result<(), Error> {
    let deleted = sqlx::query!("delete from chatbots where tenant_id = $1 and id = $2", tx.tenant().0, id.0)
        .execute(&mut **tx)
        .await?;
    if deleted.rows_affected() == 0 {
        return Err(Error::NotFound { what: "chatbot" });
    }
    Ok(())
}

/// A chatbot as listed.
#[derive(Clone, Debug)]
pub struct ChatbotSummary {
    /// Its id.
    pub id: ChatbotId,
    /// Its name, unique within the tenant.
    pub name: String,
    /// Its spec.
    pub spec: ChatbotSpec,
    /// Whether its tenant, or it, is suspended.
    pub suspended: bool,
    /// Counts the changes of the spec.
    pub revision: i64,
}

/// All chatbots of the tenant, by name.
pub async fn list(tx: &mut TenantTx) -> Result<Vec<ChatbotSummary>, Error> {
    let rows = sqlx::query!(
        r#"select c.id, c.name, c.spec, c.suspended or t.suspended as "suspended!", c.revision
         from chatbots c join tenants t using (tenant_id)
         where c.tenant_id = $1 order by c.name"#,
        tx.tenant().0,
    )
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter().map(|row| summary(row.id, row.name, row.spec, row.suspended, row.revision)).collect()
}

/// The chatbot of this id or name, without its index.
pub async fn describe(tx: &mut TenantTx, chatbot: &ChatbotRef) -> Result<ChatbotSummary, Error> {
    let (id, name) = match chatbot {
        ChatbotRef::Id(id) => (Some(id.0), None),
        ChatbotRef::Name(name) => (None, Some(name.as_str())),
    };
    let row = sqlx::query!(
        r#"select c.id, c.name, c.spec, c.suspended or t.suspended as "suspended!", c.revision
         from chatbots c join tenants t using (tenant_id)
         where c.tenant_id = $1 and (c.id = $2 or c.name = $3)"#,
        tx.tenant().0,
        id,
        name,
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(Error::NotFound { what: "chatbot" })?;
    summary(row.id, row.name, row.spec, row.suspended, row.revision)
}

fn summary(
    id: Uuid,
    name: String,
    spec: serde_json::Value,
    suspended: bool,
    revision: i64,
) -> Result<ChatbotSummary, Error> {
    let spec = serde_json::from_value(spec).map_err(|source| Error::Inconsistent { table: "chatbots", source })?;
    Ok(ChatbotSummary { id: id.into(), name, spec, suspended, revision })
}

/// Names of the existing knowledge sources that this chatbot uses and no other does.
pub async fn sources_of_no_other(tx: &mut TenantTx, id: ChatbotId) -> Result<Vec<String>, Error> {
    let names = sqlx::query_scalar!(
        "select s.name from chatbot_sources b
         join knowledge_sources s on s.tenant_id = b.tenant_id and s.name = b.source_name
         where b.tenant_id = $1 and b.chatbot_id = $2 and not exists (
            select 1 from chatbot_sources o
            where o.tenant_id = b.tenant_id and o.source_name = b.source_name and o.chatbot_id <> b.chatbot_id)",
        tx.tenant().0,
        id.0,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(names)
}

/// The tenant of the chatbot with this id: a widget knows nothing else.
pub async fn tenant_of(pool: &Pool, id: ChatbotId) -> Result<Option<TenantId>, Error> {
    let tenant = sqlx::query_scalar!("select tenant_of_chatbot($1)", id.0).fetch_one(pool).await?;
    Ok(tenant.map(TenantId))
}

/// Whether pages of this origin may embed any chatbot at all.
pub async fn knows_origin(pool: &Pool, origin: &str) -> Result<bool, Error> {
    let known = sqlx::query_scalar!(r#"select origin_is_known($1) as "known!""#, origin).fetch_one(pool).await?;
    Ok(known)
}
