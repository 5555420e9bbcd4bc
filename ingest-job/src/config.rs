//! What an ingestion process is told by its environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use docbrain_core::env;
use docbrain_core::fetch::AddressPolicy;
use docbrain_core::ids::{KnowledgeSourceId, RunId, TenantId};
use docbrain_core::models::{EmbeddingChoice, Endpoint, ProviderKind};
use docbrain_core::store::runs;
use secrecy::SecretString;

use crate::fetch::Reach;

/// Settings of one run.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// The run to carry out
    #[arg(long, env = env::RUN_ID, required_unless_present = "source")]
    run: Option<RunId>,
    /// Instead of a run: the knowledge source to ask for one of, with --trigger
    #[arg(long, env = env::SOURCE_ID, requires = "trigger")]
    source: Option<KnowledgeSourceId>,
    /// What sets that run off; the same word never runs twice
    #[arg(long, env = env::TRIGGER)]
    trigger: Option<String>,
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
    /// Folder with the keys of the Secret that the knowledge source names, a file each
    #[arg(long, env = env::CREDENTIALS_DIR)]
    credentials: Option<PathBuf>,
    /// Seconds that a web page may say nothing
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=600))]
    page_seconds: u16,
    /// Networks besides the public ones that tenants' web sites, repositories and model servers may be in, separated by commas
    #[arg(long, env = env::ALLOWED_NETWORKS, default_value = "")]
    allowed_networks: AddressPolicy,
    #[command(flatten)]
    embedding: EmbeddingArguments,
}

/// What an ingestion process is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A run that is queued.
    Run(RunId),
    /// A run that it asks for itself.
    Triggered {
        /// Of this source.
        source: KnowledgeSourceId,
        /// Set off by this.
        trigger: String,
    },
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
}

impl RunArguments {
    /// What is to be done.
    pub fn wanted(&self) -> anyhow::Result<Wanted> {
        match (self.run, self.source, &self.trigger) {
            (Some(run), _, _) => Ok(Wanted::Run(run)),
            (None, Some(source), Some(trigger)) => Ok(Wanted::Triggered { source, trigger: trigger.clone() }),
            (None, _, _) => anyhow::bail!("set {}, or {} and {}", env::RUN_ID, env::SOURCE_ID, env::TRIGGER),
        }
    }

    /// The run's id: of one that is to be asked for, too.
    pub fn run_id(&self) -> Option<RunId> {
        let triggered = self.source.zip(self.trigger.as_deref());
        self.run.or_else(|| triggered.map(|(source, trigger)| runs::id_of(source, trigger)))
    }

    /// How sources are fetched.
    pub fn reach(&self) -> Reach {
        Reach {
            addresses: self.allowed_networks.clone(),
            patience: Reach::patience(Duration::from_secs(self.page_seconds.into())),
            credentials: self.credentials.clone(),
        }
    }

    /// The embedding model the run is to use.
    pub fn embedding(&self) -> anyhow::Result<EmbeddingChoice> {
        let embedding = &self.embedding;
        match (&embedding.embedding_base_url, &embedding.model_dir) {
            (Some(base_url), _) => Ok(EmbeddingChoice::Remote(Endpoint {
                base_url: base_url.clone(),
                model: embedding.embedding_model.clone(),
                api_key: embedding.embedding_api_key.clone(),
                kind: embedding.embedding_kind,
                guard: embedding.embedding_guarded.then(|| self.allowed_networks.clone()),
            })),
            (None, Some(folder)) => Ok(EmbeddingChoice::BuiltIn(folder.clone())),
            (None, None) => {
                anyhow::bail!("no embedding model is configured: set {} or {}", env::MODEL_DIR, env::EMBEDDING_BASE_URL)
            }
        }
    }
}
