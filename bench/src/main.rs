//! Benchmarks of DocBrain and the deterministic model server they stand on.
//!
//! - [`stub`]: an OpenAI-compatible server that answers at once and always the same
//! - [`load`]: a closed-loop load generator (JSON and server-sent events)
//! - [`run`]: starts stub and product, ingests, asks, and measures
//! - [`quality`]: runs `docbrain eval` and keeps its result
//! - [`machine`]: what `/proc` knows about this machine and its processes
//! - [`report`]: budgets, verdicts and the table in `docs/benchmarks.md`
//! - [`random`]: the one seeded generator behind everything that looks random
//!
//! All traffic stays on the loopback interface, every step is bounded in time, and only processes started here are stopped.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the results are this program's output")]

mod load;
mod machine;
mod quality;
mod random;
mod report;
mod run;
mod stub;

use std::process::ExitCode;

use clap::Parser;
use docbrain_core::config::parse_arguments;
use tokio::runtime::Builder;

/// Benchmarks of DocBrain, and the model server they use.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Serve deterministic embeddings and chat answers in the dialect of OpenAI.
    Stub(stub::Options),
    /// Send requests to one URL from several clients and print rate and latencies.
    Load(load::cli::Options),
    /// Measure the product against its budgets and write the result into a Markdown page.
    Run(run::Options),
    /// Compare the throughput of chat with another version's.
    Compare(run::compare::Options),
    /// Measure retrieval quality on a data set in BEIR's format and write the result into a Markdown page.
    Quality(quality::Options),
}

fn main() -> ExitCode {
    match start(parse_arguments()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> anyhow::Result<()> {
    // One thread generates all load: it leaves the other cores to what is measured.
    let single = || Builder::new_current_thread().enable_all().build();
    match command {
        Command::Stub(options) => Builder::new_multi_thread().enable_all().build()?.block_on(stub::serve(options)),
        Command::Load(options) => single()?.block_on(load::cli::run(options)),
        Command::Run(options) => single()?.block_on(run::run(options)),
        Command::Compare(options) => single()?.block_on(run::compare(options)),
        Command::Quality(options) => quality::run(&options),
    }
}
