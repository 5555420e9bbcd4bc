//! `docbrain apply` and `docbrain delete`: what kubectl does in a cluster.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use docbrain_crds::manifest::{self, Resource, Stated};
use serde_json::json;

use crate::installation::{Installation, InstallationArguments};
use crate::show;

#[derive(Args)]
#[command(after_help = "Example:\n  docbrain apply -f deploy/demo.yaml")]
pub(crate) struct ApplyArguments {
    /// YAML file of one or several resources; - for standard input
    #[arg(short, long, required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Everything is read and checked before anything is written.
fn read(arguments: &ApplyArguments) -> anyhow::Result<Vec<Stated>> {
    let mut resources = Vec::new();
    for path in &arguments.filename {
        let yaml = if path == Path::new("-") {
            let mut yaml = String::new();
            std::io::stdin().read_to_string(&mut yaml).context("cannot read standard input")?;
            yaml
        } else {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        };
        resources.extend(manifest::read_stated(&yaml).with_context(|| path.display().to_string())?);
    }
    // A tenant must be there before what is in its namespace.
    resources.sort_by_key(|stated| match stated.resource {
        Resource::Tenant(_) => 0,
        Resource::KnowledgeSource(_) => 1,
        Resource::Chatbot(_) => 2,
    });
    Ok(resources)
}

pub(crate) async fn apply(installation: &InstallationArguments, arguments: &ApplyArguments) -> anyhow::Result<()> {
    let resources = read(arguments)?;
    let installation = Installation::open(installation).await?;
    let provisioner = installation.provisioner();
    let mut results = Vec::new();
    for stated in &resources {
        let resource = &stated.resource;
        let written = provisioner.apply_stated(stated).await.with_context(|| resource.label())?;
        let word = if written.changed { "configured" } else { "unchanged" };
        results.push(json!({ "resource": resource.label(), "result": word }));
        if !arguments.json {
            show::line(&format!("{} {word}", resource.label()));
        }
    }
    if arguments.json {
        show::json(&results);
    }
    installation.close().await
}

pub(crate) async fn delete(installation: &InstallationArguments, arguments: &ApplyArguments) -> anyhow::Result<()> {
    let resources = read(arguments)?;
    let installation = Installation::open(installation).await?;
    let provisioner = installation.provisioner();
    let mut results = Vec::new();
    for stated in resources.iter().rev() {
        let resource = &stated.resource;
        provisioner.delete_stated(stated).await.with_context(|| resource.label())?;
        results.push(json!({ "resource": resource.label(), "result": "deleted" }));
        if !arguments.json {
            show::line(&format!("{} deleted", resource.label()));
        }
    }
    if arguments.json {
        show::json(&results);
    }
    installation.close().await
}
