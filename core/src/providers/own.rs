//! The chat model that a chatbot's spec names with an endpoint of its own.

use std::sync::Arc;

use docbrain_crds::{Model, SecretKeyRef};
use moka::future::Cache;
use secrecy::SecretString;

use super::clients::ChatClients;
use super::{FRESH, KEPT, Priced, ProviderError};
use crate::fetch::AddressPolicy;
use crate::ids::TenantId;
use crate::models::{Endpoint, ProviderKind};
use crate::store::secrets::{self, Secrets, Version};
use crate::store::{self, Pool, TenantTx, secret_refs};

/// Endpoints that are remembered at the same time.
const MOST: u64 = 10_000;

/// The endpoints that chatbots have of their own.
pub(super) struct OwnEndpoints {
    current: Cache<Own, Arc<ChatClients>>,
    built: Cache<(Own, Option<Version>), Arc<ChatClients>>,
}

/// Where a chatbot's model is, and under which secret its key.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Own {
    tenant: TenantId,
    base_url: String,
    kind: ProviderKind,
    key: Option<SecretKeyRef>,
}

/// Why there are no clients for an endpoint.
#[derive(Debug)]
enum Unusable {
    KeyMissing(SecretKeyRef),
    Store(Arc<store::Error>),
}

impl From<store::Error> for Unusable {
    fn from(error: store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl OwnEndpoints {
    pub(super) fn new() -> Self {
        Self {
            current: Cache::builder().time_to_live(FRESH).max_capacity(MOST).build(),
            built: Cache::builder().time_to_idle(KEPT).max_capacity(MOST).build(),
        }
    }

    /// The model that `model` names at `base_url`. Its key is the one it refers to or none, never another.
    pub(super) async fn chat_model(
        &self,
        pool: &Pool,
        secrets: &Secrets,
        policy: &AddressPolicy,
        tenant: TenantId,
        model: &Model,
        base_url: &str,
    ) -> Result<Priced, ProviderError> {
        let own =
            Own { tenant, base_url: base_url.to_owned(), kind: model.provider, key: model.api_key_secret_ref.clone() };
        let load = self.load(pool, secrets, policy, own.clone());
        let clients = self.current.try_get_with(own, load).await.map_err(|unusable| match &*unusable {
            Unusable::KeyMissing(SecretKeyRef { name, key }) => {
                ProviderError::KeyMissing { secret: name.clone(), key: key.clone() }
            }
            Unusable::Store(error) => ProviderError::Store(Arc::clone(error)),
        })?;
        Ok(Priced { model: clients.named(model.model.as_deref()), price: None })
    }

    /// The clients of an endpoint with its key as it is now, which are built once.
    async fn load(
        &self,
        pool: &Pool,
        secrets: &Secrets,
        policy: &AddressPolicy,
        own: Own,
    ) -> Result<Arc<ChatClients>, Unusable> {
        let Some(reference) = own.key.clone() else { return Ok(self.build(policy, own, None, None).await) };
        let name = secret_refs::name_of(&reference);
        let mut tx = TenantTx::begin(pool, own.tenant).await?;
        let Some(version) = secrets::version(&mut tx, &name).await? else {
            return Err(Unusable::KeyMissing(reference));
        };
        if let Some(clients) = self.built.get(&(own.clone(), Some(version))).await {
            return Ok(clients);
        }
        // A key that has come since is kept under the version before it, so it is read again soon.
        let key = secrets.get(&mut tx, &name).await?.ok_or(Unusable::KeyMissing(reference))?;
        tx.commit().await?;
        Ok(self.build(policy, own, Some(version), Some(key)).await)
    }

    async fn build(
        &self,
        policy: &AddressPolicy,
        own: Own,
        version: Option<Version>,
        key: Option<SecretString>,
    ) -> Arc<ChatClients> {
        let endpoint = Endpoint {
            base_url: own.base_url.clone(),
            // A spec with a base URL names its model.
            model: String::new(),
            api_key: key,
            kind: own.kind,
            guard: Some(policy.clone()),
        };
        self.built.get_with((own, version), async { Arc::new(ChatClients::new(endpoint)) }).await
    }
}
