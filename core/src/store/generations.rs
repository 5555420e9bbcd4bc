//! Generations of an index: what they were made with, which one answers, and their physical tables.

use docbrain_crds::Chunking;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Error, TenantTx};
use crate::embed::ModelName;
use crate::ids::{GenerationId, KnowledgeSourceId};

/// What a generation is made with. Vectors and chunks of different settings never mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerationSettings {
    /// Name of the embedding model.
    pub embedding_model: String,
    /// Precision of the embedding model, such as `int8`.
    pub embedding_precision: String,
    /// Dimensions of its vectors.
    pub dimensions: usize,
    /// How documents are cut.
    pub chunking: Chunking,
    /// Version of the code that parses, cuts and weighs; a change of it re-indexes everything.
    pub pipeline: u32,
}

impl GenerationSettings {
    /// A hash that is equal exactly when the settings are.
    pub fn hash(&self) -> String {
        hex::encode(&Sha256::digest(serde_json::to_vec(self).expect("settings are JSON"))[..16])
    }
}

/// A generation that a run writes into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationRow {
    /// Its id.
    pub id: GenerationId,
    /// Whether it answers questions already.
    pub active: bool,
    /// Whether it has a table of its own.
    pub own_table: bool,
    /// Chunks in it.
    pub chunks: u32,
}

impl GenerationRow {
    /// The table its chunks are in.
    pub(super) fn table(&self) -> String {
        if self.own_table { format!("chunks_{}", self.id.0.simple()) } else { "chunks".to_owned() }
    }
}

/// The generation with these settings: the active one, one that an earlier run began, or a new one. The first
/// generation of a source answers at once; a later one when [`activate`] is called.
pub async fn ensure(
    tx: &mut TenantTx,
    source: KnowledgeSourceId,
    settings: &GenerationSettings,
) -> Result<GenerationRow, Error> {
    let hash = settings.hash();
    let existing = sqlx::query!(
        "select id, state, settings_hash, own_table, chunks from generations
         where tenant_id = $1 and knowledge_source_id = $2 and state in ('active', 'building')",
        tx.tenant().0,
        source.0,
    )
    .fetch_all(&mut **tx)
    .await?;
    if let Some(row) = existing.iter().find(|row| row.settings_hash == hash) {
        return Ok(GenerationRow {
            id: row.id.into(),
            active: row.state == "active",
            own_table: row.own_table,
            chunks: count(row.chunks),
        });
    }
    for stale in existing.iter().filter(|row| row.state == "building") {
        drop(tx, stale.id.into()).await?;
    }
    let active = !existing.iter().any(|row| row.state == "active");
    let id = GenerationId::new();
    sqlx::query!(
        "insert into generations (tenant_id, id, knowledge_source_id, settings, settings_hash, state, activated_at)
         values ($1, $2, $3, $4, $5, $6, case when $6 = 'active' then now() end)",
        tx.tenant().0,
        id.0,
        source.0,
        serde_json::to_value(settings).expect("settings are JSON"),
        hash,
        if active { "active" } else { "building" },
    )
    .execute(&mut **tx)
    .await?;
    Ok(GenerationRow { id, active, own_table: false, chunks: 0 })
}

/// The generation as it stands.
pub async fn get(tx: &mut TenantTx, id: GenerationId) -> Result<GenerationRow, Error> {
    let row = sqlx::query!(
        "select state, own_table, chunks from generations where tenant_id = $1 and id = $2",
        tx.tenant().0,
        id.0
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(Error::NotFound { what: "generation" })?;
    Ok(GenerationRow { id, active: row.state == "active", own_table: row.own_table, chunks: count(row.chunks) })
}

/// Knowledge sources whose index was made with another embedding model than this one: questions no longer find what
/// they should until a run has made it again.
pub async fn sources_of_other_models(tx: &mut TenantTx, model: &ModelName) -> Result<Vec<KnowledgeSourceId>, Error> {
    let ids = sqlx::query_scalar!(
        "select knowledge_source_id from generations
         where tenant_id = $1 and state = 'active' and chunks > 0
           and (settings ->> 'embedding_model', settings ->> 'embedding_precision') is distinct from ($2, $3)",
        tx.tenant().0,
        model.name,
        model.precision,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(ids.into_iter().map(KnowledgeSourceId).collect())
}

/// With which embedding models these generations were made; those that are gone are left out.
pub async fn models(tx: &mut TenantTx, ids: &[GenerationId]) -> Result<Vec<(GenerationId, ModelName)>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"select id, settings ->> 'embedding_model' as "name!", settings ->> 'embedding_precision' as "precision!"
         from generations where tenant_id = $1 and id = any ($2)"#,
        tx.tenant().0,
        &ids,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id.into(), ModelName { name: row.name, precision: row.precision })).collect())
}

