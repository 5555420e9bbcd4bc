//! The benchmark itself: stub and product started, documents ingested, questions asked, budgets judged.

mod built_in;
mod ceilings;
mod chat;
pub(crate) mod compare;
mod corpus;
mod ingestion;
mod isolation;
mod process;
mod retrieval;
mod server;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use docbrain_core::env;
use docbrain_core::models::{EmbeddingChoice, Endpoint};
use tokio::signal::unix::{SignalKind, signal};

use self::chat::Chat;
use self::corpus::Corpus;
use self::process::Process;
use self::retrieval::{Database, MeasuredRetrieval};
use self::server::{Embeddings, Server, Setup};
use crate::load::Bodies;
use crate::machine::{Machine, memory_mib};
use crate::report::{Report, conditions, number, write_block};
use crate::stub;

/// Different questions asked, in turn: more than a cache would remember, or a window of the benchmark asks.
const QUESTIONS: usize = 100_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The product's program; `docbrain-ingest` is expected beside it.
    #[arg(long, default_value = "target/release/docbrain")]
    binary: PathBuf,
    /// Home folder whose tools (Postgres, the built-in model) are used; its data is left alone.
    #[arg(long, env = env::HOME, default_value = "/var/lib/docbrain")]
    home: PathBuf,
    /// Markdown page that gets the result, between `<!-- bench:begin -->` and `<!-- bench:end -->`.
    #[arg(long)]
    docs: Option<PathBuf>,
    /// Folders to ingest instead of the project's own pages and generated text.
    #[arg(long)]
    corpus: Vec<PathBuf>,
    /// A tenth of the text and shorter loads: to see that everything works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Leave out what needs the built-in embedding model.
    #[arg(long)]
    no_model: bool,
    /// Measure alone what tenants do to each other, and print it.
    #[arg(long, conflicts_with = "docs")]
    isolation: bool,
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    warm_up: Duration,
    measured: Duration,
    /// Beside tenants whose providers misbehave.
    isolated: Duration,
    /// Bytes of generated text, for embeddings that cost nothing and for the built-in model's.
    generated: usize,
    generated_for_model: usize,
}

impl Extent {
    const FULL: Self = Self {
        warm_up: Duration::from_secs(3),
        measured: Duration::from_secs(15),
        isolated: Duration::from_mins(1),
        generated: 3_000_000,
        generated_for_model: 600_000,
    };
    const QUICK: Self = Self {
        warm_up: Duration::from_secs(1),
        measured: Duration::from_secs(3),
        isolated: Duration::from_secs(6),
        generated: 1_200_000,
        generated_for_model: 60_000,
    };
}

/// Measures everything, prints the result and writes it into the page.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let report = until_stopped(measure(&options)).await?;
    println!("\n{report}");
    if let Some(page) = &options.docs {
        write_block(page, "bench", &report.to_string())?;
        println!("written to {}", page.display());
    }
    Ok(())
}

/// Compares two versions and prints the result.
pub(crate) async fn compare(options: compare::Options) -> anyhow::Result<()> {
    let report = until_stopped(compare::measure(&options)).await?;
    println!("\n{report}");
    Ok(())
}

