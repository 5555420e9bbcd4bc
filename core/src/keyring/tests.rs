use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

/// 32 zero bytes in base64.
const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const ONES: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn ring(text: &str) -> Result<Keyring, KeyringError> {
    Keyring::parse(&SecretString::from(text))
}

#[test]
fn a_ring_is_read_with_commas_or_lines() {
    for text in
        [format!("k2:{ZEROS},k1:{ONES}"), format!("k2:{ZEROS}\nk1:{ONES}\n"), format!(" k2:{ZEROS} ,\n k1:{ONES}")]
    {
        let ring = ring(&text).unwrap();
        assert_eq!((ring.current(), ring.ids().collect::<Vec<_>>()), ("k2", vec!["k2", "k1"]));
        assert_eq!(Keyring::parse(&ring.to_text()).unwrap().to_text().expose_secret(), ring.to_text().expose_secret());
    }
}

#[test]
fn a_wrong_entry_is_named_by_its_place_and_never_shown() {
    let secret = "c2VjcmV0LXNlY3JldA==";
    for (text, position, fault) in [
        (format!("k1:{ZEROS},{secret}"), 2, EntryFault::Form),
        (format!("k1:{secret}"), 1, EntryFault::Key),
        (format!("k1:{ZEROS},k2:{secret}%"), 2, EntryFault::Key),
        (format!(":{ZEROS}"), 1, EntryFault::Id),
        (format!("Key:{ZEROS}"), 1, EntryFault::Id),
        (format!("{}:{ZEROS}", "k".repeat(33)), 1, EntryFault::Id),
        (format!("k1:{ZEROS},k1:{ONES}"), 2, EntryFault::Twice),
    ] {
        let error = ring(&text).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains("docbrain keys generate") && !told.contains(secret) && !told.contains(ZEROS), "{told}");
        match error {
            KeyringError::Entry { position: p, fault: f } => assert_eq!((p, f), (position, fault)),
            other => panic!("{other}"),
        }
    }
    assert!(matches!(ring(" ,\n"), Err(KeyringError::Empty)));
}

#[test]
fn what_is_sealed_opens_for_its_tenant_and_name_alone() {
    let (ring, acme, rival) = (Keyring::generate(), TenantId::new(), TenantId::new());
    let key = DataKey::generate(acme);
    let sealed = key.seal("provider:chat", &"sk-canary".into());
    assert!(!sealed.windows(9).any(|window| window == b"sk-canary"));
    let wrapped = ring.wrap(&key);
    let same = ring.unwrap(acme, &wrapped).unwrap();
    assert_eq!(same.open("provider:chat", &sealed).unwrap().expose_secret(), "sk-canary");
    assert!(matches!(same.open("provider:embeddings", &sealed), Err(KeyringError::Sealed { .. })));
    assert!(matches!(ring.unwrap(rival, &wrapped), Err(KeyringError::WrongKey { .. })));
    // Even with the very same data key.
    let stolen = DataKey { tenant: rival, secret: SecretBox::new(Box::new(*key.secret.expose_secret())) };
    assert!(stolen.open("provider:chat", &sealed).is_err());
    assert_ne!(key.seal("provider:chat", &"sk-canary".into()), sealed, "no nonce is used twice");
}

#[test]
fn a_key_that_is_gone_is_named() {
    let tenant = TenantId::new();
    let wrapped = ring(&format!("k1:{ZEROS}")).unwrap().wrap(&DataKey::generate(tenant));
    let error = ring(&format!("k2:{ONES}")).unwrap().unwrap(tenant, &wrapped).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a secret was sealed with key \"k1\", which DOCBRAIN_ENCRYPTION_KEYS does not hold; add it back and run `docbrain keys rotate`"
    );
    let other_bytes = ring(&format!("k1:{ONES}")).unwrap().unwrap(tenant, &wrapped).unwrap_err();
    assert!(matches!(other_bytes, KeyringError::WrongKey { .. }));
    let both = ring(&format!("k2:{ONES},k1:{ZEROS}")).unwrap();
    assert_eq!(both.wrap(&both.unwrap(tenant, &wrapped).unwrap()).key_id, "k2");
}

#[test]
fn nothing_of_a_key_is_printed() {
    let ring = ring(&format!("k1:{ONES}")).unwrap();
    let key = DataKey::generate(TenantId::new());
    let told = format!("{ring:?} {key:?} {:?}", ring.to_text());
    assert!(!told.contains("AQEB") && !told.contains("1, 1, 1"), "{told}");
}

#[test]
fn a_file_is_made_once_and_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encryption-keys");
    let file = RingFile::open(path.clone()).unwrap();
    let first = file.read().unwrap();
    assert_eq!(RingFile::open(path.clone()).unwrap().read().unwrap().current(), first.current());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let old = first.current().to_owned();
    let both = Keyring::generate().before(first);
    file.replace(&both).unwrap();
    assert_eq!(file.read().unwrap().ids().collect::<Vec<_>>(), [both.current(), &old]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    std::fs::write(&path, "oops").unwrap();
    assert!(matches!(file.read(), Err(KeyringError::Entry { position: 1, fault: EntryFault::Form })));
}

proptest! {
    #[test]
    fn bytes_that_were_changed_do_not_open(at in 0_usize..30, flip in 1_u8..) {
        let key = DataKey::generate(TenantId::new());
        let mut sealed = key.seal("n", &"a".into());
        let at = at % sealed.len();
        sealed[at] ^= flip;
        prop_assert!(key.open("n", &sealed).is_err());
        prop_assert!(key.open("n", &sealed[..at]).is_err());
    }
}
