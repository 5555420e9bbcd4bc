//! What handlers are given, each asking for its part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRef;
use docbrain_core::chat::ChatModel;
use docbrain_core::embed::Embedder;
use docbrain_core::models::Endpoint;
use docbrain_core::store::Pool;
use secrecy::{SecretSlice, SecretString};

use crate::access::AccessControl;
use crate::access::oidc::OidcSettings;
use crate::control_plane::ControlPlane;
use crate::draining::Draining;

/// The state of the API; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pool: Pool,
    embedder: Arc<dyn Embedder>,
    chat_models: ChatModels,
    access: AccessControl,
    control_plane: Arc<dyn ControlPlane>,
    settings: Arc<Settings>,
    draining: Draining,
}

/// What an installation is made of.
pub struct Parts {
    /// Logs in as the API's role, so that row-level security holds.
    pub pool: Pool,
    /// Embeds questions.
    pub embedder: Arc<dyn Embedder>,
    /// Without it, answers are quotes.
    pub chat: Option<Endpoint>,
    /// Where configuration is written.
    pub control_plane: Arc<dyn ControlPlane>,
    /// How the API behaves.
    pub settings: Settings,
}

/// How the API behaves, as the installation's configuration says.
#[derive(Debug)]
pub struct Settings {
    /// Bearer token of whoever runs the installation.
    pub admin_token: SecretString,
    /// Keys of signed tokens; the first one signs, all verify. At least one.
    pub signing_keys: Vec<SigningKey>,
    /// Who may make an account.
    pub registration: Registration,
    /// Where browsers reach the API, such as `https://docs.example.com`.
    pub public_url: Option<String>,
    /// A company's identity provider.
    pub oidc: Option<OidcSettings>,
}

/// A key of signed tokens.
#[derive(Debug)]
pub struct SigningKey {
    /// Stands in every token that it signs.
    pub id: String,
    /// At least 32 bytes.
    pub key: SecretSlice<u8>,
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Everybody, with a tenant of their own.
    Open,
    /// Who is invited into a tenant.
    Invite,
    /// Nobody.
    #[default]
    Closed,
}

impl std::str::FromStr for Registration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "open" => Ok(Self::Open),
            "invite" => Ok(Self::Invite),
            "closed" => Ok(Self::Closed),
            other => Err(format!("{other:?} is no mode of registration; use open, invite or closed")),
        }
    }
}

impl AppState {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { pool, embedder, chat, control_plane, settings } = parts;
        let access = AccessControl::new(pool.clone(), &settings);
        Self {
            pool,
            embedder,
            chat_models: ChatModels::new(chat),
            access,
            control_plane,
            settings: Arc::new(settings),
            draining: Draining::default(),
        }
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
    access: AccessControl,
    control_plane: Arc<dyn ControlPlane>,
    settings: Arc<Settings>,
    draining: Draining,
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
