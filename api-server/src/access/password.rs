//! Passwords: Argon2id, off the async threads and bounded.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use docbrain_core::store::{self, Pool, accounts};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::secret;
use crate::problem::{Problem, ProblemKind};

/// OWASP's first recommendation for Argon2id: 19 MiB of memory, two passes, one lane (Password Storage Cheat Sheet).
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
/// Hashes at the same time: each one keeps a core busy and holds its memory.
const AT_ONCE: usize = 2;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Shortest password in characters (NIST SP 800-63B asks for 8, and for more where it is the only factor).
pub(crate) const SHORTEST: usize = 10;
/// Longest password in characters.
pub(crate) const LONGEST: usize = 256;

/// Hashes and verifies passwords.
#[derive(Clone)]
pub(crate) struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Passwords {
    /// The hash of a password, in PHC form.
    pub(crate) async fn hash(&self, password: &SecretString) -> Result<String, Problem> {
        let password = password.clone();
        self.run(move || hash(&password)).await
    }

    /// Whether a password is the one of a hash. Without a hash it takes as long, and is not.
    pub(crate) async fn verify(&self, password: &SecretString, expected: Option<String>) -> Result<bool, Problem> {
        /// Of nothing anybody could send.
        static NOBODY: LazyLock<String> = LazyLock::new(|| hash(&rand::random::<u128>().to_string().into()));
        let password = password.clone();
        self.run(move || {
            let known = expected.is_some();
            let expected = expected.unwrap_or_else(|| NOBODY.clone());
            argon2().verify_password(password.expose_secret().as_bytes(), expected.as_str()).is_ok() && known
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).acquire_owned()).await;
        let turn =
            turn.map_err(|_| Problem::new(ProblemKind::Busy, "many people are signing in; try again shortly"))?;
        let _turn = turn.map_err(Problem::internal)?;
        tokio::task::spawn_blocking(work).await.map_err(Problem::internal)
    }
}

/// The password, if it can be one.
pub(crate) fn checked(password: SecretString, field: &str) -> Result<SecretString, Problem> {
    let length = password.expose_secret().chars().count();
    if (SHORTEST..=LONGEST).contains(&length) {
        return Ok(password);
    }
    Err(Problem::new(ProblemKind::InvalidField, format!("`{field}` must have {SHORTEST} to {LONGEST} characters")))
}

/// Gives the account with this e-mail a random password and ends its sessions; `None`: there is no such account. For whoever
/// runs the installation.
///
/// # Errors
/// The database cannot be used.
pub async fn reset(api: &Pool, email: &str) -> Result<Option<SecretString>, store::Error> {
    let Some(account) = accounts::by_email(api, email).await? else { return Ok(None) };
    let password = secret::generate("");
    accounts::set_password(api, account.id, &hash(&password), None).await?;
    Ok(Some(password))
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("the parameters are constants");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &SecretString) -> String {
    argon2().hash_password(password.expose_secret().as_bytes()).expect("the parameters are constants").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_very_password_passes() {
        let passwords = Passwords::default();
        let (right, wrong) = (SecretString::from("correct horse"), SecretString::from("correct hors"));
        let hash = passwords.hash(&right).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(passwords.hash(&right).await.unwrap(), hash, "each hash has its own salt");
        assert!(passwords.verify(&right, Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify(&wrong, Some(hash)).await.unwrap());
        assert!(!passwords.verify(&right, None).await.unwrap());
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        for (password, good) in [("ü".repeat(10), true), ("x".repeat(9), false), ("x".repeat(257), false)] {
            assert_eq!(checked(password.clone().into(), "password").is_ok(), good, "{password}");
        }
    }
}
