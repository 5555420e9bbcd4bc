//! `docbrain`: the whole product on one machine, and the hand tools of whoever runs it.
//!
//! | module | what it does |
//! |---|---|
//! | `home` | the folder everything is kept in, and its secrets |
//! | `postgres` | the embedded database server |
//! | `installation` | a database, migrated, with its roles and models |
//! | `launcher` | a process for each ingestion run that is due |
//! | `up`, `apply`, `ask`, `ingest`, `eval`, `keys`, `superuser`, `reset_password`, `migrate` | one module a command |

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use docbrain_core::config::parse_arguments;
use docbrain_core::telemetry;

mod apply;
mod ask;
mod eval;
mod home;
mod ingest;
mod installation;
mod keys;
mod launcher;
mod migrate;
mod postgres;
mod reset_password;
mod show;
mod superuser;
mod up;

/// Your documentation, answering: a knowledge base with a cited chatbot, on one machine.
#[derive(Parser)]
#[command(
    name = "docbrain",
    version,
    about,
    after_help = EXAMPLES,
    mut_arg("filter", |arg| arg.default_value("warn,sqlx=error,async_openai=off")),
    mut_arg("sentry", |arg| arg.hide(true)),
    mut_arg("traces", |arg| arg.hide(true))
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    installation: installation::InstallationArguments,
}

const EXAMPLES: &str = "Examples:
  docbrain up                                     start everything; the first start adds a demo chatbot
  docbrain ingest manual.pdf docs/ --chatbot demo  add documents to a chatbot's knowledge
  docbrain ask \"How do I reset my password?\"       ask from the shell
  docbrain apply -f acme.yaml                     create or change tenants, chatbots, knowledge sources";

#[derive(Subcommand)]
enum Command {
    /// Start the product: database, API and ingestion, until Ctrl-C
    Up(up::UpArguments),
    /// Create or change the resources of a YAML file, as kubectl does in a cluster
    Apply(apply::ApplyArguments),
    /// Delete the resources of a YAML file; their deletionPolicy says what becomes of their rows
    Delete(apply::ApplyArguments),
    /// Add files and folders to a chatbot's knowledge and wait until they are indexed
    Ingest(ingest::IngestArguments),
    /// Ask a chatbot a question
    Ask(ask::AskArguments),
    /// Measure retrieval quality on a data set in BEIR's format
    Eval(eval::EvalArguments),
    /// Make, list and rotate the keys that secrets at rest are encrypted with
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Say who may act for the installation
    Superuser(superuser::SuperuserArguments),
    /// Give an account another password, and end its sessions
    ResetPassword(reset_password::ResetPasswordArguments),
    /// Bring the database's schema up to date
    Migrate(migrate::MigrateArguments),
    /// Run a command with an embedded PostgreSQL, as DATABASE_URL
    Postgres(postgres::PostgresArguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { command, installation } = parse_arguments();
    let telemetry = telemetry::start("docbrain", &installation.telemetry);
    let done = match command {
        Command::Up(arguments) => Box::pin(up::up(&installation, arguments)).await,
        Command::Apply(arguments) => apply::apply(&installation, &arguments).await,
        Command::Delete(arguments) => apply::delete(&installation, &arguments).await,
        Command::Ingest(arguments) => ingest::ingest(&installation, &arguments).await,
        Command::Ask(arguments) => ask::ask(&installation, &arguments).await,
        Command::Eval(arguments) => eval::eval(&installation, &arguments).await,
        Command::Keys(command) => keys::keys(&installation, &command).await,
        Command::Superuser(arguments) => superuser::superuser(&installation, &arguments).await,
        Command::ResetPassword(arguments) => reset_password::reset_password(&installation, &arguments).await,
        Command::Migrate(arguments) => migrate::migrate(&installation, &arguments).await,
        Command::Postgres(arguments) => return postgres::run(&installation, &arguments).await,
    };
    telemetry.stop().await;
    done.map_or_else(|error| show::failure(&error), |()| ExitCode::SUCCESS)
}