/// Leaving by a signal drops, and thereby stops, what was started.
async fn until_stopped(report: impl Future<Output = anyhow::Result<Report>>) -> anyhow::Result<Report> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        report = report => report,
        _ = terminate.recv() => bail!("stopped by SIGTERM"),
        _ = tokio::signal::ctrl_c() => bail!("stopped by Ctrl-C"),
    }
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let machine = Machine::read();
    let extent = if options.quick { Extent::QUICK } else { Extent::FULL };
    let corpus = if options.corpus.is_empty() {
        Corpus::own(Path::new("."), extent.generated)?
    } else {
        Corpus::of_folders(&options.corpus)?
    };
    let questions = corpus.questions(QUESTIONS);
    if questions.is_empty() {
        bail!("the corpus holds no text document to make questions of");
    }
    let (stub, model_url) = start_stub()?;

    say("model server alone");
    let ceilings = ceilings::measure(&model_url, &questions, extent).await?;

    say("product with stub embeddings: start");
    let setup = Setup { binary: &options.binary, home: &options.home, model_url: &model_url, stub: stub.id() };
    let server = Server::start(&setup, Embeddings::Stub).await?;
    server.rest().await?;
    let rest_before = memory_mib(server.process_id())?;
    say(&format!("ingest {}", corpus.description));
    let ingestion = ingestion::measure(&server, &corpus).await?;
    server.rest().await?;
    if options.isolation {
        say("chat beside tenants whose providers are slow and fail");
        let questions = Bodies::new(questions.iter().map(|question| Server::chat_body(question)))?;
        let isolation = isolation::measure(&server, &questions, extent.isolated).await?;
        let (rows, tables) = (vec![isolation.row()], vec![isolation.table()]);
        return Ok(Report { conditions: conditions(&machine), rows, tables });
    }
    say("retrieval in the database");
    let retrieval = measure_retrieval(&server, &model_url, &questions).await?;
    let questions = Bodies::new(questions.iter().map(|question| Server::chat_body(question)))?;
    let mut chats = Vec::new();
    for chat in Chat::ALL {
        say(&format!("chat, {}", chat.name));
        chats.push(chat::measure(&server, chat, &questions, extent).await?);
    }
    server.rest().await?;
    let rest_after = memory_mib(server.process_id())?;
    say("chat beside tenants whose providers are slow and fail");
    let isolation = isolation::measure(&server, &questions, extent.isolated).await?;
    drop(server);

    let built_in = if options.no_model {
        Err(anyhow::anyhow!("left out by --no-model"))
    } else {
        say("product with the built-in model");
        built_in::measure(&setup, &questions, extent).await
    };

    let mut rows = chat::rows(&chats, &ceilings);
    rows.push(isolation.row());
    rows.push(retrieval.row());
    rows.push(ingestion.row());
    rows.extend(built_in::rows(&built_in));
    let mut tables =
        vec![chat::table(&chats), isolation.table(), ceilings.table(), retrieval.table(), ingestion.table()];
    tables.extend(built_in.ok().map(|measured| measured.table()));

    let mut conditions = conditions(&machine);
    conditions.push("Load generator, model server, product and Postgres share the machine".to_owned());
    conditions.extend(options.quick.then(|| "Quick: not for quoting".to_owned()));
    conditions.push(format!("Corpus: {}", corpus.description));
    conditions.push(format!(
        "Server process at rest with stub embeddings: {} MiB before the ingestion, {} MiB after all chats (PSS)",
        number(rest_before),
        number(rest_after)
    ));
    Ok(Report { conditions, rows, tables })
}

/// With the vectors that the server embeds its questions with.
async fn measure_retrieval(
    server: &Server,
    model_url: &str,
    questions: &[String],
) -> anyhow::Result<MeasuredRetrieval> {
    let endpoint = Endpoint::new(model_url, stub::EMBEDDING_MODEL, Some("stub".to_owned().into()));
    let embedder = EmbeddingChoice::Remote(endpoint).open().await?.embedder;
    retrieval::measure(&Database::of_home(server.home()).await?, embedder.as_ref(), questions).await
}

/// Starts this program as a model server of its own, so that its CPU time is told apart and it has the threads it needs.
fn start_stub() -> anyhow::Result<(Process, String)> {
    let program = std::env::current_exe().context("failed to find this program")?;
    let mut stub = Process::start(Command::new(program).args(["stub", "--port", "0"]).stdout(Stdio::piped()))?;
    let stdout = stub.child().stdout.take().context("the model server has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).context("failed to read from the model server")?;
    let url = line.trim().strip_prefix(stub::READY).with_context(|| format!("the model server said: {line}"))?;
    Ok((stub, url.to_owned()))
}

fn say(what: &str) {
    println!("- {what}");
}

/// Milliseconds per unit of work.
#[expect(clippy::cast_precision_loss, reason = "counts of a run of minutes")]
fn per_unit(cpu: Duration, units: u64) -> String {
    number(cpu.as_secs_f64() * 1e3 / units.max(1) as f64)
}
