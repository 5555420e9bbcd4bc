//! What handlers are given, each asking for its part.

use axum::extract::FromRef;
use docbrain_core::providers::Providers;
use docbrain_core::store::Pool;
use secrecy::SecretString;

use crate::access::{AdminToken, TenantNames};

/// The state of the API; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pool: Pool,
    providers: Providers,
    admin_token: AdminToken,
    tenants: TenantNames,
}

impl AppState {
    /// `pool` logs in as the API's role, so that row-level security holds.
    #[expect(clippy::needless_pass_by_value, reason = "the token is not needed elsewhere: only its digest is kept")]
    pub fn new(pool: Pool, providers: Providers, admin_token: SecretString) -> Self {
        Self { pool, providers, admin_token: AdminToken::new(&admin_token), tenants: TenantNames::default() }
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
    admin_token: AdminToken,
    tenants: TenantNames,
}
