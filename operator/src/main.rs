//! `docbrain-operator`: reconciles the custom resources of DocBrain, or writes their definitions.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use docbrain_core::config::parse_arguments;
use docbrain_core::env;
use docbrain_core::telemetry::{self, LogFilter, LogFormat, OtlpEndpoint, SentryDsn, Settings};
use docbrain_operator::config::RunArguments;
use docbrain_operator::{definitions, program};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
#[command(
    name = "docbrain-operator",
    version,
    about = "The Kubernetes operator of DocBrain",
    after_help = "Examples:\n  docbrain-operator crd --folder crds     write the definitions of the resources\n  docbrain-operator run                   reconcile the cluster of KUBECONFIG, or of this pod"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written: text or json
    #[arg(long, env = env::LOG_FORMAT, default_value = "json", global = true)]
    log_format: LogFormat,
    /// Which log lines are written
    #[arg(long, env = env::LOG_FILTER, default_value = "info,sqlx=error,kube=warn", global = true)]
    log_filter: LogFilter,
    /// Where errors are reported to
    #[arg(long, env = env::SENTRY_DSN, hide_env_values = true, global = true)]
    sentry_dsn: Option<SentryDsn>,
    /// The OpenTelemetry collector that spans are sent to
    #[arg(long, env = env::OTLP_ENDPOINT, global = true)]
    otlp_endpoint: Option<OtlpEndpoint>,
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
}

/// What a configuration that cannot be used ends with.
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    let Arguments { command, log_format, log_filter, sentry_dsn, otlp_endpoint } = parse_arguments();
    match command {
        Command::Crd { folder } => ended(definitions::write(&folder), 1),
        Command::Run(arguments) => {
            let settings =
                Settings { format: log_format, filter: log_filter, sentry: sentry_dsn, traces: otlp_endpoint };
            match arguments.check() {
                Ok(config) => run(config, &settings),
                Err(error) => ended(Err(error), MISCONFIGURED),
            }
        }
    }
}

/// One thread: it waits for others most of the time, and one heap is smaller than two.
#[tokio::main(flavor = "current_thread")]
async fn run(config: docbrain_operator::config::Config, settings: &Settings) -> ExitCode {
    let telemetry = telemetry::start("docbrain-operator", settings);
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    let code = match Box::pin(program::run(config, stop)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the operator failed");
            ExitCode::FAILURE
        }
    };
    telemetry.stop().await;
    code
}

async fn stop_on_signal(stop: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("signals cannot be heard");
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.cancel();
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
