//! `docbrain keys`: the keys that secrets at rest are encrypted with (docs/guides/runbook.md).

use clap::Subcommand;
use docbrain_core::env;
use docbrain_core::keyring::Keyring;
use secrecy::ExposeSecret;

use crate::installation::{Installation, InstallationArguments};
use crate::show;

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Print a new key as `id:base64`
    Generate,
    /// Encrypt every tenant's data key with the current key; may be interrupted and repeated
    #[command(after_help = "Keys that are kept in the home folder are exchanged for a new one.
Of DOCBRAIN_ENCRYPTION_KEYS the first is the current one.")]
    Rotate,
    /// Show which keys are in use, and by how many tenants
    List,
}

pub(crate) async fn keys(arguments: &InstallationArguments, command: &KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Generate => {
            show::line(Keyring::generate().to_text().expose_secret().trim_end());
            Ok(())
        }
        KeysCommand::Rotate => rotate(Installation::open(arguments).await?).await,
        KeysCommand::List => list(Installation::open(arguments).await?).await,
    }
}

async fn rotate(installation: Installation) -> anyhow::Result<()> {
    let rewrapped = installation.secrets.rotate(&installation.owner).await?;
    let (ring, _) = installation.secrets.keys(&installation.owner).await?;
    show::line(&format!("{rewrapped} data keys were encrypted anew; the current key is {}", ring[0]));
    installation.close().await
}

async fn list(installation: Installation) -> anyhow::Result<()> {
    let (ring, mut in_use) = installation.secrets.keys(&installation.owner).await?;
    show::line(&format!("{:32} {:>8}", "key", "tenants"));
    for (position, id) in ring.iter().enumerate() {
        let tenants = in_use.remove(id).unwrap_or_default();
        let note = match (position, tenants) {
            (0, _) => "current",
            (_, 0) => "not in use: may be dropped",
            _ => "old: `docbrain keys rotate` frees it",
        };
        show::line(&format!("{id:32} {tenants:>8}  {note}"));
    }
    for (id, tenants) in in_use {
        show::line(&format!("{id:32} {tenants:>8}  MISSING: add it back to {}", env::ENCRYPTION_KEYS));
    }
    installation.close().await
}
