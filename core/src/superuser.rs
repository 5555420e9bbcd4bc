//! Who may act for the installation.

use clap::Subcommand;

use crate::store::{self, Pool, accounts};

/// A change of it, as commands take it.
#[derive(Clone, Debug, Subcommand)]
pub enum SuperuserChange {
    /// Let an account act for the installation
    Grant {
        /// The account's e-mail
        email: String,
    },
    /// Take that away
    Revoke {
        /// The account's e-mail
        email: String,
    },
}

impl SuperuserChange {
    /// Carries it out as the owner of the schema; what is to be told.
    pub async fn carry_out(&self, owner: &Pool) -> Result<String, SuperuserError> {
        let (email, superuser, told) = match self {
            Self::Grant { email } => (email, true, "is a superuser"),
            Self::Revoke { email } => (email, false, "is no superuser any more"),
        };
        match accounts::set_superuser(owner, email, superuser).await {
            Ok(()) => Ok(format!("{email} {told}")),
            Err(store::Error::NotFound { .. }) => Err(SuperuserError::NoAccount { email: email.clone() }),
            Err(error) => Err(error.into()),
        }
    }
}

/// Why nobody's rights were changed.
#[derive(Debug, thiserror::Error)]
pub enum SuperuserError {
    /// Nobody has registered with this e-mail.
    #[error("there is no account {email:?}; it registers first")]
    NoAccount {
        /// The e-mail.
        email: String,
    },
    /// The database says no.
    #[error(transparent)]
    Store(#[from] store::Error),
}
