//! `docbrain up`: the whole product in one process, until Ctrl-C.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use docbrain_api::Registration;
use docbrain_core::embed::ModelName;
use docbrain_core::env;
use docbrain_core::ids::{RunId, TenantId};
use docbrain_core::providers::reindex;
use docbrain_core::signals::stop_on_signal;
use docbrain_core::store::documents::{self, NewDocument, Put};
use docbrain_core::store::runs::{self, RunState};
use docbrain_core::store::{TenantTx, provider_settings, sources, tenants};
use docbrain_crds::manifest;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::installation::{Installation, InstallationArguments, secret_in_file};
use crate::{launcher, show};

#[derive(Args)]
pub(crate) struct UpArguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Bearer token that guards the API [default: made at the first start, kept in the home folder]
    #[arg(long, env = env::ADMIN_TOKEN, hide_env_values = true)]
    admin_token: Option<SecretString>,
    /// The file that holds it instead
    #[arg(long, env = env::ADMIN_TOKEN_FILE, value_name = "FILE", value_parser = secret_in_file, conflicts_with = "admin_token")]
    admin_token_file: Option<SecretString>,
    /// Who may make an account: open (everybody, with a tenant of their own), invite or closed
    #[arg(long, env = env::REGISTRATION, default_value = "invite")]
    registration: Registration,
    /// Networks of reverse proxies whose word on a client's address is taken, separated by commas
    #[arg(long, env = env::TRUSTED_PROXIES, value_delimiter = ',')]
    trusted_proxies: Vec<IpNet>,
    /// Seconds that answers under way have to end after Ctrl-C
    #[arg(long, env = env::DRAIN_SECONDS, default_value_t = 10)]
    drain_seconds: u32,
    /// Start without the demo chatbot
    #[arg(long)]
    no_demo: bool,
}

const DEMO: &str = include_str!("../../deploy/demo.yaml");

/// What the demo chatbot knows: this project's own documentation. Without the README, which shows questions to it.
const DEMO_DOCUMENTS: [(&str, &str); 3] = [
    ("ARCHITECTURE.md", include_str!("../../ARCHITECTURE.md")),
    ("CONTRIBUTING.md", include_str!("../../CONTRIBUTING.md")),
    ("docs/guides/troubleshooting.md", include_str!("../../docs/guides/troubleshooting.md")),
];

pub(crate) async fn up(arguments: &InstallationArguments, up: UpArguments) -> anyhow::Result<()> {
    // The port first: somebody who has it taken learns so at once.
    let listener = TcpListener::bind(up.listen).await.with_context(|| {
        format!("cannot listen on {}: is DocBrain running already? Another address is chosen with --listen", up.listen)
    })?;
    let stop = stop_on_signal()?;
    show::note("starting the database …");
    let installation = Installation::open(arguments).await?;
    let served = Box::pin(serve(&installation, &up, listener, &stop)).await;
    stop.cancel();
    show::note("stopping …");
    installation.shut_down().await?;
    served
}

async fn serve(
    installation: &Installation,
    up: &UpArguments,
    listener: TcpListener,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    show::note("loading the embedding model …");
    let model = installation.embedding.open().await?;
    let (token, is_own) = match up.admin_token.as_ref().or(up.admin_token_file.as_ref()) {
        Some(token) => (token.clone(), false),
        None => (installation.home.secret("admin-token")?, true),
    };
    enqueue_what_is_left(installation, &model.embedder.model().into()).await?;
    let state = installation.app_state(model.embedder, token.clone(), up.registration, up.trusted_proxies.clone())?;
    let address = listener.local_addr()?;
    let drain = Duration::from_secs(up.drain_seconds.into());
    let serving = async {
        docbrain_api::serve(listener, state, stop.clone().cancelled_owned(), drain).await?;
        anyhow::Ok(())
    };
    let greeting = async {
        if !up.no_demo {
            tokio::select! {
                added = add_demo(installation) => added?,
                () = stop.cancelled() => return Ok(()),
            }
        }
        greet(installation, address, is_own.then_some(&token), !up.no_demo);
        anyhow::Ok(())
    };
    // Ingestion processes get no longer to end than streams that are under way.
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(drain + Duration::from_secs(5)).await;
    };
    tokio::select! {
        done = async { tokio::try_join!(launcher::launch_runs(installation, stop.clone()), serving, greeting) } => done.map(|_| ()),
        () = patience => Ok(()),
    }
}

