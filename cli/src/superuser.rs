//! `docbrain superuser`: who may act for the installation.

use anyhow::Context;
use clap::{Args, Subcommand};
use docbrain_core::store::accounts;

use crate::installation::{Installation, InstallationArguments};
use crate::show;

#[derive(Args)]
#[command(after_help = "Example:\n  docbrain superuser grant ada@example.com")]
pub(crate) struct SuperuserArguments {
    #[command(subcommand)]
    change: Change,
}

#[derive(Subcommand)]
enum Change {
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

pub(crate) async fn superuser(
    installation: &InstallationArguments,
    arguments: &SuperuserArguments,
) -> anyhow::Result<()> {
    let (email, superuser) = match &arguments.change {
        Change::Grant { email } => (email, true),
        Change::Revoke { email } => (email, false),
    };
    let installation = Installation::open(installation).await?;
    let account = accounts::by_email(&installation.api, email).await?;
    let account = account.with_context(|| format!("there is no account {email:?}; it registers first"))?;
    accounts::set_superuser(&installation.owner, account.id, superuser).await?;
    show::line(&format!("{email} {}", if superuser { "is a superuser" } else { "is no superuser any more" }));
    installation.close().await
}
