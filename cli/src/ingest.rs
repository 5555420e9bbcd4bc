//! `docbrain ingest`: files and folders into a chatbot's knowledge.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use docbrain_core::ids::{KnowledgeSourceId, RunId, TenantId};
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::documents::{self, MAX_ORIGINAL_BYTES, NewDocument, Put};
use docbrain_core::store::runs::{self, RunRow, RunState};
use docbrain_core::store::{TenantTx, sources};
use serde_json::json;

use crate::installation::{Installation, InstallationArguments};
use crate::{launcher, show};

#[derive(Args)]
#[command(after_help = "Examples:
  docbrain ingest manual.pdf --chatbot demo
  docbrain ingest docs/ --chatbot demo --mirror     documents that are no longer in docs/ go
  docbrain ingest docs/ --chatbot demo --base-url https://example.com/docs/")]
pub(crate) struct IngestArguments {
    /// Files and folders; hidden files and links are left out
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The chatbot whose knowledge the documents join
    #[arg(long, default_value = "demo")]
    chatbot: String,
    /// The knowledge source, where the chatbot has several
    #[arg(long)]
    source: Option<String>,
    /// The tenant, where there are several
    #[arg(long)]
    tenant: Option<String>,
    /// Remove documents of the knowledge source that are not among these files
    #[arg(long)]
    mirror: bool,
    /// Where visitors can open the documents: this URL followed by the document's path
    #[arg(long)]
    base_url: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A file to be stored, and the path it gets within the knowledge source.
struct Found {
    file: PathBuf,
    path: String,
}

pub(crate) async fn ingest(arguments: &InstallationArguments, ingest: &IngestArguments) -> anyhow::Result<()> {
    let files = find(&ingest.paths)?;
    let installation = Installation::open(arguments).await?;
    let tenant = installation.tenant(ingest.tenant.as_deref()).await?;
    let source = target(&installation, tenant, ingest).await?;
    let trigger = format!("cli:{}", RunId::new());
    let run = store(&installation, tenant, source, &files, ingest, &trigger).await?;
    let row = carry_out(&installation, tenant, run).await?;
    report(&installation, tenant, &row, ingest.json).await?;
    installation.close().await?;
    match row.state {
        RunState::Failed { reason } => bail!("the run failed: {reason}"),
        _ => Ok(()),
    }
}

fn find(paths: &[PathBuf]) -> anyhow::Result<Vec<Found>> {
    let mut files = Vec::new();
    for path in paths {
        let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if metadata.is_dir() {
            walk(path, path, &mut files)?;
        } else {
            let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
            files.push(Found { file: path.clone(), path: name });
        }
    }
    if files.is_empty() {
        bail!("there are no files in {}", paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "));
    }
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<Found>) -> anyhow::Result<()> {
    let mut entries: Vec<_> =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            walk(root, &entry.path(), files)?;
        } else if kind.is_file() {
            let file = entry.path();
            let path = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
            files.push(Found { file, path });
        }
    }
    Ok(())
}

async fn target(
    installation: &Installation,
    tenant: TenantId,
    ingest: &IngestArguments,
) -> anyhow::Result<KnowledgeSourceId> {
    let mut tx = TenantTx::begin(&installation.api, tenant).await?;
    let source = if let Some(name) = &ingest.source {
        sources::by_name(&mut tx, name).await.with_context(|| format!("knowledge source {name:?}"))?
    } else {
        let chatbot = chatbots::get(&mut tx, &ChatbotRef::from(ingest.chatbot.as_str()))
            .await
            .with_context(|| format!("chatbot {:?}", ingest.chatbot))?;
        match chatbot.sources[..] {
            [source] => sources::get(&mut tx, source).await?,
            [] => bail!(
                "chatbot {:?} has no knowledge source: name one in its spec.knowledgeSources and apply it",
                ingest.chatbot
            ),
            _ => bail!("chatbot {:?} has several knowledge sources: choose one with --source", ingest.chatbot),
        }
    };
    if source.spec.source.upload.is_none() {
        bail!("the documents of {:?} are fetched from its {}, not uploaded", source.name, source.spec.source.origin());
    }
    if source.suspended {
        bail!("knowledge source {:?}, or its tenant, is suspended", source.name);
    }
    Ok(source.id)
}

