//! Which models a tenant uses: those of a chatbot's own endpoint, of the tenant's providers, else the installation's.
//!
//! [`Providers`] is asked at each question, and remembers for a second and a half what it was told. The clients of a provider, with
//! their connections, stay for as long as its settings do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use docbrain_crds::Model;
use moka::future::Cache;
use secrecy::SecretString;
use tokio::sync::OnceCell;

use crate::chat::{self, ChatModel};
use crate::embed::{EmbedError, Embedder, EmbeddingModel, ModelName};
use crate::fetch::AddressPolicy;
use crate::ids::{GenerationId, TenantId};
use crate::models::{EmbeddingChoice, Endpoint};
use crate::store::secrets::{self, Secrets};
use crate::store::{self, Pool, TenantTx, generations, provider_settings};

mod clients;
mod own;
mod probe;
pub mod reindex;
mod settings;

use clients::ChatClients;
use own::OwnEndpoints;

pub use probe::{Probe, probe};
pub use settings::{Fault, Price, Provider, ProviderSettings, Purpose, WantedProvider};

/// How long a tenant's settings are used before they are looked at again: a change is seen everywhere within two seconds.
const FRESH: Duration = Duration::from_millis(1_500);
/// How long the clients of a provider that nobody asks are kept.
const KEPT: Duration = Duration::from_mins(10);
/// Tenants and generations that are remembered at the same time.
const MOST_TENANTS: u64 = 10_000;
const MOST_GENERATIONS: u64 = 100_000;

