//! Secret refs.
use crate::store::secrets::Secrets;
use crate::store::{Error, TenantTx};
use docbrain_crds::SecretKeyRef;
use secrecy::{ExposeSecret, SecretString};

/// Name.
pub fn name_of(reference: &SecretKeyRef) -> String {
    format!("ref/{}/{}", reference.name, reference.key)
}

/// Put.
pub async fn put_if_changed(
    secrets: &Secrets,
    tx: &mut TenantTx,
    reference: &SecretKeyRef,
    value: &SecretString,
) -> Result<bool, Error> {
    let name = name_of(reference);
    if secrets.get(tx, &name).await?.is_some_and(|there| there.expose_secret() == value.expose_secret()) {
        return Ok(false);
    }
    secrets.put(tx, &name, value).await?;
    Ok(true)
}

/// Delete.
pub async fn delete_unreferenced(_tx: &mut TenantTx) -> Result<(), Error> {
    Ok(())
}
