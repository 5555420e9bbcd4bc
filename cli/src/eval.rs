//! `docbrain eval`: retrieval quality on a data set in BEIR's format, through the real store and retrieval.
//!
//! Thakur et al. 2021, "BEIR: A Heterogenous Benchmark for Zero-shot Evaluation of Information Retrieval Models".

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use docbrain_core::ids::{RunId, TenantId};
use docbrain_core::retrieve::{self, Arms, Scope};
use docbrain_core::store::TenantTx;
use docbrain_core::store::chatbots::{self, ChatbotRef, ChatbotRow};
use docbrain_core::store::documents::{self, NewDocument};
use docbrain_core::store::runs;
use docbrain_crds::manifest;
use serde::{Deserialize, Serialize};

use crate::ingest::carry_out;
use crate::installation::{Installation, InstallationArguments};
use crate::show;

mod measures;

use measures::{Measures, Ranking};

#[derive(Args)]
#[command(after_help = "Example:\n  docbrain eval --beir scifact/ --split test")]
pub(crate) struct EvalArguments {
    /// Folder with corpus.jsonl, queries.jsonl and qrels/
    #[arg(long)]
    beir: PathBuf,
    /// Which judgements: qrels/SPLIT.tsv
    #[arg(long, default_value = "test")]
    split: String,
    /// How documents are cut: Standard, Markdown, Semantic or Window
    #[arg(long, default_value = "Markdown")]
    strategy: String,
    /// Most tokens of a chunk
    #[arg(long, default_value_t = 254)]
    size: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct CorpusLine {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    title: String,
    text: String,
}

#[derive(Deserialize)]
struct QueryLine {
    #[serde(rename = "_id")]
    id: String,
    text: String,
}

/// One line of the result.
#[derive(Serialize)]
struct ArmResult {
    arms: &'static str,
    #[serde(flatten)]
    measures: Measures,
    milliseconds_per_query_p50: f64,
    milliseconds_per_query_p95: f64,
}

/// Documents looked at for a query, as BEIR does.
const DEPTH: usize = 100;

pub(crate) async fn eval(arguments: &InstallationArguments, eval: &EvalArguments) -> anyhow::Result<()> {
    let judgements = judgements(&eval.beir.join(format!("qrels/{}.tsv", eval.split)))?;
    let queries: Vec<QueryLine> = lines(&eval.beir.join("queries.jsonl"))?;
    let corpus: Vec<CorpusLine> = lines(&eval.beir.join("corpus.jsonl"))?;
    let installation = Installation::open(arguments).await?;
    let (tenant, chatbot) = index(&installation, eval, &corpus).await?;
    let model = installation.embedding.open().await?;

    let mut results = Vec::new();
    for (name, arms) in [("dense", Arms::Dense), ("text", Arms::Text), ("hybrid", Arms::Hybrid)] {
        let scope = Scope {
            tenant,
            generations: &chatbot.generations,
            languages: &chatbot.languages,
            arms,
            top_k: u32::try_from(DEPTH).expect("a small number"),
        };
        let mut times = Vec::new();
        let mut rankings = Vec::new();
        for query in queries.iter().filter(|query| judgements.contains_key(&query.id)) {
            let started = Instant::now();
            let passages = retrieve::passages(&installation.api, model.embedder.as_ref(), &query.text, &scope).await?;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
            let found = passages.iter().map(|passage| passage.path.trim_end_matches(".md"));
            rankings.push(Ranking::of(found, &judgements[&query.id], DEPTH));
        }
        ensure!(!rankings.is_empty(), "no query of queries.jsonl is judged in qrels/{}.tsv", eval.split);
        times.sort_by(f64::total_cmp);
        results.push(ArmResult {
            arms: name,
            measures: Measures::mean(&rankings),
            milliseconds_per_query_p50: times[times.len() / 2],
            milliseconds_per_query_p95: times[times.len() * 95 / 100],
        });
    }
    installation.close().await?;
    if eval.json {
        show::json(&results);
        return Ok(());
    }
    show::line(&format!(
        "{:8} {:>8} {:>10} {:>11} {:>7} {:>8} {:>8}",
        "arms", "nDCG@10", "recall@10", "recall@100", "MRR@10", "p50 ms", "p95 ms"
    ));
    for ArmResult { arms, measures, milliseconds_per_query_p50: p50, milliseconds_per_query_p95: p95 } in &results {
        let Measures { ndcg_at_10, recall_at_10, recall_at_100, mrr_at_10 } = measures;
        show::line(&format!(
            "{arms:8} {ndcg_at_10:8.3} {recall_at_10:10.3} {recall_at_100:11.3} {mrr_at_10:7.3} {p50:8.1} {p95:8.1}"
        ));
    }
    Ok(())
}

/// The corpus as documents of a tenant of its own; what is indexed already stays.
async fn index(
    installation: &Installation,
    eval: &EvalArguments,
    corpus: &[CorpusLine],
) -> anyhow::Result<(TenantId, ChatbotRow)> {
    let folder = eval.beir.canonicalize()?;
    let name: String = folder
        .file_name()
        .context("the folder has a name")?
        .to_string_lossy()
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let name = format!("{}-{}-{}", name.trim_matches('-'), eval.strategy.to_lowercase(), eval.size);
    let yaml = format!(
        "apiVersion: docbrain.dev/v1alpha1
kind: Tenant
metadata: {{name: evaluation}}
spec: {{displayName: Evaluation}}
---
apiVersion: docbrain.dev/v1alpha1
kind: KnowledgeSource
metadata: {{name: {name}, namespace: evaluation}}
spec: {{source: {{upload: {{}}}}, chunking: {{strategy: {}, size: {}}}}}
---
apiVersion: docbrain.dev/v1alpha1
kind: Chatbot
metadata: {{name: {name}, namespace: evaluation}}
spec: {{displayName: Evaluation, knowledgeSources: [{{name: {name}}}]}}
",
        eval.strategy, eval.size
    );
    let provisioner = installation.provisioner();
    for resource in manifest::read(&yaml)? {
        provisioner.apply(&resource).await?;
    }
    let tenant = installation.tenant(Some("evaluation")).await?;
    let chatbot_name = ChatbotRef::Name(name);
    let mut tx = TenantTx::begin(&installation.api, tenant).await?;
    let source = chatbots::get(&mut tx, &chatbot_name).await?.sources[0];
    let bar = show::progress("documents stored");
    bar.set_length(corpus.len() as u64);
    for document in corpus {
        let path = format!("{}.md", document.id);
        let text = format!("# {}\n\n{}\n", document.title, document.text);
        documents::put(&mut tx, source, &NewDocument { path: &path, url: None, bytes: text.as_bytes() }).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let run = runs::enqueue(&mut tx, source, &format!("eval:{}", RunId::new())).await?;
    tx.commit().await?;
    let row = carry_out(installation, tenant, run).await?;
    ensure!(row.state == runs::RunState::Succeeded, "the corpus could not be indexed: {:?}", row.state);
    ensure!(row.documents_failed == 0, "{} documents of the corpus could not be indexed", row.documents_failed);
    let mut tx = TenantTx::begin(&installation.api, tenant).await?;
    let chatbot = chatbots::get(&mut tx, &chatbot_name).await?;
    Ok((tenant, chatbot))
}

fn lines<T: for<'a> Deserialize<'a>>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), number + 1))
        })
        .collect()
}

/// Query id to the relevant documents with their grades.
fn judgements(path: &Path) -> anyhow::Result<HashMap<String, HashMap<String, u32>>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut judgements: HashMap<String, HashMap<String, u32>> = HashMap::new();
    for (number, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [query, document, grade] = columns[..] else {
            anyhow::bail!("{}, line {}: three columns are wanted: query, document, grade", path.display(), number + 1);
        };
        let grade: u32 =
            grade.trim().parse().with_context(|| format!("{}, line {}: the grade", path.display(), number + 1))?;
        if grade > 0 {
            judgements.entry(query.to_owned()).or_default().insert(document.to_owned(), grade);
        }
    }
    Ok(judgements)
}
