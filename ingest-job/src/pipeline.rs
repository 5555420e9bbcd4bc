//! One run on one screen: take the lease, fetch, find the work, index each document in a transaction of its own, finish.
//!
//! The process may be killed at any instruction. A document is either indexed with all its chunks or as it was; the
//! next process to take the lease finds the rest by what is missing.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use docbrain_core::ids::{DocumentId, KnowledgeSourceId, RunId, TenantId};
use docbrain_core::store::chunks::Reading;
use docbrain_core::store::documents::{MAX_ATTEMPTS, Work};
use docbrain_core::store::generations::{GenerationRow, GenerationSettings};
use docbrain_core::store::runs::{DocumentOutcome, LEASE, Lease, RunState};
use docbrain_core::store::{self, Pool, TenantTx, chunks, documents, generations, quotas, runs, sources};
use docbrain_crds::Chunking;
use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::fetch::media::parser_name;
use crate::fetch::{Fetch, Reach};
use crate::index::{Indexer, Rejection};

/// Changes when parsing, splitting or weighing changes so much that everything is to be indexed again.
pub const PIPELINE_VERSION: u32 = 1;

/// From how many chunks on a generation gets a table and a vector index of its own: below it the exact scan
/// costs little (docs/benchmarks.md).
const OWN_TABLE_FROM_CHUNKS: u32 = 500;

/// Documents begun in one statement; one that was begun before goes alone, so that it takes no other down with it.
const BATCH: usize = 64;

/// How much longer than a lease a process waits for one that is held.
const SLACK: Duration = Duration::from_secs(5);

/// What a run needs of its surroundings.
pub struct Pipeline {
    /// Postgres, as the tenant's ingestion role.
    pub pool: Pool,
    /// The tenant.
    pub tenant: TenantId,
    /// Bytes to chunks with their vectors.
    pub indexer: Indexer,
    /// How sources are fetched.
    pub reach: Reach,
    /// Documents worked on at the same time.
    pub concurrency: usize,
    /// Lets the run go, for another process to take at once.
    pub stop: CancellationToken,
}

/// How a run ended for this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every document was handled.
    Done,
    /// Another process has it, or it had ended before.
    NotOurs,
    /// It was told to stop; another process goes on.
    LetGo,
}

impl Pipeline {
    /// Asks for the run of a source that `trigger` sets off, and carries it out, unless the source is suspended. Where another
    /// run of the source is under way, it stays queued.
    pub async fn carry_out_triggered(&self, source: KnowledgeSourceId, trigger: &str) -> anyhow::Result<Ended> {
        let mut tx = self.begin().await?;
        if sources::get(&mut tx, source).await?.suspended {
            return Ok(Ended::NotOurs);
        }
        let run = runs::enqueue(&mut tx, source, trigger).await?;
        tx.commit().await?;
        self.carry_out(run).await
    }

    /// Carries out a run. An error that no document is to blame for (the database or the model server is gone) ends the
    /// run as failed, with its reason; its documents stay pending.
    pub async fn carry_out(&self, run: RunId) -> anyhow::Result<Ended> {
        let Some((lease, source)) = self.acquire(run).await? else {
            return Ok(Ended::NotOurs);
        };
        let outcome = tokio::select! {
            outcome = self.work_off(lease, source) => outcome,
            lost = self.keep_alive(lease) => Err(lost.into()),
            () = self.stop.cancelled() => return self.let_go(run).await,
        };
        match outcome {
            Ok(()) => Ok(Ended::Done),
            Err(error) => {
                if matches!(error.downcast_ref(), Some(store::Error::LeaseLost)) {
                    return Ok(Ended::NotOurs);
                }
                let mut tx = self.begin().await?;
                runs::fail(&mut tx, run, &format!("{error:#}")).await?;
                tx.commit().await?;
                Err(error)
            }
        }
    }

