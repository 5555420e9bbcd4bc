//! The ingestion program: one process carries out one run, and parses untrusted files in children of its own.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use docbrain_core::telemetry::{self, LogFormat};
use docbrain_core::{env, store};
use docbrain_ingest::config::RunArguments;
use docbrain_ingest::index::Indexer;
use docbrain_ingest::pipeline::Pipeline;
use docbrain_ingest::sandbox::{WorkerLimits, worker_main};
use secrecy::ExposeSecret;

#[derive(Parser)]
#[command(name = "docbrain-ingest", version, about = "Carries out one ingestion run of DocBrain")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written: text or json
    #[arg(long, env = env::LOG_FORMAT, default_value = "text", global = true)]
    log_format: LogFormat,
    /// Which log lines are written
    #[arg(long, env = env::LOG_FILTER, default_value = "info,sqlx=error,async_openai=off", global = true)]
    log_filter: String,
}

#[derive(Subcommand)]
enum Command {
    /// Carries out a run that is queued, or takes over one whose process died
    Run(RunArguments),
    /// Parses documents for the process that started it
    #[command(hide = true)]
    ParseWorker(WorkerLimits),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::ParseWorker(limits) => worker_main(&limits),
        Command::Run(run) => {
            telemetry::init_logs(arguments.log_format, &arguments.log_filter);
            match carry_out(&run) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!(run.id = %run.run, error = format!("{error:#}"), "ingestion run failed");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

#[tokio::main]
async fn carry_out(arguments: &RunArguments) -> anyhow::Result<()> {
    let model = arguments.embedding()?.open().await.context("failed to open the embedding model")?;
    let concurrency = usize::from(arguments.concurrency);
    let pipeline = Pipeline {
        pool: store::connect(arguments.database_url.expose_secret(), u32::from(arguments.concurrency) + 2).await?,
        tenant: arguments.tenant,
        indexer: Indexer::new(model, &std::env::current_exe()?, concurrency.min(2)),
        concurrency,
    };
    pipeline.carry_out(arguments.run).await?;
    Ok(())
}
