//! Secrets of tenants, sealed ([`crate::keyring`] holds the cryptography), and the rotation of the keys behind them.
//!
//! Whoever uses the ring shares a lock until its transaction ends; whoever changes a ring in a file holds the lock
//! alone. So nothing is ever wrapped by, or read under, a key that has just been dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Postgres, Transaction};

use super::{Error, Pool, TenantTx};
use crate::ids::TenantId;
use crate::keyring::{DataKey, Keyring, KeyringError, RingFile, WrappedKey};

/// Names the lock on the ring: "docbrain" in ASCII.
const RING_LOCK: i64 = 0x646f_6362_7261_696e;
/// Characters of a secret that its hint shows, and how long it must be to have one.
const HINT: usize = 4;
const SHORTEST_WITH_HINT: usize = 16;

/// Where the ring is.
#[derive(Debug)]
pub enum RingSource {
    /// Given by the environment: the same for as long as the process lives.
    Given(Arc<Keyring>),
    /// In a file, which is read at each use: another process may rotate it.
    File(RingFile),
}

/// The secrets of all tenants; cheap to clone.
#[derive(Clone, Debug)]
pub struct Secrets(Arc<RingSource>);

/// A secret as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSummary {
    /// Its name.
    pub name: String,
    /// Its last four characters; empty for a short one.
    pub hint: String,
    /// When it was last put.
    pub updated_at: DateTime<Utc>,
}

impl Secrets {
    /// Secrets under the keys of this ring.
    pub fn new(ring: RingSource) -> Self {
        Self(Arc::new(ring))
    }

