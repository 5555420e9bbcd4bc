//! Secrets that are shown once and kept as hashes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// What an API token begins with, so that people and scanners know it.
pub(crate) const API_TOKEN: &str = "docb_";
/// What a refresh token begins with.
pub(crate) const REFRESH_TOKEN: &str = "docr_";
/// What an invitation begins with.
pub(crate) const INVITATION: &str = "doci_";

/// A new secret of 256 random bits after `prefix`. Being random, it needs no slow hash.
pub(crate) fn generate(prefix: &str) -> SecretString {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())).into()
}

/// What is kept of a secret.
pub(crate) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// The last four characters, by which people tell secrets apart.
pub(crate) fn hint(secret: &SecretString) -> &str {
    let secret = secret.expose_secret();
    secret.get(secret.len().saturating_sub(4)..).unwrap_or_default()
}
