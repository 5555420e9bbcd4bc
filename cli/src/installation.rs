//! A database, migrated, with its roles and models: what every command works on.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use docbrain_api::{AppState, Local, Parts, Registration, Settings};
use docbrain_core::config::NamedKey;
use docbrain_core::embed::Embedder;
use docbrain_core::env;
use docbrain_core::fetch::AddressPolicy;
use docbrain_core::ids::TenantId;
use docbrain_core::keyring::{Keyring, KeyringError, RingFile};
use docbrain_core::models::{EmbeddingChoice, Endpoint};
use docbrain_core::providers::Providers;
use docbrain_core::provision::Provisioner;
use docbrain_core::store::roles::{self, Login};
use docbrain_core::store::secrets::{RingSource, Secrets};
use docbrain_core::store::{self, Pool};
use docbrain_core::telemetry;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use crate::home::Home;
use crate::postgres::{Durability, Postgres};

/// Where the installation is and which models it uses.
#[derive(Args)]
#[command(next_help_heading = "Installation")]
pub(crate) struct InstallationArguments {
    /// Folder for database, secrets and tools [default: /var/lib/docbrain for root, else ~/.local/share/docbrain]
    #[arg(long, env = env::HOME, global = true)]
    home: Option<PathBuf>,
    /// A PostgreSQL with pgvector to use instead of the embedded one, as the owner of its database
    #[arg(long, env = env::DATABASE_URL, hide_env_values = true, global = true)]
    database_url: Option<SecretString>,
    /// The file that holds it instead
    #[arg(long, env = env::DATABASE_URL_FILE, value_name = "FILE", value_parser = secret_in_file, conflicts_with = "database_url", global = true)]
    database_url_file: Option<SecretString>,
    /// Folder of the built-in embedding model [default: in the home folder]
    #[arg(long, env = env::MODEL_DIR, global = true)]
    model_dir: Option<PathBuf>,
    /// OpenAI-compatible base URL for embeddings, instead of the built-in model
    #[arg(long, env = env::EMBEDDING_BASE_URL, global = true)]
    embedding_base_url: Option<String>,
    /// Model name at that URL
    #[arg(long, env = env::EMBEDDING_MODEL, default_value = "text-embedding-3-small", global = true)]
    embedding_model: String,
    /// Key for that URL
    #[arg(long, env = env::EMBEDDING_API_KEY, hide_env_values = true, global = true)]
    embedding_api_key: Option<SecretString>,
    /// OpenAI-compatible base URL for chat; without one, answers are quotes
    #[arg(long, env = env::CHAT_BASE_URL, global = true)]
    chat_base_url: Option<String>,
    /// Model name at that URL
    #[arg(long, env = env::CHAT_MODEL, default_value = "gpt-4.1-mini", global = true)]
    chat_model: String,
    /// Key for that URL
    #[arg(long, env = env::CHAT_API_KEY, hide_env_values = true, global = true)]
    chat_api_key: Option<SecretString>,
    /// Keys for secrets at rest, id:base64, the current one first [default: made at the first start, kept in the home folder]
    #[arg(long, env = env::ENCRYPTION_KEYS, hide_env_values = true, global = true)]
    encryption_keys: Option<SecretString>,
    /// Networks besides the public ones that tenants' web sites, repositories and model servers may be in, such as 10.1.0.0/16,
    /// separated by commas
    #[arg(long, env = env::ALLOWED_NETWORKS, default_value = "", global = true)]
    allowed_networks: AddressPolicy,
    /// What is told of this process and those it starts.
    #[command(flatten)]
    pub(crate) telemetry: telemetry::Settings,
}

impl InstallationArguments {
    /// The home folder, made where it is missing.
    pub(crate) fn open_home(&self) -> anyhow::Result<Home> {
        Home::open(&self.home_path())
    }

    /// Where the embedded PostgreSQL's programs are.
    pub(crate) fn postgres_folder(&self) -> PathBuf {
        self.home_path().join("tools/postgres")
    }

    /// The database of one's own.
    pub(crate) fn database_url(&self) -> Option<&SecretString> {
        self.database_url.as_ref().or(self.database_url_file.as_ref())
    }

    fn home_path(&self) -> PathBuf {
        self.home.clone().unwrap_or_else(Home::default_path)
    }

    fn embedding(&self) -> EmbeddingChoice {
        match &self.embedding_base_url {
            Some(base_url) => {
                EmbeddingChoice::Remote(Endpoint::new(base_url, &self.embedding_model, self.embedding_api_key.clone()))
            }
            None => EmbeddingChoice::BuiltIn(
                self.model_dir.clone().unwrap_or_else(|| self.home_path().join("tools/model/all-MiniLM-L6-v2")),
            ),
        }
    }

    fn chat(&self) -> Option<Endpoint> {
        let base_url = self.chat_base_url.as_ref()?;
        Some(Endpoint::new(base_url, &self.chat_model, self.chat_api_key.clone()))
    }

    fn ring(&self, home: &Home) -> Result<RingSource, KeyringError> {
        match &self.encryption_keys {
            Some(keys) => Ok(RingSource::Given(Arc::new(Keyring::parse(keys)?))),
            None => Ok(RingSource::File(RingFile::open(home.path("secrets/encryption-keys"))?)),
        }
    }
}

/// Reads a secret from a file, as orchestrators mount them.
pub(crate) fn secret_in_file(path: &str) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    match text.trim() {
        "" => Err("holds nothing".to_owned()),
        secret => Ok(secret.into()),
    }
}

