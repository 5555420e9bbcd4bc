//! What the runs of a knowledge source have fetched: the pages of web sites, and the state a source was fetched at.

use super::{Error, TenantTx};
use crate::ids::{DocumentId, KnowledgeSourceId, RunId};

/// A page as a run saw it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPage {
    /// Its document; `None`: it was read for its links alone.
    pub document: Option<DocumentId>,
    /// The document's path.
    pub path: Option<String>,
    /// Size of the document's original.
    pub bytes: u64,
    /// The page's `ETag`.
    pub etag: Option<String>,
    /// Its `Last-Modified`.
    pub last_modified: Option<String>,
    /// The addresses it links to, as far as they were to be followed.
    pub links: Vec<String>,
}

/// A page that was read.
#[derive(Clone, Copy, Debug)]
pub struct NewPage<'a> {
    /// Its URL without the scheme.
    pub address: &'a str,
    /// Its document, where it is one.
    pub document: Option<DocumentId>,
    /// Its `ETag`.
    pub etag: Option<&'a str>,
    /// Its `Last-Modified`.
    pub last_modified: Option<&'a str>,
    /// The addresses it links to, as far as they are to be followed.
    pub links: &'a [String],
}

/// What is known of the page at an address.
pub async fn page(tx: &mut TenantTx, source: KnowledgeSourceId, address: &str) -> Result<Option<FetchedPage>, Error> {
    let row = sqlx::query!(
        r#"select p.document_id, p.etag, p.last_modified, p.links, d.size_bytes as "size_bytes?", d.path as "path?"
         from fetched_pages p left join documents d on d.tenant_id = p.tenant_id and d.id = p.document_id
         where p.tenant_id = $1 and p.knowledge_source_id = $2 and p.address = $3"#,
        tx.tenant().0,
        source.0,
        address,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| FetchedPage {
        document: row.document_id.map(DocumentId),
        path: row.path,
        bytes: row.size_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
        etag: row.etag,
        last_modified: row.last_modified,
        links: row.links,
    }))
}

/// Keeps what a run needs the next time it comes to a page.
pub async fn put_page(
    tx: &mut TenantTx,
    source: KnowledgeSourceId,
    run: RunId,
    page: &NewPage<'_>,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into fetched_pages (tenant_id, knowledge_source_id, address, document_id, etag, last_modified, links, run_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (tenant_id, knowledge_source_id, address) do update set
            document_id = excluded.document_id, etag = excluded.etag, last_modified = excluded.last_modified,
            links = excluded.links, run_id = excluded.run_id",
        tx.tenant().0,
        source.0,
        page.address,
        page.document.map(|id| id.0),
        page.etag,
        page.last_modified,
        page.links,
        run.0,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes that a run came to a page that has not changed.
pub async fn keep_page(tx: &mut TenantTx, source: KnowledgeSourceId, run: RunId, address: &str) -> Result<(), Error> {
    sqlx::query!(
        "update fetched_pages set run_id = $4 where tenant_id = $1 and knowledge_source_id = $2 and address = $3",
        tx.tenant().0,
        source.0,
        address,
        run.0,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Forgets the pages that a run did not come to. Their documents are for the caller.
pub async fn forget_others(tx: &mut TenantTx, source: KnowledgeSourceId, run: RunId) -> Result<(), Error> {
    sqlx::query!(
        "delete from fetched_pages where tenant_id = $1 and knowledge_source_id = $2 and run_id <> $3",
        tx.tenant().0,
        source.0,
        run.0,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Forgets all pages: the next run reads each one anew.
pub async fn forget_all(tx: &mut TenantTx, source: KnowledgeSourceId) -> Result<(), Error> {
    sqlx::query!(
        "delete from fetched_pages where tenant_id = $1 and knowledge_source_id = $2",
        tx.tenant().0,
        source.0,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What the source was fetched at, in the fetcher's own words.
pub async fn state(tx: &mut TenantTx, source: KnowledgeSourceId) -> Result<Option<String>, Error> {
    let state = sqlx::query_scalar!(
        "select fetched_state from knowledge_sources where tenant_id = $1 and id = $2",
        tx.tenant().0,
        source.0,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(state.flatten())
}

/// Notes what the source was fetched at; `None`: the next run looks at everything.
pub async fn set_state(tx: &mut TenantTx, source: KnowledgeSourceId, state: Option<&str>) -> Result<(), Error> {
    sqlx::query!(
        "update knowledge_sources set fetched_state = $3 where tenant_id = $1 and id = $2",
        tx.tenant().0,
        source.0,
        state,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A document of the source is wanted anew, or was taken away: the next run reads the repository though it be at the commit
/// of the last.
pub(super) async fn forget_commit(tx: &mut TenantTx, source: KnowledgeSourceId) -> Result<(), Error> {
    sqlx::query!(
        "update knowledge_sources set fetched_state = null
         where tenant_id = $1 and id = $2 and starts_with(fetched_state, 'git:')",
        tx.tenant().0,
        source.0,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
