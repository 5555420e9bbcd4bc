//! `docbrain-operator`: reconciles the custom resources of DocBrain, or writes their definitions.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use docbrain_core::config::parse_arguments;
use docbrain_core::signals::stop_on_signal;
use docbrain_core::superuser::SuperuserChange;
use docbrain_core::{env, store, telemetry};
use docbrain_operator::config::RunArguments;
use docbrain_operator::{definitions, program};
use secrecy::{ExposeSecret, SecretString};

#[derive(Parser)]
#[command(
    name = "docbrain-operator",
    version,
    about = "The Kubernetes operator of DocBrain",
    mut_arg("format", |arg| arg.default_value("json")),
    mut_arg("filter", |arg| arg.default_value("info,sqlx=error,kube=warn")),
    after_help = "Examples:\n  docbrain-operator crd --folder crds     write the definitions of the resources\n  docbrain-operator run                   reconcile the cluster of KUBECONFIG, or of this pod"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    telemetry: telemetry::Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Write the definitions of the custom resources as YAML, one file each
    Crd {
        /// Where to; made where it is missing
        #[arg(long)]
        folder: PathBuf,
    },
    /// Reconcile until SIGTERM
    Run(Box<RunArguments>),
    /// Say who may act for the installation
    Superuser {
        #[command(subcommand)]
        change: SuperuserChange,
        /// Postgres as the owner of the schema
        #[arg(long, env = env::DATABASE_URL, hide_env_values = true)]
        database_url: SecretString,
    },
}

/// What a configuration that cannot be used ends with.
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    let Arguments { command, telemetry } = parse_arguments();
    match command {
        Command::Crd { folder } => ended(definitions::write(&folder), 1),
        Command::Run(arguments) => match arguments.check() {
            Ok(config) => run(config, &telemetry),
            Err(error) => ended(Err(error), MISCONFIGURED),
        },
        Command::Superuser { change, database_url } => ended(superuser(&change, &database_url), 1),
    }
}

/// One thread: it waits for others most of the time, and one heap is smaller than two.
#[tokio::main(flavor = "current_thread")]
async fn run(config: docbrain_operator::config::Config, settings: &telemetry::Settings) -> ExitCode {
    let telemetry = telemetry::start("docbrain-operator", settings);
    let work = async { Box::pin(program::run(config, stop_on_signal()?)).await };
    let code = match work.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the operator failed");
            ExitCode::FAILURE
        }
    };
    telemetry.stop().await;
    code
}

#[tokio::main(flavor = "current_thread")]
async fn superuser(change: &SuperuserChange, database_url: &SecretString) -> anyhow::Result<()> {
    let owner = store::connect(database_url.expose_secret(), 1).await.context("cannot reach the database")?;
    writeln!(io::stdout(), "{}", change.carry_out(&owner).await?)?;
    Ok(())
}

fn ended(result: anyhow::Result<()>, code: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed pipe changes nothing about the code.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::from(code)
        }
    }
}