/// An installation that answers.
pub(crate) struct Installation {
    /// The home folder.
    pub(crate) home: Home,
    /// Connections as the owner of the schema: provisioning and launching only.
    pub(crate) owner: Pool,
    /// Connections as the API's role, bound by row-level security.
    pub(crate) api: Pool,
    /// The embedding model.
    pub(crate) embedding: EmbeddingChoice,
    /// The chat model's endpoint.
    pub(crate) chat: Option<Endpoint>,
    /// What tenants keep secret.
    pub(crate) secrets: Secrets,
    /// Where tenants' web sites, repositories and model servers may be.
    pub(crate) addresses: AddressPolicy,
    /// What is told of the processes that it starts.
    pub(crate) telemetry: telemetry::Settings,
    owner_url: SecretString,
    role_secret: SecretString,
    postgres: Option<Postgres>,
}

impl Installation {
    /// Opens the database (starting the embedded one where it does not run), migrates it, and sees to its roles.
    pub(crate) async fn open(arguments: &InstallationArguments) -> anyhow::Result<Self> {
        let home = arguments.open_home()?;
        let secrets = Secrets::new(arguments.ring(&home)?);
        let (owner_url, postgres) = if let Some(url) = arguments.database_url() {
            (url.clone(), None)
        } else {
            let postgres = Postgres::start(&home, &arguments.postgres_folder(), Durability::Safe).await?;
            (postgres.owner_url().clone(), Some(postgres))
        };
        let owner = store::connect(owner_url.expose_secret(), 8).await.context("cannot reach the database")?;
        store::migrate(&owner).await?;
        let role_secret = home.secret("roles")?;
        roles::ensure(&owner, Login::Api, &role_secret).await?;
        let api_url = roles::url(owner_url.expose_secret(), Login::Api, &role_secret)?;
        let api = store::connect(api_url.expose_secret(), 16)
            .await
            .context("cannot log in to the database as docbrain_api")?;
        let (embedding, chat) = (arguments.embedding(), arguments.chat());
        let (addresses, telemetry) = (arguments.allowed_networks.clone(), arguments.telemetry.clone());
        Ok(Self { home, owner, api, embedding, chat, secrets, addresses, telemetry, owner_url, role_secret, postgres })
    }

    /// The models of all tenants, where `embedder` is the installation's own.
    pub(crate) fn providers(&self, embedder: Arc<dyn Embedder>) -> Providers {
        let (secrets, addresses) = (self.secrets.clone(), self.addresses.clone());
        Providers::new(self.api.clone(), secrets, addresses, embedder, self.chat.clone())
    }

    /// What the API is served with.
    pub(crate) fn app_state(
        &self,
        embedder: Arc<dyn Embedder>,
        admin_token: SecretString,
        registration: Registration,
        trusted_proxies: Vec<IpNet>,
    ) -> anyhow::Result<AppState> {
        let key = self.home.secret("signing-key")?;
        let key = NamedKey { id: "home".to_owned(), key: key.expose_secret().as_bytes().to_vec().into() };
        let settings = Settings {
            admin_token,
            signing_keys: vec![key],
            registration,
            public_url: None,
            oidc: None,
            trusted_proxies,
        };
        Ok(AppState::new(Parts {
            pool: self.api.clone(),
            providers: self.providers(embedder),
            control_plane: Arc::new(Local::new(self.api.clone())),
            settings,
        }))
    }

    /// Writes specs to rows.
    pub(crate) fn provisioner(&self) -> Provisioner {
        Provisioner::new(self.owner.clone(), self.role_secret.clone())
    }

    /// Makes the login role of a tenant's ingestion runs, where it is missing.
    pub(crate) async fn ensure_ingest_role(&self, tenant: TenantId) -> anyhow::Result<()> {
        Ok(roles::ensure(&self.owner, Login::Ingest(tenant), &self.role_secret).await?)
    }

    /// The database as the role of a tenant's ingestion runs.
    pub(crate) fn ingest_url(&self, tenant: TenantId) -> anyhow::Result<SecretString> {
        Ok(roles::url(self.owner_url.expose_secret(), Login::Ingest(tenant), &self.role_secret)?)
    }

    /// The tenant of this name, or the only one there is.
    pub(crate) async fn tenant(&self, name: Option<&str>) -> anyhow::Result<TenantId> {
        let name = if let Some(name) = name {
            name.to_owned()
        } else {
            let mut names = store::tenants::names(&self.api).await?;
            match names.len() {
                1 => names.remove(0),
                0 => anyhow::bail!("there is no tenant yet: `docbrain up` adds a demo, `docbrain apply -f` your own"),
                _ => anyhow::bail!("there are several tenants; name one with --tenant: {}", names.join(", ")),
            }
        };
        store::tenants::named(&self.api, &name).await?.with_context(|| format!("there is no tenant {name:?}"))
    }

    /// Closes connections, and stops the server that this process started.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.api.close().await;
        self.owner.close().await;
        match self.postgres {
            Some(postgres) if postgres.is_ours() => postgres.stop().await,
            _ => Ok(()),
        }
    }

    /// Like [`Installation::close`], and stops a server that an earlier process left behind.
    pub(crate) async fn shut_down(self) -> anyhow::Result<()> {
        self.api.close().await;
        self.owner.close().await;
        match self.postgres {
            Some(postgres) => postgres.stop().await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_file_is_read_without_its_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "of the file\n").unwrap();
        assert_eq!(secret_in_file(path.to_str().unwrap()).unwrap().expose_secret(), "of the file");
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(secret_in_file(path.to_str().unwrap()).unwrap_err(), "holds nothing");
        assert!(secret_in_file("/nowhere").unwrap_err().starts_with("cannot be read"));
    }
}
