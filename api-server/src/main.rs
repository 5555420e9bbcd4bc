//! `docbrain-api`: the API server alone, for clusters. It is configured by its environment and by files.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use docbrain_api::config::{self, Config};
use docbrain_core::signals::stop_on_signal;
use docbrain_core::telemetry;

/// The HTTP API of DocBrain.
#[derive(Parser)]
#[command(name = "docbrain-api", version, after_help = config::help())]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration, and end
    Check,
}

/// What a configuration that cannot be used ends with.
const MISCONFIGURED: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::of_process() {
        Ok(config) => config,
        Err(mistakes) => return told(&mut io::stderr(), &mistakes.to_string(), MISCONFIGURED),
    };
    if let Some(Command::Check) = arguments.command {
        return told(&mut io::stdout(), "the configuration is complete", 0);
    }
    let telemetry = telemetry::start("docbrain-api", &config.telemetry);
    let code = match serve(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the server failed");
            ExitCode::FAILURE
        }
    };
    telemetry.stop().await;
    code
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    docbrain_api::run(config, stop.cancelled_owned()).await
}

fn told(to: &mut impl Write, text: &str, code: u8) -> ExitCode {
    // A closed pipe changes nothing about the code.
    let _ = writeln!(to, "{text}");
    ExitCode::from(code)
}
