//! Runs that make a tenant's index anew with another embedding model.

use std::collections::BTreeSet;

use crate::embed::ModelName;
use crate::ids::{KnowledgeSourceId, RunId};
use crate::store::{Error, TenantTx, generations, runs, sources};

/// Runs for the knowledge sources whose index is of another embedding model than `model`.
pub async fn where_needed(tx: &mut TenantTx, model: &ModelName) -> Result<(), Error> {
    let other = generations::sources_of_other_models(tx, model).await?;
    enqueue(tx, other).await
}

/// As [`where_needed`], and for those that are being indexed: a process keeps the model that it was started with.
pub async fn after_a_change(tx: &mut TenantTx, model: &ModelName) -> Result<(), Error> {
    let mut changed = BTreeSet::from_iter(generations::sources_of_other_models(tx, model).await?);
    changed.extend(sources::at_work(tx).await?);
    enqueue(tx, changed).await
}

async fn enqueue(tx: &mut TenantTx, sources: impl IntoIterator<Item = KnowledgeSourceId>) -> Result<(), Error> {
    for source in sources {
        runs::enqueue(tx, source, &format!("embeddings:{}", RunId::new())).await?;
    }
    Ok(())
}
