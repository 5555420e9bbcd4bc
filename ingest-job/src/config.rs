//! What an ingestion process is told by its environment.

use std::path::PathBuf;

use clap::Args;
use docbrain_core::env;
use docbrain_core::fetch::AddressPolicy;
use docbrain_core::ids::{RunId, TenantId};
use docbrain_core::models::{EmbeddingChoice, Endpoint, ProviderKind};
use secrecy::SecretString;

/// Settings of one run.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// The run to carry out
    #[arg(long, env = env::RUN_ID)]
    pub run: RunId,
    /// The tenant it belongs to
    #[arg(long, env = env::TENANT_ID)]
    pub tenant: TenantId,
    /// Postgres as the tenant's ingestion role
    #[arg(long, env = env::INGEST_DATABASE_URL, hide_env_values = true)]
    pub database_url: SecretString,
    /// The request that asked for the run
    #[arg(long, env = env::REQUEST_ID)]
    pub request_id: Option<String>,
    /// Documents worked on at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub concurrency: u8,
    #[command(flatten)]
    embedding: EmbeddingArguments,
}

#[derive(Args, Debug)]
struct EmbeddingArguments {
    /// Folder of the built-in embedding model
    #[arg(long, env = env::MODEL_DIR)]
    model_dir: Option<PathBuf>,
    /// OpenAI-compatible base URL for embeddings, instead of the built-in model
    #[arg(long, env = env::EMBEDDING_BASE_URL)]
    embedding_base_url: Option<String>,
    /// Model name at that URL
    #[arg(long, env = env::EMBEDDING_MODEL, default_value = "text-embedding-3-small")]
    embedding_model: String,
    /// Key for that URL
    #[arg(long, env = env::EMBEDDING_API_KEY, hide_env_values = true)]
    embedding_api_key: Option<SecretString>,
    /// What that server is: openai, azure or compatible
    #[arg(long, env = env::EMBEDDING_KIND, default_value = "compatible")]
    embedding_kind: ProviderKind,
    /// Take that URL for one that a tenant chose: it must be a public address, or in an allowed network
    #[arg(long, env = env::EMBEDDING_GUARDED)]
    embedding_guarded: bool,
    /// Networks besides the public ones that a tenant's model server may be in, separated by commas
    #[arg(long, env = env::ALLOWED_NETWORKS, default_value = "")]
    allowed_networks: AddressPolicy,
}

impl RunArguments {
    /// The embedding model the run is to use.
    pub fn embedding(&self) -> anyhow::Result<EmbeddingChoice> {
        let embedding = &self.embedding;
        match (&embedding.embedding_base_url, &embedding.model_dir) {
            (Some(base_url), _) => Ok(EmbeddingChoice::Remote(Endpoint {
                base_url: base_url.clone(),
                model: embedding.embedding_model.clone(),
                api_key: embedding.embedding_api_key.clone(),
                kind: embedding.embedding_kind,
                guard: embedding.embedding_guarded.then(|| embedding.allowed_networks.clone()),
            })),
            (None, Some(folder)) => Ok(EmbeddingChoice::BuiltIn(folder.clone())),
            (None, None) => {
                anyhow::bail!("no embedding model is configured: set {} or {}", env::MODEL_DIR, env::EMBEDDING_BASE_URL)
            }
        }
    }
}
