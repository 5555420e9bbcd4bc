//! `docbrain migrate`.

use crate::installation::{Installation, InstallationArguments};
use crate::show;

/// Opening an installation migrates it.
pub(crate) async fn migrate(arguments: &InstallationArguments) -> anyhow::Result<()> {
    Installation::open(arguments).await?.close().await?;
    show::line("the database's schema is up to date");
    Ok(())
}