    /// Seals a secret and keeps it under `name`, in the place of what was there.
    pub async fn put(&self, tx: &mut TenantTx, name: &str, secret: &SecretString) -> Result<(), Error> {
        let ring = self.ring(tx).await?;
        let fresh = ring.wrap(&DataKey::generate(tx.tenant()));
        // Of two that come first, the second waits here and finds the first one's key.
        sqlx::query!(
            "insert into tenant_keys (tenant_id, key_id, wrapped) values ($1, $2, $3) on conflict do nothing",
            tx.tenant().0,
            fresh.key_id,
            fresh.bytes,
        )
        .execute(&mut **tx)
        .await?;
        let key = sqlx::query!("select key_id, wrapped from tenant_keys where tenant_id = $1", tx.tenant().0)
            .fetch_one(&mut **tx)
            .await?;
        let key = ring.unwrap(tx.tenant(), &WrappedKey { key_id: key.key_id, bytes: key.wrapped })?;
        sqlx::query!(
            "insert into secrets (tenant_id, name, sealed, hint) values ($1, $2, $3, $4)
             on conflict (tenant_id, name) do update set
                sealed = excluded.sealed, hint = excluded.hint, updated_at = now(), revision = secrets.revision + 1",
            tx.tenant().0,
            name,
            key.seal(name, secret),
            hint(secret.expose_secret()),
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// The secret called `name`.
    pub async fn get(&self, tx: &mut TenantTx, name: &str) -> Result<Option<SecretString>, Error> {
        let ring = self.ring(tx).await?;
        let row = sqlx::query!(
            "select k.key_id, k.wrapped, s.sealed from secrets s join tenant_keys k using (tenant_id)
             where s.tenant_id = $1 and s.name = $2",
            tx.tenant().0,
            name,
        )
        .fetch_optional(&mut **tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let key = ring.unwrap(tx.tenant(), &WrappedKey { key_id: row.key_id, bytes: row.wrapped })?;
        Ok(Some(key.open(name, &row.sealed)?))
    }

    /// Wraps every data key with the current key of the ring, a tenant a transaction; how many there were. A ring in a
    /// file gets a new current key before, and loses all others after. Killed at any point, it is simply called again.
    pub async fn rotate(&self, owner: &Pool) -> Result<u64, Error> {
        if let RingSource::File(file) = &*self.0 {
            let alone = alone(owner).await?;
            file.replace(&Keyring::generate().before(file.read()?))?;
            alone.commit().await?;
        }
        let mut rewrapped = 0;
        loop {
            for tenant in self.tenants_of_old_keys(owner).await? {
                let mut tx = TenantTx::begin(owner, tenant).await?;
                rewrapped += u64::from(self.rewrap(&mut tx).await?);
                tx.commit().await?;
            }
            let alone = alone(owner).await?;
            if self.tenants_of_old_keys(owner).await?.is_empty() {
                if let RingSource::File(file) = &*self.0 {
                    file.replace(&file.read()?.without_old())?;
                }
                alone.commit().await?;
                return Ok(rewrapped);
            }
            alone.commit().await?;
        }
    }

    /// The ids of the ring's keys, the current one first, and of all that are in use, with how many tenants use each.
    pub async fn keys(&self, owner: &Pool) -> Result<(Vec<String>, BTreeMap<String, u64>), Error> {
        let mut in_use = BTreeMap::new();
        for (_, key_id) in wrapped_by(owner).await? {
            *in_use.entry(key_id).or_default() += 1;
        }
        Ok((self.ring_now()?.ids().map(str::to_owned).collect(), in_use))
    }

    async fn tenants_of_old_keys(&self, owner: &Pool) -> Result<Vec<TenantId>, Error> {
        let (ring, wrapped) = (self.ring_now()?, wrapped_by(owner).await?);
        Ok(wrapped.into_iter().filter(|(_, key_id)| key_id != ring.current()).map(|(tenant, _)| tenant).collect())
    }

    /// Wraps the tenant's data key with the current key; `false` if it is already, or there is none.
    async fn rewrap(&self, tx: &mut TenantTx) -> Result<bool, Error> {
        let ring = self.ring(tx).await?;
        let row =
            sqlx::query!("select key_id, wrapped from tenant_keys where tenant_id = $1 for update", tx.tenant().0)
                .fetch_optional(&mut **tx)
                .await?;
        let Some(row) = row.filter(|row| row.key_id != ring.current()) else { return Ok(false) };
        let key = ring.unwrap(tx.tenant(), &WrappedKey { key_id: row.key_id, bytes: row.wrapped })?;
        let wrapped = ring.wrap(&key);
        let updated = sqlx::query!(
            "update tenant_keys set key_id = $2, wrapped = $3, wrapped_at = now() where tenant_id = $1",
            tx.tenant().0,
            wrapped.key_id,
            wrapped.bytes,
        )
        .execute(&mut **tx)
        .await?;
        Ok(updated.rows_affected() == 1)
    }

    /// The ring, which stays as it is until the transaction ends.
    async fn ring(&self, tx: &mut TenantTx) -> Result<Arc<Keyring>, Error> {
        sqlx::query!("select pg_advisory_xact_lock_shared($1)", RING_LOCK).execute(&mut **tx).await?;
        Ok(self.ring_now()?)
    }

    fn ring_now(&self) -> Result<Arc<Keyring>, KeyringError> {
        match &*self.0 {
            RingSource::Given(ring) => Ok(Arc::clone(ring)),
            RingSource::File(file) => file.read().map(Arc::new),
        }
    }
}

/// The name under which a key of a Secret is kept, for specs that refer to it.
pub fn referred(secret: &str, key: &str) -> String {
    format!("ref/{secret}/{key}")
}

impl Secrets {
    /// Keeps the keys of a Secret as they are now, and none besides; `false`: they were so already.
    pub async fn put_referred(
        &self,
        tx: &mut TenantTx,
        secret: &str,
        keys: &BTreeMap<String, SecretString>,
    ) -> Result<bool, Error> {
        let prefix = referred(secret, "");
        let mut changed = false;
        for known in list(tx).await? {
            if let Some(key) = known.name.strip_prefix(&prefix)
                && !keys.contains_key(key)
            {
                changed |= delete(tx, &known.name).await?;
            }
        }
        for (key, value) in keys {
            let name = referred(secret, key);
            let before = self.get(tx, &name).await?;
            if before.is_none_or(|before| before.expose_secret() != value.expose_secret()) {
                self.put(tx, &name, value).await?;
                changed = true;
            }
        }
        Ok(changed)
    }
}

/// Tells a secret from what stood under its name before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    revision: i64,
    updated_at: DateTime<Utc>,
}

/// The version of the secret of that name; `None` if there is none.
pub async fn version(tx: &mut TenantTx, name: &str) -> Result<Option<Version>, Error> {
    let version = sqlx::query_as!(
        Version,
        "select revision, updated_at from secrets where tenant_id = $1 and name = $2",
        tx.tenant().0,
        name
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(version)
}

/// Whether there is a secret of that name.
pub async fn exists(tx: &mut TenantTx, name: &str) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"select exists (select 1 from secrets where tenant_id = $1 and name = $2) as "exists!""#,
        tx.tenant().0,
        name
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(exists)
}

/// Forgets a secret; `false` if there is none of that name.
pub async fn delete(tx: &mut TenantTx, name: &str) -> Result<bool, Error> {
    let deleted = sqlx::query!("delete from secrets where tenant_id = $1 and name = $2", tx.tenant().0, name)
        .execute(&mut **tx)
        .await?;
    Ok(deleted.rows_affected() == 1)
}

/// The tenant's secrets by name.
pub async fn list(tx: &mut TenantTx) -> Result<Vec<SecretSummary>, Error> {
    let rows = sqlx::query_as!(
        SecretSummary,
        "select name, hint, updated_at from secrets where tenant_id = $1 order by name",
        tx.tenant().0
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows)
}

/// Which key wraps which tenant's data key.
async fn wrapped_by(owner: &Pool) -> Result<Vec<(TenantId, String)>, Error> {
    let rows = sqlx::query!(r#"select tenant_id as "tenant_id!", key_id as "key_id!" from tenant_keys_in_use()"#)
        .fetch_all(owner)
        .await?;
    Ok(rows.into_iter().map(|row| (TenantId(row.tenant_id), row.key_id)).collect())
}

/// Waits until nobody uses the ring, and keeps it so.
async fn alone(owner: &Pool) -> Result<Transaction<'static, Postgres>, Error> {
    let mut tx = owner.begin().await?;
    sqlx::query!("select pg_advisory_xact_lock($1)", RING_LOCK).execute(&mut *tx).await?;
    Ok(tx)
}

fn hint(secret: &str) -> String {
    let length = secret.chars().count();
    if length < SHORTEST_WITH_HINT { String::new() } else { secret.chars().skip(length - HINT).collect() }
}
