//! `docbrain superuser`: who may act for the installation.

use anyhow::Context;
use clap::Args;
use docbrain_core::store;
use docbrain_core::superuser::SuperuserChange;
use secrecy::ExposeSecret;

use crate::installation::{Installation, InstallationArguments};
use crate::show;

#[derive(Args)]
#[command(
    after_help = "Example:\n  docbrain superuser grant ada@example.com\n\nIn a cluster the operator does it:\n  kubectl --namespace docbrain exec deploy/docbrain-operator -- docbrain-operator superuser grant ada@example.com"
)]
pub(crate) struct SuperuserArguments {
    #[command(subcommand)]
    change: SuperuserChange,
}

pub(crate) async fn superuser(
    installation: &InstallationArguments,
    SuperuserArguments { change }: &SuperuserArguments,
) -> anyhow::Result<()> {
    // A database of one's own may be another installation's, too: its roles stay as they are.
    if let Some(url) = installation.database_url() {
        let owner = store::connect(url.expose_secret(), 1).await.context("cannot reach the database")?;
        show::line(&change.carry_out(&owner).await?);
        return Ok(());
    }
    let installation = Installation::open(installation).await?;
    show::line(&change.carry_out(&installation.owner).await?);
    installation.close().await
}
