//! `docbrain apply` and `docbrain delete`: what kubectl does in a cluster.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use docbrain_core::provision::ProvisionError;
use docbrain_crds::manifest::{self, Resource, Secret, Stated};
use secrecy::SecretString;
use serde_json::{Value, json};

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
fn read(arguments: &ApplyArguments) -> anyhow::Result<(Vec<Stated>, Vec<Secret>)> {
    let (mut resources, mut secrets) = (Vec::new(), Vec::new());
    for path in &arguments.filename {
        let yaml = if path == Path::new("-") {
            let mut yaml = String::new();
            std::io::stdin().read_to_string(&mut yaml).context("cannot read standard input")?;
            yaml
        } else {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        };
        let read = manifest::read_with_secrets(&yaml).with_context(|| path.display().to_string())?;
        resources.extend(read.0);
        secrets.extend(read.1);
    }
    // A tenant must be there before what is in its namespace.
    resources.sort_by_key(|stated| match stated.resource {
        Resource::Tenant(_) => 0,
        Resource::KnowledgeSource(_) => 1,
        Resource::Chatbot(_) => 2,
    });
    Ok((resources, secrets))
}

pub(crate) async fn apply(installation: &InstallationArguments, arguments: &ApplyArguments) -> anyhow::Result<()> {
    let (resources, secrets) = read(arguments)?;
    let installation = Installation::open(installation).await?;
    let provisioner = installation.provisioner();
    let mut report = Report::new(arguments.json);
    // A Secret is there before the source whose run needs it, and after the tenant that it belongs to.
    let (tenants, others): (Vec<&Stated>, Vec<&Stated>) =
        resources.iter().partition(|stated| matches!(stated.resource, Resource::Tenant(_)));
    for stated in tenants {
        let label = stated.resource.label();
        let written = provisioner.apply_stated(stated).await.with_context(|| label.clone())?;
        report.say(&label, configured(written.changed));
    }
    for secret in secrets {
        let label = secret.label();
        let keys = secret.keys.into_iter().map(|(key, value)| (key, SecretString::from(value))).collect();
        let changed = keep(&installation, &secret.namespace, &secret.name, &keys).await.context(label.clone())?;
        report.say(&label, configured(changed));
    }
    for stated in others {
        let label = stated.resource.label();
        let written = provisioner.apply_stated(stated).await.with_context(|| label.clone())?;
        report.say(&label, configured(written.changed));
    }
    report.end();
    installation.close().await
}

pub(crate) async fn delete(installation: &InstallationArguments, arguments: &ApplyArguments) -> anyhow::Result<()> {
    let (resources, secrets) = read(arguments)?;
    let installation = Installation::open(installation).await?;
    let provisioner = installation.provisioner();
    let mut report = Report::new(arguments.json);
    for secret in secrets {
        let label = secret.label();
        match keep(&installation, &secret.namespace, &secret.name, &BTreeMap::new()).await {
            // What belonged to a tenant went with it.
            Ok(_) | Err(ProvisionError::NoTenant { .. }) => report.say(&label, "deleted"),
            Err(error) => return Err(error).context(label),
        }
    }
    for stated in resources.iter().rev() {
        let label = stated.resource.label();
        provisioner.delete_stated(stated).await.with_context(|| label.clone())?;
        report.say(&label, "deleted");
    }
    report.end();
    installation.close().await
}

/// Keeps the keys of a Secret, sealed, for the specs of its namespace that name it; without keys it is forgotten.
async fn keep(
    installation: &Installation,
    namespace: &str,
    name: &str,
    keys: &BTreeMap<String, SecretString>,
) -> Result<bool, ProvisionError> {
    let mut tx = installation.provisioner().begin(namespace).await?;
    let changed = installation.secrets.put_referred(&mut tx, name, keys).await?;
    tx.commit().await?;
    Ok(changed)
}

fn configured(changed: bool) -> &'static str {
    if changed { "configured" } else { "unchanged" }
}

/// What became of each resource, a line at a time or as JSON in the end.
struct Report {
    json: bool,
    results: Vec<Value>,
}

impl Report {
    fn new(json: bool) -> Self {
        Self { json, results: Vec::new() }
    }

    fn say(&mut self, label: &str, result: &str) {
        if !self.json {
            show::line(&format!("{label} {result}"));
        }
        self.results.push(json!({ "resource": label, "result": result }));
    }

    fn end(&self) {
        if self.json {
            show::json(&self.results);
        }
    }
}
