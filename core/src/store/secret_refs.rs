//! Values of Secrets that resources refer to, kept among the tenant's secrets as `ref/<name>/<key>`. In a cluster the
//! operator brings them here, on one machine `docbrain apply` does; chat reads them nowhere else.

use docbrain_crds::SecretKeyRef;
use secrecy::{ExposeSecret, SecretString};

use super::secrets::Secrets;
use super::{Error, TenantTx};

/// The name that the value of a reference has among the tenant's secrets.
pub fn name_of(reference: &SecretKeyRef) -> String {
    super::secrets::referred(&reference.name, &reference.key)
}

/// Keeps the value of a reference; `false`, and nothing is written, when it is the one that is kept already.
pub async fn put_if_changed(
    tx: &mut TenantTx,
    secrets: &Secrets,
    reference: &SecretKeyRef,
    value: &SecretString,
) -> Result<bool, Error> {
    let name = name_of(reference);
    let kept = secrets.get(tx, &name).await?;
    if kept.is_some_and(|kept| kept.expose_secret() == value.expose_secret()) {
        return Ok(false);
    }
    secrets.put(tx, &name, value).await?;
    Ok(true)
}

/// Forgets the value of a reference, whose Secret or key is gone; `false` if none is kept.
pub async fn delete(tx: &mut TenantTx, reference: &SecretKeyRef) -> Result<bool, Error> {
    super::secrets::delete(tx, &name_of(reference)).await
}

/// What the tenant's chatbots refer to.
pub async fn wanted(tx: &mut TenantTx) -> Result<Vec<SecretKeyRef>, Error> {
    let rows = sqlx::query!(
        r#"select distinct spec #>> '{model,apiKeySecretRef,name}' as "name!", spec #>> '{model,apiKeySecretRef,key}' as "key!"
         from chatbots where tenant_id = $1 and spec #> '{model,apiKeySecretRef}' is not null order by 1, 2"#,
        tx.tenant().0,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| SecretKeyRef { name: row.name, key: row.key }).collect())
}

/// Forgets the values that no chatbot refers to any more; how many there were.
pub async fn delete_unreferenced(tx: &mut TenantTx) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        "delete from secrets s where s.tenant_id = $1 and s.name like 'ref/%' and not exists (
            select 1 from chatbots c where c.tenant_id = s.tenant_id and s.name = 'ref/'
                || (c.spec #>> '{model,apiKeySecretRef,name}') || '/' || (c.spec #>> '{model,apiKeySecretRef,key}'))",
        tx.tenant().0,
    )
    .execute(&mut **tx)
    .await?;
    Ok(deleted.rows_affected())
}