/// On the first start: a tenant, a chatbot and a knowledge source from YAML, filled with the project's documentation.
async fn add_demo(installation: &Installation) -> anyhow::Result<()> {
    let names = tenants::names(&installation.api).await?;
    if !names.is_empty() && names != ["demo"] {
        return Ok(());
    }
    let provisioner = installation.provisioner();
    if names.is_empty() {
        show::note("adding the demo chatbot …");
        for stated in manifest::read_stated(DEMO).context("deploy/demo.yaml")? {
            provisioner.apply_stated(&stated).await.with_context(|| stated.resource.label())?;
        }
    }
    // Unchanged documents cost nothing; those of a newer version are indexed again.
    let tenant = installation.tenant(Some("demo")).await?;
    let mut tx = TenantTx::begin(&installation.api, tenant).await?;
    let Ok(source) = sources::by_name(&mut tx, "docbrain").await else {
        return Ok(());
    };
    let mut pending = false;
    for (path, text) in DEMO_DOCUMENTS {
        let put = documents::put(&mut tx, source.id, &NewDocument { path, url: None, bytes: text.as_bytes() }).await?;
        pending |= matches!(put, Put::Pending(_));
    }
    if !pending {
        return Ok(());
    }
    let run = runs::enqueue(&mut tx, source.id, &format!("demo:{}", RunId::new())).await?;
    tx.commit().await?;
    follow(installation, tenant, run).await
}

/// Runs for what an earlier process left: documents that wait without a run, and indexes of another embedding model.
async fn enqueue_what_is_left(installation: &Installation, model: &ModelName) -> anyhow::Result<()> {
    for name in tenants::names(&installation.api).await? {
        let tenant = installation.tenant(Some(&name)).await?;
        let mut tx = TenantTx::begin(&installation.api, tenant).await?;
        for source in sources::without_a_run(&mut tx).await? {
            runs::enqueue(&mut tx, source, &format!("start:{}", RunId::new())).await?;
        }
        let own = provider_settings::get(&mut tx).await?.embeddings.map(|provider| provider.embedding_model());
        reindex::where_needed(&mut tx, own.as_ref().unwrap_or(model)).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn follow(installation: &Installation, tenant: TenantId, run: RunId) -> anyhow::Result<()> {
    let bar = show::progress("documents indexed");
    loop {
        let mut tx = TenantTx::begin(&installation.api, tenant).await?;
        let row = runs::get(&mut tx, run).await?;
        tx.commit().await?;
        bar.set_length(row.documents_total.into());
        bar.set_position(row.documents_indexed.into());
        match row.state {
            RunState::Succeeded => break,
            RunState::Failed { reason } => {
                show::note(&format!("the demo's documents could not be indexed: {reason}"));
                break;
            }
            RunState::Queued | RunState::Running => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Shows the token only to whoever has not chosen it: what a service writes is kept in logs.
fn greet(installation: &Installation, address: SocketAddr, own_token: Option<&SecretString>, has_demo: bool) {
    let program = std::env::args().next().unwrap_or_else(|| "docbrain".to_owned());
    let answers = match &installation.chat {
        Some(endpoint) => format!("answers are written by {} at {}", endpoint.model, endpoint.base_url),
        None => format!("answers are quotes; set {} and {} for a chat model", env::CHAT_BASE_URL, env::CHAT_API_KEY),
    };
    let (fragment, token) = match own_token.map(ExposeSecret::expose_secret) {
        Some(token) => (format!("#token={token}"), token),
        None => (String::new(), "<your token>"),
    };
    let next = if has_demo {
        format!(
            "try    curl http://{address}/conversation/chat -H 'Authorization: Bearer {token}' \\
           -H 'Content-Type: application/json' -d '{{\"chatbot\":\"demo\",\"message\":\"What happens when an ingestion is killed?\"}}'
  add    {program} ingest PATH --chatbot demo"
        )
    } else {
        format!("next   {program} apply -f FILE, with a Tenant, a Chatbot and a KnowledgeSource")
    };
    show::line(&format!(
        "
DocBrain is ready; {answers}.

  open   http://{address}/{fragment}
  API    http://{address}/docs
  {next}

Ctrl-C stops it."
    ));
}
