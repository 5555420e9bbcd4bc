//! `docbrain ask`: the API's own chat, without a socket in between.

use anyhow::{Context, bail};
use clap::Args;
use docbrain_api::AppState;
use serde_json::{Value, json};

use crate::installation::{Installation, InstallationArguments};
use crate::show;

#[derive(Args)]
#[command(after_help = "Examples:
  docbrain ask \"What does the ? operator do?\"
  docbrain ask \"How do I install it?\" --chatbot helper --json")]
pub(crate) struct AskArguments {
    /// The question
    question: String,
    /// The chatbot
    #[arg(long, default_value = "demo")]
    chatbot: String,
    /// The tenant, where there are several
    #[arg(long)]
    tenant: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn ask(arguments: &InstallationArguments, ask: &AskArguments) -> anyhow::Result<()> {
    let installation = Installation::open(arguments).await?;
    let tenant = installation.tenant(ask.tenant.as_deref()).await?;
    let model = installation.embedding.open().await?;
    let token = installation.home.secret("admin-token")?;
    let state = AppState::new(installation.api.clone(), installation.providers(model.embedder), token);
    let body = json!({ "chatbot": ask.chatbot, "message": ask.question });
    let reply = docbrain_api::chat_once(&state, tenant, body).await;
    installation.close().await?;
    match reply {
        Ok(reply) if ask.json => show::json(&reply),
        Ok(reply) => print(&reply),
        Err(problem) => bail!("{}", problem["detail"].as_str().context("a problem has a detail")?),
    }
    Ok(())
}

fn print(reply: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    show::line(&text(&reply["answer"]));
    let citations = reply["citations"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !citations.is_empty() {
        show::line("");
    }
    for citation in citations {
        let headings: Vec<String> = citation["heading_path"].as_array().into_iter().flatten().map(text).collect();
        let mut place = vec![text(&citation["title"])];
        place.extend(headings.into_iter().filter(|heading| *heading != text(&citation["title"])));
        if let Some(page) = citation["page"].as_u64() {
            place.push(format!("page {page}"));
        }
        let at = citation["url"].as_str().map_or_else(|| text(&citation["path"]), str::to_owned);
        show::line(&format!("[{}] {} ({at})", citation["number"], place.join(" › ")));
    }
}