    /// Takes the run. A process that died holds its lease for a while yet, so one that is held is asked for again until it
    /// must have run out: whoever renews it until then lives. A run that waits for another one of its source is left queued.
    async fn acquire(&self, run: RunId) -> anyhow::Result<Option<(Lease, KnowledgeSourceId)>> {
        const PAUSE: Duration = Duration::from_secs(1);
        let deadline = Instant::now() + LEASE + SLACK;
        loop {
            let mut tx = self.begin().await?;
            if let Some(acquired) = runs::acquire(&mut tx, run).await? {
                tx.commit().await?;
                return Ok(Some(acquired));
            }
            // Another run of its source may have refused it, and with it the transaction.
            drop(tx);
            let mut tx = self.begin().await?;
            let is_held = match runs::get(&mut tx, run).await {
                Ok(run) => run.state == RunState::Running,
                Err(store::Error::NotFound { .. }) => false,
                Err(error) => return Err(error.into()),
            };
            drop(tx);
            let is_over = !is_held || Instant::now() >= deadline;
            if is_over || tokio::time::timeout(PAUSE, self.stop.cancelled()).await.is_ok() {
                return Ok(None);
            }
        }
    }

    async fn let_go(&self, run: RunId) -> anyhow::Result<Ended> {
        let mut tx = self.begin().await?;
        runs::expire(&mut tx, run).await?;
        tx.commit().await?;
        Ok(Ended::LetGo)
    }

    async fn work_off(&self, lease: Lease, source: KnowledgeSourceId) -> anyhow::Result<()> {
        let mut tx = self.begin().await?;
        let spec = sources::get(&mut tx, source).await?.spec;
        tx.commit().await?;
        let fetch = Fetch {
            pool: &self.pool,
            tenant: self.tenant,
            source,
            lease,
            parsers: self.indexer.parsers(),
            reach: &self.reach,
        };
        fetch.carry_out(&spec.source).await?;

        let chunking = spec.chunking;
        let mut tx = self.begin().await?;
        let generation = generations::ensure(&mut tx, source, &self.settings(&chunking)).await?;
        runs::begin(&mut tx, lease, generation.id).await?;
        tx.commit().await?;

        // A document that changes while it is indexed is found again; one that was begun is not begun again here.
        let mut begun = HashSet::new();
        loop {
            let mut tx = self.begin().await?;
            let mut work = documents::work(&mut tx, source, generation.id).await?;
            work.retain(|document| !begun.contains(&(document.id, document.content_sha256.clone())));
            let alone = work.first().is_some_and(|document| document.attempts > 0);
            work.truncate(if alone { 1 } else { BATCH });
            if work.is_empty() {
                break;
            }
            if !alone {
                work.retain(|document| document.attempts == 0);
            }
            let ids: Vec<_> = work.iter().map(|document| document.id).collect();
            documents::begin_attempts(&mut tx, &ids).await?;
            tx.commit().await?;
            begun.extend(work.iter().map(|document| (document.id, document.content_sha256.clone())));
            stream::iter(work)
                .map(|document| self.index(lease, &generation, &chunking, document))
                .buffer_unordered(self.concurrency)
                .try_collect::<()>()
                .await?;
        }
        self.finish(lease, source, generation).await
    }

