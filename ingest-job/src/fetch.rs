//! Bringing the documents of a knowledge source in line with where they come from.
//!
//! - [`web`]: pages of web sites
//! - [`git`]: files of a repository at one commit
//! - [`media`]: what an origin's media type means for the parser
//! - [`patterns`]: which paths are taken
//!
//! Killed at any instruction, the next process begins the fetch again and finds what is there: each document is stored in
//! a transaction of its own, which checks the run's lease. What has vanished is removed at the end, and only when nothing
//! stood in the way of seeing it.

use std::path::Path;
use std::time::Duration;

use docbrain_core::fetch::{AddressPolicy, Patience};
use docbrain_core::ids::{KnowledgeSourceId, TenantId};
use docbrain_core::store::documents::{self, Failure};
use docbrain_core::store::runs::{self, DocumentOutcome, Lease};
use docbrain_core::store::{self, Pool, TenantTx};
use docbrain_crds::Source;

use crate::sandbox::Parsers;

pub mod git;
pub mod media;
pub mod patterns;
pub mod web;

/// How a fetch reaches the world.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Which addresses may be asked.
    pub addresses: AddressPolicy,
    /// How long one of them may take.
    pub patience: Patience,
    /// Folder with the keys of the Secret that the source names.
    pub credentials: Option<std::path::PathBuf>,
}

impl Reach {
    /// The usual patience with a page that says nothing for `silence`.
    pub fn patience(silence: Duration) -> Patience {
        Patience { silence, total: Duration::from_mins(3) }
    }

    /// A file of the credentials, without white space around it.
    pub(crate) fn credential(&self, key: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.credentials.as_deref().unwrap_or(Path::new("")).join(key)).ok()?;
        let text = text.trim();
        (self.credentials.is_some() && !text.is_empty()).then(|| text.to_owned())
    }
}

/// One fetch: of which source, for which run, with what.
pub(crate) struct Fetch<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) tenant: TenantId,
    pub(crate) source: KnowledgeSourceId,
    pub(crate) lease: Lease,
    pub(crate) parsers: &'a Parsers,
    pub(crate) reach: &'a Reach,
}

/// Why a fetch came to nothing; its text is the run's reason.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Misfortune {
    /// A sentence for people.
    pub reason: String,
    /// Whether it will be the same until somebody changes the source or the installation.
    pub is_lasting: bool,
}

impl Misfortune {
    pub(crate) fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_lasting: true }
    }

    pub(crate) fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_lasting: false }
    }
}

impl Fetch<'_> {
    /// Fetches where the source is of a kind that is fetched. What there is to say of it ends up in the run's note.
    pub(crate) async fn carry_out(&self, source: &Source) -> anyhow::Result<()> {
        let notes = match source {
            Source { web: Some(web), .. } => web::fetch(self, web).await?,
            Source { git: Some(git), .. } => git::fetch(self, git).await?,
            Source { upload: _, web: None, git: None } => return Ok(()),
        };
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        if let Some(note) = &note {
            tracing::info!(note, "something is to be said of the fetch");
        }
        let mut tx = self.begin().await?;
        runs::note(&mut tx, self.lease, note.as_deref()).await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn begin(&self) -> Result<TenantTx, store::Error> {
        TenantTx::begin(self.pool, self.tenant).await
    }

    /// Commits what was written as long as the run is still this process's.
    pub(crate) async fn commit(&self, mut tx: TenantTx) -> Result<(), store::Error> {
        runs::heartbeat(&mut tx, self.lease).await?;
        tx.commit().await
    }

    /// Notes that a document could not be fetched; `None`: it was fetched before, and stays as it was.
    pub(crate) async fn fail(
        &self,
        path: &str,
        url: Option<&str>,
        failure: Failure<'_>,
    ) -> Result<Option<docbrain_core::ids::DocumentId>, store::Error> {
        let mut tx = self.begin().await?;
        let failed = documents::fail_unfetched(&mut tx, self.source, path, url, failure).await?;
        if let Some(id) = failed
            && !runs::has_recorded(&mut tx, self.lease, id).await?
        {
            tracing::warn!(document.path = path, code = failure.code, reason = failure.detail, "document not fetched");
            let outcome =
                DocumentOutcome { id, path, failure: Some(failure.detail), chunks: 0, bytes: 0, took: Duration::ZERO };
            runs::record(&mut tx, self.lease, &outcome).await?;
        }
        self.commit(tx).await?;
        Ok(failed)
    }
}
