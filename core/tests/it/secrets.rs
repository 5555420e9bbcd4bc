//! Secrets at rest: sealed for one tenant under one name, through any rotation of the keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use docbrain_core::ids::TenantId;
use docbrain_core::keyring::{Keyring, KeyringError, RingFile};
use docbrain_core::store::secrets::{self, RingSource, Secrets};
use docbrain_core::store::{Error, Pool, TenantTx};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::harness::World;

/// Secrets under a ring of the keys `k1` to `kN`, the last one current.
pub(crate) fn secrets(newest: u8) -> Secrets {
    Secrets::new(RingSource::Given(Arc::new(ring(1..=newest))))
}

fn ring(keys: impl DoubleEndedIterator<Item = u8>) -> Keyring {
    let entry = |n: u8| format!("k{n}:{}", BASE64_STANDARD.encode([n; 32]));
    Keyring::parse(&keys.rev().map(entry).collect::<Vec<_>>().join(",").into()).unwrap()
}

async fn read(pool: &Pool, secrets: &Secrets, tenant: TenantId, name: &str) -> Option<String> {
    let mut tx = TenantTx::begin(pool, tenant).await.unwrap();
    let secret = secrets.get(&mut tx, name).await.unwrap();
    tx.commit().await.unwrap();
    secret.map(|secret| secret.expose_secret().to_owned())
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_secret_is_kept_listed_and_forgotten(owner: PgPool) {
    let world = World::new(owner).await;
    let (acme, rival) = (world.tenant("acme").await.id, world.tenant("rival").await.id);
    let keys = secrets(1);
    let mut tx = world.begin(acme).await;
    assert!(keys.get(&mut tx, "chat").await.unwrap().is_none());
    keys.put(&mut tx, "chat", &"sk-first-secret-of-many".into()).await.unwrap();
    keys.put(&mut tx, "chat", &"sk-a-canary-in-a-coal-mine".into()).await.unwrap();
    keys.put(&mut tx, "short", &"hunter2".into()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(read(&world.api, &keys, acme, "chat").await.as_deref(), Some("sk-a-canary-in-a-coal-mine"));
    let mut tx = world.begin(acme).await;
    let listed = secrets::list(&mut tx).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|secret| (secret.name.as_str(), secret.hint.as_str())).collect();
    assert_eq!(listed, [("chat", "mine"), ("short", "")]);
    assert!(secrets::delete(&mut tx, "chat").await.unwrap());
    assert!(!secrets::delete(&mut tx, "chat").await.unwrap());
    assert!(!secrets::exists(&mut tx, "chat").await.unwrap());
    assert_eq!(read(&world.api, &keys, rival, "short").await, None);
    let stored: Vec<Vec<u8>> = sqlx::query_scalar("select sealed from secrets").fetch_all(&mut *tx).await.unwrap();
    assert!(stored.iter().all(|bytes| !bytes.windows(6).any(|window| window == b"canary" || window == b"hunter")));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_row_that_is_moved_does_not_open(owner: PgPool) {
    let world = World::new(owner).await;
    let keys = secrets(1);
    let (acme, rival) = (world.tenant("acme").await.id, world.tenant("rival").await.id);
    for tenant in [acme, rival] {
        let mut tx = world.begin(tenant).await;
        keys.put(&mut tx, "chat", &format!("of {tenant}").into()).await.unwrap();
        keys.put(&mut tx, "embeddings", &"other".into()).await.unwrap();
        tx.commit().await.unwrap();
    }
    let row = |tenant, name: &'static str| {
        let api = world.api.clone();
        async move {
            let mut tx = TenantTx::begin(&api, tenant).await.unwrap();
            let row: (Vec<u8>, Vec<u8>) = sqlx::query_as(
                "select s.sealed, k.wrapped from secrets s join tenant_keys k using (tenant_id) where s.name = $1",
            )
            .bind(name)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
            row
        }
    };
    let put = async |sealed: &[u8], wrapped: &[u8]| {
        let mut tx = world.begin(rival).await;
        sqlx::query("update secrets set sealed = $1 where name = 'chat'").bind(sealed).execute(&mut *tx).await.unwrap();
        sqlx::query("update tenant_keys set wrapped = $1").bind(wrapped).execute(&mut *tx).await.unwrap();
        keys.get(&mut tx, "chat").await
    };
    let ((of_acme, key_of_acme), (own, own_key)) = (row(acme, "chat").await, row(rival, "chat").await);
    let (of_other_name, _) = row(rival, "embeddings").await;
    assert!(put(&own, &own_key).await.is_ok());
    for (sealed, wrapped) in [(&of_acme, &own_key), (&of_acme, &key_of_acme), (&of_other_name, &own_key)] {
        assert!(matches!(put(sealed, wrapped).await, Err(Error::Keyring { .. })));
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn two_first_writers_share_one_key(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await.id;
    let keys = secrets(1);
    let mut writers = JoinSet::new();
    for n in 0..4 {
        let (api, keys) = (world.api.clone(), keys.clone());
        writers.spawn(async move {
            let mut tx = TenantTx::begin(&api, acme).await.unwrap();
            keys.put(&mut tx, &format!("secret {n}"), &format!("value {n}").into()).await.unwrap();
            tx.commit().await.unwrap();
        });
    }
    writers.join_all().await;
    for n in 0..4 {
        assert_eq!(read(&world.api, &keys, acme, &format!("secret {n}")).await, Some(format!("value {n}")));
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_given_ring_is_rotated_by_its_first_key(owner: PgPool) {
    let world = World::new(owner).await;
    let acme = world.tenant("acme").await.id;
    let mut tx = world.begin(acme).await;
    secrets(1).put(&mut tx, "chat", &"kept".into()).await.unwrap();
    tx.commit().await.unwrap();

    let both = secrets(2);
    let (ring_ids, in_use) = both.keys(&world.owner).await.unwrap();
    assert_eq!((ring_ids, in_use), (vec!["k2".to_owned(), "k1".to_owned()], [("k1".to_owned(), 1)].into()));
    assert_eq!(both.rotate(&world.owner).await.unwrap(), 1);
    assert_eq!(both.rotate(&world.owner).await.unwrap(), 0, "a second time has nothing to do");
    assert_eq!(both.keys(&world.owner).await.unwrap().1, [("k2".to_owned(), 1)].into());

    // The old key may go; a ring with nothing but the old one says what is missing.
    let new_alone = Secrets::new(RingSource::Given(Arc::new(ring(2..=2))));
    assert_eq!(read(&world.api, &new_alone, acme, "chat").await.as_deref(), Some("kept"));
    let mut tx = world.begin(acme).await;
    let error = secrets(1).get(&mut tx, "chat").await.unwrap_err();
    assert!(matches!(&error, Error::Keyring { source: KeyringError::UnknownKey { key_id } } if key_id == "k2"));
    assert!(secrets(1).rotate(&world.owner).await.is_err(), "nothing is rewrapped that cannot be opened");
    assert!(world.api.acquire().await.is_ok());
    assert!(sqlx::query("select * from tenant_keys_in_use()").execute(&world.api).await.is_err(), "the owner's alone");
}

/// Writers, readers and new tenants while the ring in a file is rotated without a pause.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn rotation_loses_nothing_and_fails_no_read(owner: PgPool) {
    const TENANTS: usize = 6;
    const ROTATIONS: u32 = 12;
    let world = World::new(owner).await;
    let folder = tempfile::tempdir().unwrap();
    let file = RingFile::open(folder.path().join("encryption-keys")).unwrap();
    let first = file.read().unwrap().current().to_owned();
    let keys = Secrets::new(RingSource::File(file.clone()));
    let done = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for n in 0..TENANTS {
        let tenant = world.tenant(&format!("tenant-{n}")).await.id;
        let (api, keys, done, calls) = (world.api.clone(), keys.clone(), Arc::clone(&done), Arc::clone(&calls));
        workers.spawn(async move {
            // Not all at once: some tenants get their first key in the midst of a rotation.
            tokio::time::sleep(Duration::from_millis(40 * n as u64)).await;
            let mut last = 0_u64;
            while !done.load(Ordering::Relaxed) {
                last += 1;
                let value = SecretString::from(format!("value {last} of {tenant}"));
                let mut tx = TenantTx::begin(&api, tenant).await.unwrap();
                keys.put(&mut tx, "chat", &value).await.unwrap();
                tx.commit().await.unwrap();
                assert_eq!(read(&api, &keys, tenant, "chat").await.as_deref(), Some(value.expose_secret()));
                calls.fetch_add(2, Ordering::Relaxed);
            }
            (tenant, last)
        });
    }
    let mut rewrapped = 0;
    for _ in 0..ROTATIONS {
        rewrapped += keys.rotate(&world.owner).await.unwrap();
        let (ring, in_use) = keys.keys(&world.owner).await.unwrap();
        assert_eq!(ring.len(), 1, "old keys are dropped");
        assert!(in_use.keys().all(|id| *id == ring[0]), "{in_use:?}");
    }
    done.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        let (tenant, last) = worker.unwrap();
        let kept = read(&world.api, &keys, tenant, "chat").await;
        assert_eq!(kept, (last > 0).then(|| format!("value {last} of {tenant}")));
    }
    assert_ne!(file.read().unwrap().current(), first);
    assert!(rewrapped >= u64::from(ROTATIONS) && calls.load(Ordering::Relaxed) > 100, "{rewrapped} {calls:?}");
}

/// A rotation that is killed after it has written the new key, or half way through the tenants, is repeated.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_rotation_that_is_killed_is_repeated(owner: PgPool) {
    let world = World::new(owner).await;
    let folder = tempfile::tempdir().unwrap();
    let file = RingFile::open(folder.path().join("encryption-keys")).unwrap();
    let keys = Secrets::new(RingSource::File(file.clone()));
    let mut tenants = Vec::new();
    for n in 0..8 {
        let tenant = world.tenant(&format!("tenant-{n}")).await.id;
        let mut tx = world.begin(tenant).await;
        keys.put(&mut tx, "chat", &format!("of {tenant}").into()).await.unwrap();
        tx.commit().await.unwrap();
        tenants.push(tenant);
    }
    for milliseconds in 1..25 {
        let rotation = keys.rotate(&world.owner);
        let _ = tokio::time::timeout(Duration::from_millis(milliseconds), rotation).await;
        for &tenant in &tenants {
            assert_eq!(read(&world.api, &keys, tenant, "chat").await, Some(format!("of {tenant}")));
        }
    }
    keys.rotate(&world.owner).await.unwrap();
    let (ring, in_use) = keys.keys(&world.owner).await.unwrap();
    assert_eq!((ring.len(), in_use.len(), in_use[&ring[0]]), (1, 1, 8));
}