    async fn index(
        &self,
        lease: Lease,
        generation: &GenerationRow,
        chunking: &Chunking,
        work: Work,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut tx = self.begin().await?;
        let bytes = match documents::original(&mut tx, &work.content_sha256).await {
            Ok(bytes) => bytes,
            // Deleted or replaced since the work was listed.
            Err(store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // Once the tenant's chunks are used up, nothing more is embedded in vain.
        let room = room_for(&mut tx, generation, work.id, 1).await?;
        tx.commit().await?;
        let mut result = if work.attempts >= MAX_ATTEMPTS {
            Err(Rejection::ends_the_process(work.attempts))
        } else if let Err(rejection) = room {
            Err(rejection)
        } else {
            self.indexer.index(&parser_name(&work.path, work.media_type.as_deref()), &bytes, chunking).await?
        };

        let mut tx = TenantTx::begin_relaxed(&self.pool, self.tenant).await?;
        if let Ok(indexed) = &result
            && let Err(rejection) = room_for(&mut tx, generation, work.id, indexed.chunks.len()).await?
        {
            result = Err(rejection);
        }
        let failure = result.as_ref().err().map(|rejection| rejection.detail.as_str());
        let outcome = DocumentOutcome {
            id: work.id,
            path: &work.path,
            failure,
            chunks: result.as_ref().map_or(0, |indexed| indexed.chunks.len()),
            bytes: bytes.len(),
            took: started.elapsed(),
        };
        runs::record(&mut tx, lease, &outcome).await?;
        let written = match &result {
            Ok(indexed) => {
                let reading =
                    Reading { title: &indexed.title, language: indexed.language.code(), pages: indexed.pages };
                chunks::replace(&mut tx, generation, work.id, &work.content_sha256, &reading, &indexed.chunks).await?
            }
            Err(rejection) => {
                tracing::warn!(
                    document.path = work.path,
                    code = rejection.code,
                    reason = rejection.detail,
                    "document failed"
                );
                chunks::fail(&mut tx, generation, work.id, &work.content_sha256, rejection.code, &rejection.detail)
                    .await?
            }
        };
        if written {
            tx.commit().await?;
        }
        Ok(())
    }

    /// Statistics, the index of a generation that has grown large, and the switch, all at once.
    async fn finish(&self, lease: Lease, source: KnowledgeSourceId, generation: GenerationRow) -> anyhow::Result<()> {
        let mut tx = self.begin().await?;
        runs::heartbeat(&mut tx, lease).await?;
        generations::refresh_statistics(&mut tx, generation.id).await?;
        let grown = generations::get(&mut tx, generation.id).await?;
        if !grown.own_table && grown.chunks >= OWN_TABLE_FROM_CHUNKS {
            generations::give_own_table(&mut tx, generation.id, self.indexer.embedder().model().dimensions).await?;
        }
        if !generation.active {
            generations::activate(&mut tx, source, generation.id).await?;
        }
        runs::succeed(&mut tx, lease).await?;
        Ok(tx.commit().await?)
    }

    /// Returns only when the lease is lost.
    async fn keep_alive(&self, lease: Lease) -> store::Error {
        const RETRY: Duration = Duration::from_secs(1);
        let mut pause = LEASE / 3;
        loop {
            tokio::time::sleep(pause).await;
            let beat = async {
                let mut tx = self.begin().await?;
                runs::heartbeat(&mut tx, lease).await?;
                tx.commit().await
            };
            pause = match beat.await {
                Ok(()) => LEASE / 3,
                Err(store::Error::LeaseLost) => return store::Error::LeaseLost,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "heartbeat failed, trying again");
                    RETRY
                }
            };
        }
    }

    fn settings(&self, chunking: &Chunking) -> GenerationSettings {
        let model = self.indexer.embedder().model();
        GenerationSettings {
            embedding_model: model.name.clone(),
            embedding_precision: model.precision.clone(),
            dimensions: model.dimensions,
            chunking: chunking.clone(),
            pipeline: PIPELINE_VERSION,
        }
    }

    async fn begin(&self) -> Result<TenantTx, store::Error> {
        TenantTx::begin(&self.pool, self.tenant).await
    }
}

/// Whether the tenant's quota leaves room for a document's chunks.
async fn room_for(
    tx: &mut TenantTx,
    generation: &GenerationRow,
    document: DocumentId,
    chunks: usize,
) -> Result<Result<(), Rejection>, store::Error> {
    match quotas::admit_chunks(tx, generation.id, document, chunks).await {
        Ok(()) => Ok(Ok(())),
        Err(store::Error::QuotaExceeded { limit, count, .. }) => Ok(Err(Rejection::over_quota(limit, count))),
        Err(error) => Err(error),
    }
}