/// Why a tenant's models cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A wanted setting does not hold what it should.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The settings cannot be read or written.
    #[error(transparent)]
    Store(#[from] Arc<store::Error>),
    /// A chatbot refers to a key that is not there.
    #[error("the Secret {secret:?} with the key {key:?} is not there")]
    KeyMissing {
        /// Name of the Secret.
        secret: String,
        /// Key within it.
        key: String,
    },
    /// The embedding model's server does not answer.
    #[error(transparent)]
    Embed(#[from] EmbedError),
}

impl From<store::Error> for ProviderError {
    fn from(error: store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// What becomes of a provider's key.
#[derive(Clone, Debug)]
pub enum KeyChange {
    /// The stored one stays, if the provider stays where it is.
    Keep,
    /// There is none any more.
    Remove,
    /// This one is stored.
    Set(SecretString),
}

/// The models of all tenants; cheap to clone.
#[derive(Clone)]
pub struct Providers(Arc<Inner>);

struct Inner {
    pool: Pool,
    secrets: Secrets,
    policy: AddressPolicy,
    embedder: Arc<dyn Embedder>,
    chat: Option<ChatClients>,
    current: Cache<TenantId, Arc<Models>>,
    built: Cache<(TenantId, i64), Arc<Models>>,
    own: OwnEndpoints,
    generations: Cache<GenerationId, ModelName>,
}

/// A chat model, and what it takes.
#[derive(Clone)]
pub struct Priced {
    /// The model.
    pub model: Arc<dyn ChatModel>,
    /// `None`: not known.
    pub price: Option<chat::Price>,
}

/// The models of a tenant's own providers.
#[derive(Default)]
struct Models {
    chat: Option<ChatClients>,
    /// What chat models take, by name.
    prices: BTreeMap<String, chat::Price>,
    embeddings: Option<Endpoint>,
    embedder: OnceCell<Arc<dyn Embedder>>,
}

impl Providers {
    /// `pool` logs in as the API's role; `embedder` and `chat` are the installation's. A tenant's providers are reached
    /// as far as `policy` permits.
    pub fn new(
        pool: Pool,
        secrets: Secrets,
        policy: AddressPolicy,
        embedder: Arc<dyn Embedder>,
        chat: Option<Endpoint>,
    ) -> Self {
        Self(Arc::new(Inner {
            pool,
            secrets,
            policy,
            embedder,
            chat: chat.map(ChatClients::new),
            current: Cache::builder().time_to_live(FRESH).max_capacity(MOST_TENANTS).build(),
            built: Cache::builder().time_to_idle(KEPT).max_capacity(MOST_TENANTS).build(),
            own: OwnEndpoints::new(),
            generations: Cache::new(MOST_GENERATIONS),
        }))
    }

    /// The chat model that a chatbot's spec names: at its own endpoint with its own key, or of that name at the tenant's
    /// or the installation's provider, whose own it is when it has no name. `None` when there is no provider.
    pub async fn chat_model(&self, tenant: TenantId, model: Option<&Model>) -> Result<Option<Priced>, ProviderError> {
        let Inner { pool, secrets, policy, own, chat, .. } = &*self.0;
        if let Some((model, base_url)) = model.and_then(|model| Some((model, model.base_url.as_deref()?))) {
            return own.chat_model(pool, secrets, policy, tenant, model, base_url).await.map(Some);
        }
        let name = model.and_then(|model| model.model.as_deref());
        let models = self.models(tenant).await?;
        let model = models.chat.as_ref().or(chat.as_ref()).map(|clients| clients.named(name));
        Ok(model.map(|model| Priced { price: models.prices.get(model.name()).copied(), model }))
    }

    /// The embedder that questions to the tenant's chatbots are embedded with.
    pub async fn embedder(&self, tenant: TenantId) -> Result<Arc<dyn Embedder>, ProviderError> {
        let models = self.models(tenant).await?;
        let Some(endpoint) = &models.embeddings else { return Ok(Arc::clone(&self.0.embedder)) };
        let open = async || Ok(EmbeddingChoice::Remote(endpoint.clone()).open().await?.embedder);
        models.embedder.get_or_try_init(open).await.map(Arc::clone)
    }

    /// Whether all these generations were made with `model`, so that its vectors can be compared with theirs.
    pub async fn made_with(
        &self,
        tenant: TenantId,
        generations: &[GenerationId],
        model: &EmbeddingModel,
    ) -> Result<bool, store::Error> {
        let known = &self.0.generations;
        let unknown: Vec<GenerationId> = generations.iter().copied().filter(|id| !known.contains_key(id)).collect();
        if !unknown.is_empty() {
            let mut tx = TenantTx::begin(&self.0.pool, tenant).await?;
            for (id, model) in generations::models(&mut tx, &unknown).await? {
                known.insert(id, model).await;
            }
            tx.commit().await?;
        }
        let model = ModelName::from(model);
        for id in generations {
            // A generation that has just gone finds nothing, whatever it is asked.
            if known.get(id).await.is_some_and(|made_with| made_with != model) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sets a provider. A change of the embedding model has the tenant's knowledge indexed again.
    ///
    /// After the commit, [`Providers::forget`] makes this process see the change at once.
    pub async fn put(
        &self,
        tx: &mut TenantTx,
        purpose: Purpose,
        wanted: WantedProvider,
        key: KeyChange,
    ) -> Result<(), ProviderError> {
        let provider = wanted.check(&self.0.policy)?;
        let stored = provider_settings::get_for_update(tx).await?;
        match key {
            KeyChange::Keep => self.check_kept_key(tx, purpose, stored.of(purpose), &provider).await?,
            KeyChange::Remove => drop(secrets::delete(tx, purpose.secret()).await?),
            KeyChange::Set(key) => {
                settings::check_key(&key)?;
                self.0.secrets.put(tx, purpose.secret(), &key).await?;
            }
        }
        provider_settings::put(tx, purpose, Some(&provider)).await?;
        if purpose == Purpose::Embeddings {
            reindex::after_a_change(tx, &provider.embedding_model()).await?;
        }
        Ok(())
    }

    /// Goes back to the installation's provider and forgets the key; `false` if the tenant has none of its own. As with
    /// [`Providers::put`], the rest is [`Providers::forget`]'s.
    pub async fn remove(&self, tx: &mut TenantTx, purpose: Purpose) -> Result<bool, ProviderError> {
        if provider_settings::get_for_update(tx).await?.of(purpose).is_none() {
            return Ok(false);
        }
        provider_settings::put(tx, purpose, None).await?;
        secrets::delete(tx, purpose.secret()).await?;
        if purpose == Purpose::Embeddings {
            reindex::after_a_change(tx, &self.0.embedder.model().into()).await?;
        }
        Ok(true)
    }

    /// What tenants keep secret.
    pub fn secrets(&self) -> &Secrets {
        &self.0.secrets
    }

    /// Looks at a tenant's settings again at the next question.
    pub async fn forget(&self, tenant: TenantId) {
        self.0.current.invalidate(&tenant).await;
    }

    /// How the tenant's own provider is reached; `None` without one.
    pub async fn stored(&self, tx: &mut TenantTx, purpose: Purpose) -> Result<Option<Endpoint>, ProviderError> {
        Ok(own_endpoint(tx, &self.0.secrets, &self.0.policy, purpose).await?)
    }

    /// How a provider that is not stored yet would be reached.
    pub async fn candidate(
        &self,
        tx: &mut TenantTx,
        purpose: Purpose,
        wanted: WantedProvider,
        key: KeyChange,
    ) -> Result<Endpoint, ProviderError> {
        let provider = wanted.check(&self.0.policy)?;
        let key = match key {
            KeyChange::Keep => {
                let stored = provider_settings::get(tx).await?;
                self.check_kept_key(tx, purpose, stored.of(purpose), &provider).await?;
                self.0.secrets.get(tx, purpose.secret()).await?
            }
            KeyChange::Remove => None,
            KeyChange::Set(key) => {
                settings::check_key(&key)?;
                Some(key)
            }
        };
        Ok(provider.endpoint(key, &self.0.policy))
    }

    /// A key may stay only where it has been: nobody gets to read one by sending it to a place of his own, be it on the
    /// same gateway.
    async fn check_kept_key(
        &self,
        tx: &mut TenantTx,
        purpose: Purpose,
        stored: Option<&Provider>,
        provider: &Provider,
    ) -> Result<(), ProviderError> {
        if stored.is_some_and(|stored| stored.base_url == provider.base_url) {
            return Ok(());
        }
        if secrets::exists(tx, purpose.secret()).await? {
            return Err(Fault::new("api_key", "is needed: the stored one was given for another base URL").into());
        }
        Ok(())
    }

    async fn models(&self, tenant: TenantId) -> Result<Arc<Models>, ProviderError> {
        Ok(self.0.current.try_get_with(tenant, self.load(tenant)).await?)
    }

    /// The models of the settings as they are now, which are built once.
    async fn load(&self, tenant: TenantId) -> Result<Arc<Models>, store::Error> {
        let (settings, revision) = provider_settings::find(&self.0.pool, tenant).await?;
        if settings == ProviderSettings::default() {
            return Ok(Arc::default());
        }
        if let Some(models) = self.0.built.get(&(tenant, revision)).await {
            return Ok(models);
        }
        let mut tx = TenantTx::begin(&self.0.pool, tenant).await?;
        let (secrets, policy) = (&self.0.secrets, &self.0.policy);
        // The first one's lock keeps the settings as they are for the second.
        let chat = own_endpoint(&mut tx, secrets, policy, Purpose::Chat).await?;
        let embeddings = own_endpoint(&mut tx, secrets, policy, Purpose::Embeddings).await?;
        tx.commit().await?;
        let prices = settings.chat.iter().flat_map(|chat| &chat.prices);
        let models = Arc::new(Models {
            chat: chat.map(ChatClients::new),
            prices: prices.map(|(model, price)| (model.clone(), price.micros())).collect(),
            embeddings,
            embedder: OnceCell::new(),
        });
        self.0.built.insert((tenant, revision), Arc::clone(&models)).await;
        Ok(models)
    }
}

/// How the tenant's own provider for a purpose is reached, with its key; `None`: it uses the installation's.
pub async fn own_endpoint(
    tx: &mut TenantTx,
    secrets: &Secrets,
    policy: &AddressPolicy,
    purpose: Purpose,
) -> Result<Option<Endpoint>, store::Error> {
    let settings = provider_settings::get_for_share(tx).await?;
    let Some(provider) = settings.of(purpose) else { return Ok(None) };
    Ok(Some(provider.endpoint(secrets.get(tx, purpose.secret()).await?, policy)))
}