/// Makes `id` the generation that answers. The one before stays for a rollback, and older ones go.
pub async fn activate(tx: &mut TenantTx, source: KnowledgeSourceId, id: GenerationId) -> Result<(), Error> {
    let old = sqlx::query_scalar!(
        "select id from generations where tenant_id = $1 and knowledge_source_id = $2 and state = 'retired'",
        tx.tenant().0,
        source.0,
    )
    .fetch_all(&mut **tx)
    .await?;
    for generation in old {
        drop(tx, generation.into()).await?;
    }
    sqlx::query!(
        "update generations set state = 'retired' where tenant_id = $1 and knowledge_source_id = $2 and state = 'active'",
        tx.tenant().0,
        source.0,
    )
    .execute(&mut **tx)
    .await?;
    let activated = sqlx::query!(
        "update generations set state = 'active', activated_at = now() where tenant_id = $1 and id = $2 and state = 'building'",
        tx.tenant().0,
        id.0,
    )
    .execute(&mut **tx)
    .await?;
    if activated.rows_affected() == 0 {
        return Err(Error::NotFound { what: "generation" });
    }
    Ok(())
}

/// Removes a generation that does not answer.
pub async fn drop(tx: &mut TenantTx, id: GenerationId) -> Result<(), Error> {
    sqlx::query!("select generation_drop($1)", id.0).execute(&mut **tx).await?;
    Ok(())
}

/// Gives a generation its own table with a vector index.
pub async fn give_own_table(tx: &mut TenantTx, id: GenerationId, dimensions: usize) -> Result<(), Error> {
    let dimensions = i32::try_from(dimensions).unwrap_or(i32::MAX);
    sqlx::query!("select generation_give_own_table($1, $2)", id.0, dimensions).execute(&mut **tx).await?;
    Ok(())
}

/// Counts again what the ranking needs to know of the whole: chunks, in how many of them each term occurs, languages.
pub async fn refresh_statistics(tx: &mut TenantTx, id: GenerationId) -> Result<(), Error> {
    let table = get(tx, id).await?.table();
    sqlx::query!("delete from generation_terms where tenant_id = $1 and generation_id = $2", tx.tenant().0, id.0)
        .execute(&mut **tx)
        .await?;
    sqlx::query(AssertSqlSafe(format!(
        "insert into generation_terms (tenant_id, generation_id, term, chunks)
         select $1, $2, term, count(*) from {table} c, unnest(c.terms) term where c.generation_id = $2 group by term"
    )))
    .bind(tx.tenant().0)
    .bind(id.0)
    .execute(&mut **tx)
    .await?;
    sqlx::query(AssertSqlSafe(format!(
        "update generations g set
            chunks = (select count(*) from {table} c where c.generation_id = g.id),
            languages = coalesce((
                select array_agg(distinct d.language) from indexed_documents i
                join documents d on d.tenant_id = i.tenant_id and d.id = i.document_id
                where i.tenant_id = g.tenant_id and i.generation_id = g.id and d.language is not null), '{{en}}')
         where g.tenant_id = $1 and g.id = $2"
    )))
    .bind(tx.tenant().0)
    .bind(id.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn count(stored: i32) -> u32 {
    u32::try_from(stored).unwrap_or(0)
}
