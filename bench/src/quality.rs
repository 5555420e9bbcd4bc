//! Retrieval quality: what `docbrain eval` finds, on the page beside the benchmarks.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use docbrain_core::env;
use serde::Deserialize;

use crate::machine::Machine;
use crate::report::{Budget, Report, Row, Table, conditions, number, write_block};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder with corpus.jsonl, queries.jsonl and qrels/.
    #[arg(long)]
    beir: PathBuf,
    /// The product's program; `docbrain-ingest` is expected beside it.
    #[arg(long, default_value = "target/release/docbrain")]
    binary: PathBuf,
    /// Home folder the data set is indexed in, as a tenant of its own.
    #[arg(long, env = env::HOME, default_value = "/var/lib/docbrain")]
    home: PathBuf,
    /// Markdown page that gets the result, between `<!-- eval:begin -->` and `<!-- eval:end -->`.
    #[arg(long)]
    docs: Option<PathBuf>,
}

/// A line of `docbrain eval --json`.
#[derive(Deserialize)]
struct Arms {
    #[serde(rename = "arms")]
    name: String,
    ndcg_at_10: f64,
    recall_at_10: f64,
    recall_at_100: f64,
    mrr_at_10: f64,
    milliseconds_per_query_p50: f64,
    milliseconds_per_query_p95: f64,
}

/// Runs the evaluation, prints its result and writes it into the page.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let machine = Machine::read();
    let mut command = Command::new(&options.binary);
    command.args(["eval", "--json", "--beir"]).arg(&options.beir).arg("--home").arg(&options.home);
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.with_context(|| format!("failed to start {}", options.binary.display()))?;
    if !output.status.success() {
        bail!("docbrain eval failed: {}", output.status);
    }
    let arms: Vec<Arms> = serde_json::from_slice(&output.stdout).context("docbrain eval printed no result")?;
    let name = options.beir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let report = report(&name, &arms, &machine);
    println!("{report}");
    if let Some(page) = &options.docs {
        write_block(page, "eval", &report.to_string())?;
        println!("written to {}", page.display());
    }
    Ok(())
}

fn report(name: &str, arms: &[Arms], machine: &Machine) -> Report {
    let hybrid = arms.iter().find(|arms| arms.name == "hybrid");
    let what = format!("nDCG@10 of {name}, hybrid, built-in model");
    let budget = Budget::AtLeast(0.72, "");
    Report {
        conditions: conditions(machine),
        rows: vec![hybrid.map_or_else(
            || Row::not_measured(&what, budget, "docbrain eval told nothing of it"),
            |arms| Row::measured(&what, budget, arms.ndcg_at_10, ""),
        )],
        tables: vec![Table {
            title: "Each arm alone and both fused. Times are per query at one client, embedding included, with the 100 best documents asked for.",
            columns: &["arms", "nDCG@10", "recall@10", "recall@100", "MRR@10", "ms p50", "ms p95"],
            rows: arms.iter().map(cells).collect(),
        }],
    }
}

fn cells(arms: &Arms) -> Vec<String> {
    let measures = [arms.ndcg_at_10, arms.recall_at_10, arms.recall_at_100, arms.mrr_at_10];
    let times = [arms.milliseconds_per_query_p50, arms.milliseconds_per_query_p95];
    let measures = measures.iter().map(|measure| format!("{measure:.3}"));
    std::iter::once(arms.name.clone()).chain(measures).chain(times.iter().map(|time| number(*time))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hybrid_arm_is_judged_and_all_are_listed() {
        let json = r#"[{"arms":"text","ndcg_at_10":0.681,"recall_at_10":0.8,"recall_at_100":0.9,"mrr_at_10":0.6,
            "milliseconds_per_query_p50":3.21,"milliseconds_per_query_p95":5.0},
            {"arms":"hybrid","ndcg_at_10":0.7364,"recall_at_10":0.86,"recall_at_100":0.957,"mrr_at_10":0.702,
            "milliseconds_per_query_p50":12.3,"milliseconds_per_query_p95":20.0}]"#;
        let arms: Vec<Arms> = serde_json::from_str(json).unwrap();
        let text = report("scifact", &arms, &Machine::read()).to_string();
        assert!(text.contains("| nDCG@10 of scifact, hybrid, built-in model | ≥ 0.72"), "{text}");
        assert!(text.contains("| text | 0.681 | 0.800 | 0.900 | 0.600 | 3.21 | 5 |"), "{text}");
        let nothing = report("scifact", &[], &Machine::read()).to_string();
        assert!(nothing.contains("not measured"), "{nothing}");
    }
}
