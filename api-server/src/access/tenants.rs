//! Tenants by name, remembered briefly: a request of the installation's own may name any.

use docbrain_core::ids::TenantId;
use docbrain_core::store::{self, Pool};
use moka::future::Cache;

use super::REMEMBERED;
use crate::problem::{Problem, ProblemKind};

/// Names the tenant of a request.
pub(crate) const TENANT_HEADER: &str = "x-docbrain-tenant";

/// Tenants by name; the empty name is the only tenant there is.
#[derive(Clone)]
pub(super) struct TenantNames {
    pool: Pool,
    known: Cache<String, TenantId>,
}

impl TenantNames {
    pub(super) fn new(pool: Pool) -> Self {
        // A stale id reaches no rows, so nothing but a moment's 404 can come of this.
        Self { pool, known: Cache::builder().max_capacity(10_000).time_to_live(REMEMBERED).build() }
    }

    /// The tenant of this name; without a name, the only one there is.
    pub(super) async fn resolve(&self, name: Option<&str>) -> Result<TenantId, Problem> {
        let key = name.unwrap_or_default();
        if let Some(tenant) = self.known.get(key).await {
            return Ok(tenant);
        }
        let tenant = match name {
            Some(name) => store::tenants::named(&self.pool, name).await?.ok_or_else(unknown_tenant)?,
            None => self.only_tenant().await?,
        };
        self.known.insert(key.to_owned(), tenant).await;
        Ok(tenant)
    }

    async fn only_tenant(&self) -> Result<TenantId, Problem> {
        let names = store::tenants::names(&self.pool).await?;
        let [name] = names.as_slice() else {
            return Err(tenant_required("this installation does not have exactly one tenant"));
        };
        store::tenants::named(&self.pool, name).await?.ok_or_else(unknown_tenant)
    }
}

pub(super) fn tenant_required(because: &str) -> Problem {
    Problem::new(ProblemKind::TenantRequired, format!("{because}; name yours in the header `X-DocBrain-Tenant`"))
}

pub(super) fn unknown_tenant() -> Problem {
    Problem::new(
        ProblemKind::TenantNotFound,
        "the header `X-DocBrain-Tenant` names no tenant that this caller can act for",
    )
}
