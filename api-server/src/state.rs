//! What handlers are given, each asking for its part.

use std::sync::Arc;

use axum::extract::FromRef;
use docbrain_core::config::NamedKey;
use docbrain_core::limits::Limits;
use docbrain_core::providers::Providers;
use docbrain_core::store::Pool;
use ipnet::IpNet;
use secrecy::SecretString;

use crate::access::AccessControl;
use crate::access::oidc::OidcSettings;
use crate::client_ip::TrustedProxies;
use crate::control_plane::ControlPlane;
use crate::draining::Draining;
use crate::routes::{Probes, UploadMemory};

/// The state of the API; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pool: Pool,
    providers: Providers,
    access: AccessControl,
    control_plane: Arc<dyn ControlPlane>,
    settings: Arc<Settings>,
    limits: Limits,
    trusted_proxies: TrustedProxies,
    upload_memory: UploadMemory,
    draining: Draining,
    probes: Probes,
}

/// What an installation is made of.
pub struct Parts {
    /// Logs in as the API's role, so that row-level security holds.
    pub pool: Pool,
    /// The models of all tenants.
    pub providers: Providers,
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
    /// Keys of signed tokens; the first one signs, all verify. At least one, of at least 32 bytes each.
    pub signing_keys: Vec<NamedKey>,
    /// Who may make an account.
    pub registration: Registration,
    /// Where browsers reach the API, such as `https://docs.example.com`.
    pub public_url: Option<String>,
    /// A company's identity provider.
    pub oidc: Option<OidcSettings>,
    /// Networks of the reverse proxies whose word on a client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
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
            other => Err(format!("{other:?} is no mode of registration; set open, invite or closed")),
        }
    }
}

impl AppState {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { pool, providers, control_plane, settings } = parts;
        Self {
            access: AccessControl::new(pool.clone(), &settings),
            limits: Limits::new(pool.clone()),
            trusted_proxies: TrustedProxies::new(settings.trusted_proxies.clone()),
            upload_memory: UploadMemory::default(),
            draining: Draining::default(),
            probes: Probes::default(),
            pool,
            providers,
            control_plane,
            settings: Arc::new(settings),
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
    providers: Providers,
    access: AccessControl,
    control_plane: Arc<dyn ControlPlane>,
    settings: Arc<Settings>,
    limits: Limits,
    trusted_proxies: TrustedProxies,
    upload_memory: UploadMemory,
    draining: Draining,
    probes: Probes,
}
