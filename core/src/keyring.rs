//! The keys that secrets at rest are encrypted with.
//!
//! A [`Keyring`] holds the installation's keys, the current one first. It wraps one [`DataKey`] a tenant, and the data
//! key seals the tenant's secrets; both by AES-256-GCM under a random nonce, bound to whose they are by the associated
//! data. So a key of the ring is exchanged by wrapping the data keys anew, and a sealed value that is moved to another
//! tenant or name does not open.
//!
//! Nothing here prints key material.

use std::fmt;
use std::path::PathBuf;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use secrecy::{ExposeSecret, SecretBox, SecretString};

use crate::env::ENCRYPTION_KEYS;
use crate::ids::TenantId;

mod file;
#[cfg(test)]
mod tests;

pub use self::file::RingFile;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a nonce (NIST SP 800-38D recommends 96 bits).
const NONCE_BYTES: usize = 12;
/// First byte of everything sealed or wrapped: how it was made.
const FORMAT: u8 = 1;
const LONGEST_ID: usize = 32;

/// Why a ring cannot be used, or something does not open with it.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// No entry at all.
    #[error("{ENCRYPTION_KEYS} holds no key: `docbrain keys generate` makes one")]
    Empty,
    /// An entry is not `id:base64`.
    #[error("entry {position} of {ENCRYPTION_KEYS} {fault}; `docbrain keys generate` makes one that fits")]
    Entry {
        /// From 1.
        position: usize,
        /// What is wrong with it.
        fault: EntryFault,
    },
    /// A data key was wrapped by a key that is not in the ring.
    #[error(
        "a secret was sealed with key {key_id:?}, which {ENCRYPTION_KEYS} does not hold; add it back and run `docbrain keys rotate`"
    )]
    UnknownKey {
        /// The key that is missing.
        key_id: String,
    },
    /// The ring's key of that id is another one, or the stored bytes were changed or moved.
    #[error(
        "what is sealed under key {key_id:?} does not open: it was changed, or {ENCRYPTION_KEYS} holds another key of that name"
    )]
    WrongKey {
        /// The key it claims to be wrapped by.
        key_id: String,
    },
    /// A sealed value was changed, or belongs to another tenant or name.
    #[error("the secret {name:?} does not open: its stored bytes were changed")]
    Sealed {
        /// The secret's name.
        name: String,
    },
    /// The file of a ring cannot be read or written.
    #[error("failed to read or write the encryption keys in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What is wrong with an entry of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// No colon.
    #[error("is not of the form id:base64")]
    Form,
    /// An id of other characters, or too long.
    #[error("has an id that is not 1 to 32 of a-z, 0-9 and -")]
    Id,
    /// A key that is not base64 or of another length.
    #[error("has a key that is not 32 bytes in base64")]
    Key,
    /// The id occurs twice.
    #[error("has the id of an entry before it")]
    Twice,
}

/// The installation's keys, the current one first.
pub struct Keyring {
    keys: Vec<RingKey>,
}

struct RingKey {
    id: String,
    secret: SecretBox<[u8; KEY_BYTES]>,
}

/// The key that seals one tenant's secrets.
pub struct DataKey {
    tenant: TenantId,
    secret: SecretBox<[u8; KEY_BYTES]>,
}

/// A data key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Which key of the ring wraps it.
    pub key_id: String,
    /// Format, nonce and ciphertext.
    pub bytes: Vec<u8>,
}

