//! A manifest applied as `kubectl apply` does it.

use docbrain_crds::DeletionPolicy;
use docbrain_crds::manifest::{self, Kind, Resource, Stated};
use serde_json::{Map, Value};

use super::{ProvisionError, Provisioner, author_of, merge, row_name, write};
use crate::store::{self, TenantTx, Written};

impl Provisioner {
    /// Applies what a manifest says: that holds, what only the manifest before said goes, and what was set otherwise, such
    /// as through the API, stays.
    pub async fn apply_stated(&self, stated: &Stated) -> Result<Written, ProvisionError> {
        let kind = stated.resource.kind();
        let mut tx = self.begin_for(&stated.resource).await?;
        let tenant = tx.tenant();
        let resource = merged(&mut tx, stated).await?;
        let written = write(&mut tx, &resource, &author_of(resource.metadata())).await?;
        store::specs::note_applied(&mut tx, kind, row_name(&resource), &stated.spec).await?;
        tx.commit().await?;
        self.ensure_role(&resource, tenant).await?;
        Ok(written)
    }

    /// Deletes what a manifest names. Rows of a tenant that stay are as if the manifest had said all of them: the next one
    /// begins afresh.
    pub async fn delete_stated(&self, stated: &Stated) -> Result<(), ProvisionError> {
        let resource = &stated.resource;
        self.delete(resource).await?;
        let retained = match resource {
            Resource::Tenant(tenant) if tenant.spec.deletion_policy == DeletionPolicy::Retain => {
                store::tenants::named(&self.owner, row_name(resource)).await?
            }
            _ => None,
        };
        if let Some(tenant) = retained {
            let mut tx = TenantTx::begin(&self.owner, tenant).await?;
            let spec = store::specs::lock(&mut tx, Kind::Tenant, row_name(resource)).await?.spec;
            store::specs::note_applied(&mut tx, Kind::Tenant, row_name(resource), &spec).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

/// The resource as it is to be, its row locked.
async fn merged(tx: &mut TenantTx, stated: &Stated) -> Result<Resource, ProvisionError> {
    let Stated { resource, spec: said } = stated;
    let (kind, name) = (resource.kind(), row_name(resource));
    match store::specs::lock(tx, kind, name).await {
        Ok(locked) => {
            let mut spec = locked.spec;
            let applied = store::specs::applied(tx, kind, name).await?;
            merge(&mut spec, &patch(applied.as_ref(), said));
            Ok(manifest::resource_of(kind, resource.namespace(), resource.name(), &spec)?)
        }
        Err(store::Error::NotFound { .. }) => Ok(resource.clone()),
        Err(error) => Err(error.into()),
    }
}

/// The merge patch (RFC 7396) that sets what is said, and takes away what was said before and is not any more.
fn patch(before: Option<&Value>, said: &Value) -> Value {
    let Value::Object(said) = said else {
        return said.clone();
    };
    let dropped = before.and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let dropped = dropped.filter(|name| !said.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let set = said.iter().map(|(name, value)| {
        let before = before.and_then(|before| before.get(name));
        (name.clone(), patch(before, value))
    });
    Value::Object(dropped.chain(set).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_manifest_drops_goes_and_what_it_never_said_stays() {
        for (held, before, said, result) in [
            // Set through the API, never in a manifest.
            (json!({"a": 1, "b": 2}), None, json!({"a": 3}), json!({"a": 3, "b": 2})),
            (json!({"a": 1, "b": 2}), Some(json!({"a": 1})), json!({"a": 3}), json!({"a": 3, "b": 2})),
            // Dropped from the manifest.
            (json!({"a": 1, "b": 2}), Some(json!({"a": 1, "b": 2})), json!({"a": 1}), json!({"a": 1})),
            // Each field of an object is judged for itself; a list is one value.
            (
                json!({"limits": {"x": 1, "y": 2, "z": 3}}),
                Some(json!({"limits": {"x": 1, "y": 2}})),
                json!({"limits": {"x": 5}}),
                json!({"limits": {"x": 5, "z": 3}}),
            ),
            (json!({"l": [1, 2]}), Some(json!({"l": [1, 2]})), json!({"l": [3]}), json!({"l": [3]})),
            // One kind of source in place of another.
            (
                json!({"source": {"upload": {}}}),
                Some(json!({"source": {"upload": {}}})),
                json!({"source": {"other": {"u": 1}}}),
                json!({"source": {"other": {"u": 1}}}),
            ),
        ] {
            let mut spec = held;
            merge(&mut spec, &patch(before.as_ref(), &said));
            assert_eq!(spec, result);
        }
    }
}
