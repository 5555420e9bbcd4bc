//! What the environment says, checked as a whole.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use docbrain_core::env;
use docbrain_core::fetch::AddressPolicy;
use docbrain_core::keyring::Keyring;
use docbrain_core::models::{EmbeddingChoice, Endpoint, ProviderKind};
use docbrain_core::store;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

/// Shortest secret that passwords are derived from, in characters.
const SHORTEST_ROLE_SECRET: usize = 32;

/// The settings of `docbrain-operator run`.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// Postgres as the owner of the schema
    #[arg(long, env = env::DATABASE_URL, hide_env_values = true)]
    database_url: SecretString,
    /// Most connections to Postgres
    #[arg(long, env = env::DATABASE_CONNECTIONS, default_value_t = 16, value_parser = clap::value_parser!(u32).range(4..))]
    database_connections: u32,
    /// What the passwords of tenants' database roles are derived from, at least 32 characters
    #[arg(long, env = env::ROLE_SECRET, hide_env_values = true)]
    role_secret: SecretString,
    /// Keys for secrets at rest, id:base64, the current one first
    #[arg(long, env = env::ENCRYPTION_KEYS, hide_env_values = true)]
    encryption_keys: SecretString,
    /// Image of docbrain-ingest
    #[arg(long, env = env::INGEST_IMAGE)]
    ingest_image: String,
    /// When that image is pulled
    #[arg(long, env = env::INGEST_IMAGE_PULL_POLICY, default_value = "IfNotPresent", value_parser = ["IfNotPresent", "Always", "Never"])]
    ingest_image_pull_policy: String,
    /// Where people reach the installation, such as <https://docs.example.com>
    #[arg(long, env = env::PUBLIC_URL)]
    public_url: Option<url::Url>,
    /// OpenAI-compatible base URL for embeddings, instead of the model in the image
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
    /// Networks besides the public ones that tenants may reach, separated by commas
    #[arg(long, env = env::ALLOWED_NETWORKS, default_value = "")]
    allowed_networks: AddressPolicy,
    /// Networks of pods, services and nodes, which tenants' pods must not reach, separated by commas
    #[arg(long, env = env::CLUSTER_NETWORKS, default_value = "", value_delimiter = ',', value_parser = network)]
    cluster_networks: Vec<Option<IpNet>>,
    /// Namespace of the operator's own Lease
    #[arg(long, env = env::POD_NAMESPACE, default_value = "docbrain-system")]
    namespace: String,
    /// Name of this process among its replicas [default: made up]
    #[arg(long, env = env::POD_NAME)]
    pod_name: Option<String>,
    /// ServiceAccount that the operator runs as, which gets the right to tenants' Secrets; unset: it has it already
    #[arg(long, env = env::SERVICE_ACCOUNT)]
    service_account: Option<String>,
    /// ClusterRole with the rights to Secrets, bound in each tenant's namespace
    #[arg(long, env = env::SECRETS_ROLE, default_value = "docbrain-tenant-secrets")]
    secrets_role: String,
    /// Address of /metrics, /healthz and /readyz
    #[arg(long, env = env::LISTEN, default_value = "0.0.0.0:8081")]
    listen: SocketAddr,
    /// Seconds that a Job may take
    #[arg(long, env = env::RUN_SECONDS, default_value_t = 6 * 3600, value_parser = clap::value_parser!(i64).range(60..))]
    run_seconds: i64,
}

/// What the operator works by.
#[derive(Debug)]
pub struct Config {
    /// The database, as the owner of the schema.
    pub database_url: SecretString,
    /// Most connections to it.
    pub database_connections: u32,
    /// What the passwords of database roles are derived from.
    pub role_secret: SecretString,
    /// Keys for secrets at rest.
    pub encryption_keys: Arc<Keyring>,
    /// The program of ingestion runs.
    pub ingest: IngestImage,
    /// Where people reach the installation, without a slash at the end.
    pub public_url: Option<String>,
    /// The embedding model of tenants that bring none.
    pub embedding: EmbeddingChoice,
    /// Where tenants' crawls and model servers may be.
    pub addresses: AddressPolicy,
    /// Where tenants' pods must not be able to go.
    pub cluster_networks: Vec<IpNet>,
    /// The operator's namespace.
    pub namespace: String,
    /// This process among its replicas.
    pub identity: String,
    /// The operator's `ServiceAccount`, where it has one.
    pub service_account: Option<String>,
    /// The `ClusterRole` with the rights to tenants' Secrets.
    pub secrets_role: String,
    /// Where it is asked for its health.
    pub listen: SocketAddr,
}

/// The program of ingestion runs.
#[derive(Clone, Debug)]
pub struct IngestImage {
    /// Its image.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: String,
    /// Seconds that a Job may take.
    pub run_seconds: i64,
    /// Variables that are the same for all runs, such as the log format.
    pub environment: Vec<(String, String)>,
}

impl RunArguments {
    /// Checks what clap cannot.
    pub fn check(self) -> anyhow::Result<Config> {
        store::check_url(self.database_url.expose_secret()).context(env::DATABASE_URL)?;
        anyhow::ensure!(
            self.role_secret.expose_secret().len() >= SHORTEST_ROLE_SECRET,
            "{} needs at least {SHORTEST_ROLE_SECRET} characters; make one with: openssl rand -hex 32",
            env::ROLE_SECRET
        );
        let encryption_keys = Keyring::parse(&self.encryption_keys).context(env::ENCRYPTION_KEYS)?;
        let embedding = match self.embedding_base_url {
            Some(base_url) => EmbeddingChoice::Remote(Endpoint {
                kind: self.embedding_kind,
                ..Endpoint::new(base_url, self.embedding_model, self.embedding_api_key)
            }),
            None => EmbeddingChoice::BuiltIn(PathBuf::new()),
        };
        let passed_on = [env::LOG_FORMAT, env::LOG_FILTER, env::SENTRY_DSN, env::OTLP_ENDPOINT];
        let environment = passed_on.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        Ok(Config {
            database_url: self.database_url,
            database_connections: self.database_connections,
            role_secret: self.role_secret,
            encryption_keys: Arc::new(encryption_keys),
            ingest: IngestImage {
                image: self.ingest_image,
                pull_policy: self.ingest_image_pull_policy,
                run_seconds: self.run_seconds,
                environment: environment.collect(),
            },
            public_url: self.public_url.map(|url| url.as_str().trim_end_matches('/').to_owned()),
            embedding,
            addresses: self.allowed_networks,
            cluster_networks: self.cluster_networks.into_iter().flatten().collect(),
            namespace: self.namespace,
            identity: self.pod_name.unwrap_or_else(|| format!("docbrain-operator-{}", uuid::Uuid::now_v7().simple())),
            service_account: self.service_account,
            secrets_role: self.secrets_role,
            listen: self.listen,
        })
    }
}

fn network(text: &str) -> Result<Option<IpNet>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| format!("{text:?} is not a network such as 10.96.0.0/16"))
}
