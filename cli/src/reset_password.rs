//! `docbrain reset-password`: for whoever cannot sign in any more, since no e-mails are sent.

use anyhow::Context;
use clap::Args;
use docbrain_core::env;
use docbrain_core::store::{self, Pool};
use secrecy::{ExposeSecret, SecretString};

use crate::installation::{Installation, InstallationArguments};
use crate::show;

#[derive(Args)]
#[command(
    after_help = "Example:\n  docbrain reset-password ada@example.com\n\nIn a pod of the API, whose database it finds in the environment:\n  kubectl --namespace docbrain exec deploy/docbrain-api -- docbrain reset-password ada@example.com"
)]
pub(crate) struct ResetPasswordArguments {
    /// The account's e-mail
    email: String,
    /// The database as the API's role, where there is no home folder
    #[arg(long, env = env::API_DATABASE_URL, hide_env_values = true)]
    api_database_url: Option<SecretString>,
}

pub(crate) async fn reset_password(
    installation: &InstallationArguments,
    ResetPasswordArguments { email, api_database_url }: &ResetPasswordArguments,
) -> anyhow::Result<()> {
    if let Some(url) = api_database_url {
        let api = store::connect(url.expose_secret(), 1).await.context("cannot reach the database")?;
        return reset(&api, email).await;
    }
    let installation = Installation::open(installation).await?;
    reset(&installation.api, email).await?;
    installation.close().await
}

async fn reset(api: &Pool, email: &str) -> anyhow::Result<()> {
    let password = docbrain_api::reset_password(api, email).await?;
    let password = password.with_context(|| format!("there is no account {email:?}"))?;
    show::note(&format!("{email} is signed out everywhere. Until it is changed, the password is"));
    show::line(password.expose_secret());
    Ok(())
}
