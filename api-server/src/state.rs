//! What handlers are given, each asking for its part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRef;
use docbrain_core::chat::ChatModel;
use docbrain_core::embed::Embedder;
use docbrain_core::limits::Limits;
use docbrain_core::models::Endpoint;
use docbrain_core::store::Pool;
use ipnet::IpNet;
use secrecy::SecretString;

use crate::access::{AdminToken, TenantNames};
use crate::client_ip::TrustedProxies;
use crate::routes::UploadMemory;

/// The state of the API; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pool: Pool,
    embedder: Arc<dyn Embedder>,
    chat_models: ChatModels,
    admin_token: AdminToken,
    tenants: TenantNames,
    limits: Limits,
    trusted_proxies: TrustedProxies,
    upload_memory: UploadMemory,
}

impl AppState {
    /// `pool` logs in as the API's role, so that row-level security holds. Without `chat`, answers are quotes.
    #[expect(clippy::needless_pass_by_value, reason = "the token is not needed elsewhere: only its digest is kept")]
    pub fn new(pool: Pool, embedder: Arc<dyn Embedder>, chat: Option<Endpoint>, admin_token: SecretString) -> Self {
        Self {
            limits: Limits::new(pool.clone()),
            pool,
            embedder,
            chat_models: ChatModels::new(chat),
            admin_token: AdminToken::new(&admin_token),
            tenants: TenantNames::default(),
            trusted_proxies: TrustedProxies::default(),
            upload_memory: UploadMemory::default(),
        }
    }

    /// Takes the word of reverse proxies in these networks on a client's address. Nobody's, without.
    #[must_use]
    pub fn trusting(self, proxies: Vec<IpNet>) -> Self {
        Self { trusted_proxies: TrustedProxies::new(proxies), ..self }
    }
}

macro_rules! parts {
    ($($field:ident: $part:ty),+ $(,)?) => {$(
        impl FromRef<AppState> for $part {
            fn from_ref(state: &AppState) -> Self {
                state.$field.clone()
            }
        }
    )+};
}

parts! {
    pool: Pool,
    embedder: Arc<dyn Embedder>,
    chat_models: ChatModels,
    admin_token: AdminToken,
    tenants: TenantNames,
    limits: Limits,
    trusted_proxies: TrustedProxies,
    upload_memory: UploadMemory,
}

/// The chat models of the installation's endpoint. One client a model, so that its connections are used again.
#[derive(Clone)]
pub(crate) struct ChatModels(Option<Arc<Clients>>);

struct Clients {
    endpoint: Endpoint,
    by_name: Mutex<HashMap<String, Arc<dyn ChatModel>>>,
}

impl ChatModels {
    /// Names come from specs; beyond this many the clients are made anew.
    const MOST: usize = 64;

    fn new(endpoint: Option<Endpoint>) -> Self {
        Self(endpoint.map(|endpoint| Arc::new(Clients { endpoint, by_name: Mutex::default() })))
    }

    /// The model of this name, or the endpoint's own; `None` when no endpoint is configured.
    pub(crate) fn named(&self, name: Option<&str>) -> Option<Arc<dyn ChatModel>> {
        let clients = self.0.as_ref()?;
        let name = name.unwrap_or(&clients.endpoint.model);
        let mut by_name = clients.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = by_name.get(name) {
            return Some(Arc::clone(model));
        }
        if by_name.len() == Self::MOST {
            by_name.clear();
        }
        let model = clients.endpoint.chat(Some(name));
        by_name.insert(name.to_owned(), Arc::clone(&model));
        Some(model)
    }
}
