//! `docbrain migrate`: of this machine's installation, or of a cluster's database.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use docbrain_core::env;
use docbrain_core::store::{self, Pool, roles};
use secrecy::{ExposeSecret, SecretString};

use crate::installation::{Installation, InstallationArguments};
use crate::show;

/// Between two attempts at a database that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(after_help = "With --api-password, nothing is written but the database that --database-url names.")]
pub(crate) struct MigrateArguments {
    /// Password that the role `docbrain_api` gets, of letters and digits: for a `docbrain-api` that is told its database's URL
    #[arg(long, env = env::API_PASSWORD, hide_env_values = true)]
    api_password: Option<SecretString>,
    /// Seconds to wait for a database that does not answer yet
    #[arg(long, default_value_t = 300)]
    wait: u64,
}

pub(crate) async fn migrate(installation: &InstallationArguments, arguments: &MigrateArguments) -> anyhow::Result<()> {
    match &arguments.api_password {
        Some(password) => of_cluster(installation, password, Duration::from_secs(arguments.wait)).await?,
        // Opening an installation migrates it.
        None => Installation::open(installation).await?.close().await?,
    }
    show::line("the database's schema is up to date");
    Ok(())
}

/// Without a home folder: who else needs the role's password has it from the same Secret.
async fn of_cluster(
    installation: &InstallationArguments,
    password: &SecretString,
    patience: Duration,
) -> anyhow::Result<()> {
    let Some(url) = installation.database_url() else {
        bail!("{} is for a database of your own: set {}, too", env::API_PASSWORD, env::DATABASE_URL);
    };
    let owner = connect(url, patience).await.context("cannot reach the database")?;
    store::migrate(&owner).await?;
    roles::set_api_password(&owner, password).await.context(env::API_PASSWORD)?;
    owner.close().await;
    Ok(())
}

async fn connect(url: &SecretString, patience: Duration) -> Result<Pool, store::Error> {
    let deadline = Instant::now() + patience;
    let mut told = false;
    loop {
        match store::connect(url.expose_secret(), 2).await {
            Err(error) if error.is_unavailable() && Instant::now() < deadline => {
                if !told {
                    show::note("waiting for the database");
                    told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            connected => return connected,
        }
    }
}