/// Stores the originals, a file a transaction: what was stored stays stored when this is interrupted.
async fn store(
    installation: &Installation,
    tenant: TenantId,
    source: KnowledgeSourceId,
    files: &[Found],
    ingest: &IngestArguments,
    trigger: &str,
) -> anyhow::Result<RunId> {
    let bar = show::progress("files stored");
    bar.set_length(files.len() as u64);
    let mut kept = Vec::new();
    for found in files {
        let size = fs::metadata(&found.file)?.len();
        if size > MAX_ORIGINAL_BYTES as u64 {
            bail!(
                "{} has {} MB; a document may have at most {} MB",
                found.file.display(),
                size >> 20,
                MAX_ORIGINAL_BYTES >> 20
            );
        }
        let bytes = fs::read(&found.file).with_context(|| format!("cannot read {}", found.file.display()))?;
        let url = ingest.base_url.as_ref().map(|base| format!("{}/{}", base.trim_end_matches('/'), found.path));
        let mut tx = TenantTx::begin(&installation.api, tenant).await?;
        let put =
            documents::put(&mut tx, source, &NewDocument { path: &found.path, url: url.as_deref(), bytes: &bytes })
                .await?;
        tx.commit().await?;
        kept.push(Put::id(put));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut tx = TenantTx::begin(&installation.api, tenant).await?;
    if ingest.mirror {
        let gone = documents::delete_others(&mut tx, source, &kept).await?;
        if gone > 0 {
            show::note(&format!("removed {gone} documents that are no longer there"));
        }
    }
    let run = runs::enqueue(&mut tx, source, trigger).await?;
    tx.commit().await?;
    Ok(run)
}

/// Carries a run out in a process of its own and shows how far it is.
pub(crate) async fn carry_out(installation: &Installation, tenant: TenantId, run: RunId) -> anyhow::Result<RunRow> {
    const POLL: Duration = Duration::from_millis(200);
    let bar = show::progress("documents");
    let embedding = launcher::embedding_of(installation, tenant).await?;
    let mut process = launcher::spawn(installation, tenant, run, embedding, None).await?;
    let mut ended = None;
    let row = loop {
        tokio::time::sleep(POLL).await;
        let mut tx = TenantTx::begin(&installation.api, tenant).await?;
        let row = runs::get(&mut tx, run).await?;
        tx.commit().await?;
        bar.set_length(row.documents_total.into());
        bar.set_position((row.documents_indexed + row.documents_failed).into());
        bar.set_message(format!("{} chunks", row.chunks));
        if row.state.has_ended() {
            break row;
        }
        ended = process.child.try_wait()?.or(ended);
        match ended {
            Some(status) if !status.success() => {
                bail!("the ingestion process ended early ({status}); run the command again to go on")
            }
            // The process found the run in other hands; it is carried out there.
            _ => {}
        }
    };
    process.child.wait().await?;
    bar.finish_and_clear();
    Ok(row)
}

async fn report(installation: &Installation, tenant: TenantId, row: &RunRow, as_json: bool) -> anyhow::Result<()> {
    let mut tx = TenantTx::begin(&installation.api, tenant).await?;
    let failures = runs::failures(&mut tx, row.id, 1_000).await?;
    let seconds = row.finished_at.zip(row.started_at).map_or(0.0, |(end, start)| (end - start).as_seconds_f64());
    let rate = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
    let (documents, chunks) = (f64::from(row.documents_indexed), f64::from(row.chunks));
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let bytes = row.bytes as f64;
    if as_json {
        show::json(&json!({
            "run": row.id,
            "state": if row.state == RunState::Succeeded { "succeeded" } else { "failed" },
            "documents": { "total": row.documents_total, "indexed": row.documents_indexed,
                "unchanged": row.documents_unchanged, "failed": row.documents_failed },
            "chunks": row.chunks, "bytes": row.bytes, "seconds": seconds,
            "documents_per_second": rate(documents), "chunks_per_second": rate(chunks), "bytes_per_second": rate(bytes),
            "failures": failures.iter().map(|f| json!({ "path": f.path, "reason": f.reason })).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    show::line(&format!(
        "{} documents indexed, {} unchanged, {} failed; {} chunks in {seconds:.1} s ({:.0} chunks/s, {:.0} kB/s)",
        row.documents_indexed,
        row.documents_unchanged,
        row.documents_failed,
        row.chunks,
        rate(chunks),
        rate(bytes) / 1000.0,
    ));
    for failure in &failures {
        show::line(&format!("  failed: {}: {}", failure.path, failure.reason));
    }
    Ok(())
}
