//! The ingestion program: one process carries out one run, and parses untrusted files in children of its own.
//!
//! It ends with 0 when the run is done or not this process's, with 1 after an error that may be gone at another try, and
//! with 2 after one that stays until somebody changes the source or the installation.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use docbrain_core::config::parse_arguments;
use docbrain_core::signals::stop_on_signal;
use docbrain_core::store;
use docbrain_core::telemetry::{self, Scope};
use docbrain_ingest::config::{RunArguments, Wanted};
use docbrain_ingest::fetch::Misfortune;
use docbrain_ingest::index::Indexer;
use docbrain_ingest::pipeline::{Ended, Pipeline};
use docbrain_ingest::sandbox::{WorkerLimits, worker_main};
use secrecy::ExposeSecret;

/// What the same environment would end with again.
const EXIT_LASTING: u8 = 2;

#[derive(Parser)]
#[command(name = "docbrain-ingest", version, about = "Carries out one ingestion run of DocBrain")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    telemetry: telemetry::Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Carries out a run that is queued, or takes over one whose process died
    Run(Box<RunArguments>),
    /// Parses documents for the process that started it
    #[command(hide = true)]
    ParseWorker(WorkerLimits),
}

fn main() -> ExitCode {
    let Arguments { command, telemetry } = parse_arguments();
    match command {
        Command::ParseWorker(limits) => worker_main(&limits),
        Command::Run(run) => watched(&run, &telemetry),
    }
}

/// Carries the run out within its span, so that each line tells which run it is of, and which request asked for it.
#[tokio::main]
async fn watched(arguments: &RunArguments, settings: &telemetry::Settings) -> ExitCode {
    let telemetry = telemetry::start("docbrain-ingest", settings);
    let request_id = arguments.request_id.as_deref();
    let run_id = arguments.run_id().map(|run| run.to_string());
    let span = tracing::info_span!("run", run.id = run_id, tenant = %arguments.tenant, request_id);
    let scope = Scope::of_request(span, request_id);
    let carried_out = Box::pin(async {
        match carry_out(arguments).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "ingestion run failed");
                let is_lasting = error.downcast_ref().is_some_and(|misfortune: &Misfortune| misfortune.is_lasting);
                if is_lasting { ExitCode::from(EXIT_LASTING) } else { ExitCode::FAILURE }
            }
        }
    });
    let code = scope.run(carried_out).await;
    telemetry.stop().await;
    code
}

async fn carry_out(arguments: &RunArguments) -> anyhow::Result<()> {
    let (stop, wanted) = (stop_on_signal()?, arguments.wanted()?);
    let model = arguments.embedding()?.open().await.context("failed to open the embedding model")?;
    let concurrency = usize::from(arguments.concurrency);
    let pipeline = Pipeline {
        pool: store::connect(arguments.database_url.expose_secret(), u32::from(arguments.concurrency) + 2).await?,
        tenant: arguments.tenant,
        indexer: Indexer::new(model, &std::env::current_exe()?, concurrency.min(2)),
        reach: arguments.reach(),
        concurrency,
        stop,
    };
    tracing::info!("ingestion run begins");
    let ended = match &wanted {
        Wanted::Run(run) => pipeline.carry_out(*run).await?,
        Wanted::Triggered { source, trigger } => pipeline.carry_out_triggered(*source, trigger).await?,
    };
    tracing::info!(?ended, "ingestion run ended");
    anyhow::ensure!(ended != Ended::LetGo, "told to stop; the run goes on in the next process");
    Ok(())
}
