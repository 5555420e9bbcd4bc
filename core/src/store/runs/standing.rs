//! How a knowledge source stands: its runs that are open, the last ones that ended, and what it holds.

use chrono::{DateTime, Utc};

use super::super::documents::{self, Counts};
use super::super::{Error, TenantTx};
use super::RunState;
use crate::ids::{KnowledgeSourceId, RunId};

/// Ended runs that are told of.
const RECENT: i64 = 5;

/// A knowledge source's documents and runs.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Its documents.
    pub documents: Counts,
    /// Runs that are queued or running, the one that runs first, then the oldest.
    pub open: Vec<RunStanding>,
    /// The last runs that ended, latest first.
    pub ended: Vec<RunStanding>,
    /// The last run that went well.
    pub last_success: Option<RunStanding>,
}

/// A run as an operator sees it.
#[derive(Clone, Debug)]
pub struct RunStanding {
    /// Its id.
    pub id: RunId,
    /// What set it off.
    pub trigger: String,
    /// The request that asked for it, where one did.
    pub request_id: Option<String>,
    /// How far it is.
    pub state: RunState,
    /// Whether a process holds it and has been heard of lately.
    pub held: bool,
    /// Documents of the source when it began.
    pub documents_total: i32,
    /// Indexed by it.
    pub documents_indexed: i32,
    /// Could not be indexed.
    pub documents_failed: i32,
    /// Chunks written.
    pub chunks: i32,
    /// When a process first began it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// How the knowledge source stands.
pub async fn standing(tx: &mut TenantTx, source: KnowledgeSourceId) -> Result<Standing, Error> {
    let rows = sqlx::query!(
        r#"select id as "id: RunId", trigger, request_id, state, reason, documents_total, documents_indexed, documents_failed, chunks,
                started_at, finished_at, coalesce(lease_expires_at > now(), false) as "held!"
         from runs
         where tenant_id = $1 and knowledge_source_id = $2 and (
            state in ('queued', 'running')
            or id in (select id from runs where tenant_id = $1 and knowledge_source_id = $2 and finished_at is not null
                      order by finished_at desc, id desc limit $3)
            or id = (select id from runs where tenant_id = $1 and knowledge_source_id = $2 and state = 'succeeded'
                     order by finished_at desc, id desc limit 1))
         order by finished_at desc nulls first, state desc, created_at, id"#,
        tx.tenant().0,
        source.0,
        RECENT,
    )
    .fetch_all(&mut **tx)
    .await?;
    let mut standing = Standing { documents: documents::count(tx, Some(&[source])).await?, ..Standing::default() };
    for row in rows {
        let run = RunStanding {
            id: row.id,
            trigger: row.trigger,
            request_id: row.request_id,
            state: RunState::read(&row.state, row.reason),
            held: row.held,
            documents_total: row.documents_total,
            documents_indexed: row.documents_indexed,
            documents_failed: row.documents_failed,
            chunks: row.chunks,
            started_at: row.started_at,
            finished_at: row.finished_at,
        };
        if !run.state.has_ended() {
            standing.open.push(run);
            continue;
        }
        if run.state == RunState::Succeeded && standing.last_success.is_none() {
            standing.last_success = Some(run.clone());
        }
        if standing.ended.len() < RECENT.unsigned_abs().try_into().unwrap_or(usize::MAX) {
            standing.ended.push(run);
        }
    }
    Ok(standing)
}