impl Keyring {
    /// Reads `id:base64` entries, separated by commas or white space.
    pub fn parse(text: &SecretString) -> Result<Self, KeyringError> {
        let mut keys: Vec<RingKey> = Vec::new();
        let entries = text.expose_secret().split(|c: char| c == ',' || c.is_whitespace()).filter(|e| !e.is_empty());
        for (position, entry) in (1..).zip(entries) {
            let key = RingKey::parse(entry).map_err(|fault| KeyringError::Entry { position, fault })?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyringError::Entry { position, fault: EntryFault::Twice });
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyringError::Empty) } else { Ok(Self { keys }) }
    }

    /// A ring of one new key, named after the day it was made.
    pub fn generate() -> Self {
        let id = format!("{}-{}", Utc::now().format("%Y-%m-%d"), hex::encode(rand::random::<[u8; 4]>()));
        Self { keys: vec![RingKey { id, secret: random_key() }] }
    }

    /// This ring with the keys of `older` after its own.
    #[must_use]
    pub fn before(mut self, older: Self) -> Self {
        self.keys.extend(older.keys);
        self
    }

    /// This ring with its current key alone.
    #[must_use]
    pub fn without_old(mut self) -> Self {
        self.keys.truncate(1);
        self
    }

    /// The ring as [`Keyring::parse`] reads it, an entry a line.
    pub fn to_text(&self) -> SecretString {
        let line = |key: &RingKey| format!("{}:{}\n", key.id, BASE64_STANDARD.encode(key.secret.expose_secret()));
        self.keys.iter().map(line).collect::<String>().into()
    }

    /// The id of the key that wraps from now on.
    pub fn current(&self) -> &str {
        &self.keys[0].id
    }

    /// All ids, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Wraps a data key with the current key.
    pub fn wrap(&self, key: &DataKey) -> WrappedKey {
        let current = &self.keys[0];
        let bytes = seal(&current.secret, key.secret.expose_secret(), &wrapping_context(key.tenant, &current.id));
        WrappedKey { key_id: current.id.clone(), bytes }
    }

    /// Opens the data key of `tenant`.
    pub fn unwrap(&self, tenant: TenantId, wrapped: &WrappedKey) -> Result<DataKey, KeyringError> {
        let key_id = &wrapped.key_id;
        let key = self
            .keys
            .iter()
            .find(|key| key.id == *key_id)
            .ok_or_else(|| KeyringError::UnknownKey { key_id: key_id.clone() })?;
        let secret = open(&key.secret, &wrapped.bytes, &wrapping_context(tenant, key_id))
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| KeyringError::WrongKey { key_id: key_id.clone() })?;
        Ok(DataKey { tenant, secret: SecretBox::new(Box::new(secret)) })
    }
}

impl DataKey {
    /// A new key for the secrets of `tenant`.
    pub fn generate(tenant: TenantId) -> Self {
        Self { tenant, secret: random_key() }
    }

    /// Seals the secret called `name`.
    pub fn seal(&self, name: &str, secret: &SecretString) -> Vec<u8> {
        seal(&self.secret, secret.expose_secret().as_bytes(), &self.sealing_context(name))
    }

    /// Opens the secret called `name`.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<SecretString, KeyringError> {
        open(&self.secret, sealed, &self.sealing_context(name))
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .map(SecretString::from)
            .ok_or_else(|| KeyringError::Sealed { name: name.to_owned() })
    }

    fn sealing_context(&self, name: &str) -> Vec<u8> {
        context("docbrain secret", self.tenant, name)
    }
}

fn wrapping_context(tenant: TenantId, key_id: &str) -> Vec<u8> {
    context("docbrain data key", tenant, key_id)
}

/// What a ciphertext is bound to. The tenant's id has one length, so no two contexts are spelled alike.
fn context(purpose: &str, tenant: TenantId, name: &str) -> Vec<u8> {
    [purpose.as_bytes(), tenant.0.as_bytes(), name.as_bytes()].concat()
}

fn random_key() -> SecretBox<[u8; KEY_BYTES]> {
    SecretBox::new(Box::new(rand::random()))
}

fn seal(key: &SecretBox<[u8; KEY_BYTES]>, plain: &[u8], context: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let sealed = cipher(key)
        .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: context })
        .expect("a secret is shorter than 64 GB");
    [&[FORMAT][..], &nonce, &sealed].concat()
}

fn open(key: &SecretBox<[u8; KEY_BYTES]>, sealed: &[u8], context: &[u8]) -> Option<Vec<u8>> {
    let (nonce, msg) = sealed.strip_prefix(&[FORMAT])?.split_first_chunk::<NONCE_BYTES>()?;
    cipher(key).decrypt(&Nonce::from(*nonce), Payload { msg, aad: context }).ok()
}

fn cipher(key: &SecretBox<[u8; KEY_BYTES]>) -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key.expose_secret()))
}

impl RingKey {
    fn parse(entry: &str) -> Result<Self, EntryFault> {
        let (id, key) = entry.split_once(':').ok_or(EntryFault::Form)?;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=LONGEST_ID).contains(&id.len()) || !id.bytes().all(allowed) {
            return Err(EntryFault::Id);
        }
        let bytes = BASE64_STANDARD.decode(key).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(EntryFault::Key)?;
        Ok(Self { id: id.to_owned(), secret: SecretBox::new(Box::new(bytes)) })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("ids", &self.ids().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
