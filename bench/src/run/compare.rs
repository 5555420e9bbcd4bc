//! Two versions of the product side by side: is chat slower than it was?
//!
//! Both run at the same time with the same documents, and are asked in turn, so that what the machine does besides is done
//! to both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use docbrain_core::env;

use super::chat::{self, Chat};
use super::corpus::Corpus;
use super::server::{Embeddings, Server, Setup};
use super::{Extent, QUESTIONS, say, start_stub};
use crate::load::Bodies;
use crate::machine::Machine;
use crate::report::{Budget, Report, Row, Table, conditions, number};

/// How often each version is asked: an even number, for each begins half of the rounds.
const ROUNDS: usize = 8;
const EXTENT: Extent = Extent { warm_up: Duration::from_secs(1), measured: Duration::from_secs(8), ..Extent::FULL };
/// Least share of the throughput that a new version keeps.
const LEAST: f64 = 0.9;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The program of the version to compare with; its `docbrain-ingest` is expected beside it.
    baseline: PathBuf,
    /// The product's program; `docbrain-ingest` is expected beside it.
    #[arg(long, default_value = "target/release/docbrain")]
    binary: PathBuf,
    /// Home folder whose tools (Postgres) are used; its data is left alone.
    #[arg(long, env = env::HOME, default_value = "/var/lib/docbrain")]
    home: PathBuf,
}

/// What one version did in one round.
struct Round {
    rate: f64,
    p50: f64,
    p95: f64,
    product: f64,
    postgres: f64,
}

/// Measures and prints.
pub(super) async fn measure(options: &Options) -> anyhow::Result<Report> {
    let machine = Machine::read();
    let corpus = Corpus::own(std::path::Path::new("."), EXTENT.generated)?;
    let questions = corpus.questions(QUESTIONS);
    let questions = Bodies::new(questions.iter().map(|question| Server::chat_body(question)))?;
    let (stub, model_url) = start_stub()?;
    let mut servers = Vec::new();
    for binary in [&options.baseline, &options.binary] {
        say(&format!("{}: start, and ingest {}", binary.display(), corpus.description));
        let setup = Setup { binary, home: &options.home, model_url: &model_url, stub: stub.id() };
        let server = Server::start(&setup, Embeddings::Stub).await?;
        server.ingest(&corpus).await?;
        server.rest().await?;
        servers.push(server);
    }
    let mut rounds: [Vec<Round>; 2] = [Vec::new(), Vec::new()];
    for number in 0..ROUNDS {
        say(&format!("round {} of {ROUNDS}", number + 1));
        let first = number % 2;
        for version in [first, 1 - first] {
            rounds[version].push(round(&servers[version], &questions).await?);
        }
    }
    Ok(Report {
        conditions: [conditions(&machine), vec![format!("Corpus: {}", corpus.description)]].concat(),
        rows: vec![row(&rounds)],
        tables: vec![table(&rounds)],
    })
}

async fn round(server: &Server, questions: &Arc<Bodies>) -> anyhow::Result<Round> {
    let measured = chat::measure(server, Chat::SIXTEEN, questions, EXTENT).await?;
    let summary = &measured.summary;
    if summary.errors > 0 {
        bail!("{} errors: {}", summary.errors, summary.first_error.as_deref().unwrap_or_default());
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a run of seconds")]
    let per_chat = |cpu: Duration| cpu.as_secs_f64() * 1e3 / summary.replies.max(1) as f64;
    Ok(Round {
        rate: summary.rate,
        p50: summary.latency.p50,
        p95: summary.latency.p95,
        product: per_chat(measured.cpu.product),
        postgres: per_chat(measured.cpu.postgres),
    })
}

fn row([before, after]: &[Vec<Round>; 2]) -> Row {
    let ratios: Vec<f64> = before.iter().zip(after).map(|(before, after)| after.rate / before.rate).collect();
    let (low, high) = ratios.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), &x| (low.min(x), high.max(x)));
    let note = format!(
        "median of {ROUNDS} pairs, {} to {}; {} beside {} req/s",
        number(low),
        number(high),
        number(median(after.iter().map(|round| round.rate).collect())),
        number(median(before.iter().map(|round| round.rate).collect())),
    );
    let what = "chat at 16 clients, throughput against the baseline's";
    Row::measured(what, Budget::AtLeast(LEAST, "×"), median(ratios), note)
}

fn table([before, after]: &[Vec<Round>; 2]) -> Table {
    let cells = |number: usize, name: &str, round: &Round| {
        let values = [round.rate, round.p50, round.p95, round.product, round.postgres];
        [number.to_string(), name.to_owned()].into_iter().chain(values.map(crate::report::number)).collect()
    };
    let rows =
        before.iter().zip(after).enumerate().flat_map(|(index, (before, after))| {
            [cells(index + 1, "baseline", before), cells(index + 1, "this", after)]
        });
    Table {
        title: "Chat at 16 clients, the versions in turn.",
        columns: &["round", "version", "req/s", "ms p50", "ms p95", "CPU ms product", "CPU ms Postgres"],
        rows: rows.collect(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verdict;

    fn rounds(rates: [f64; 4]) -> Vec<Round> {
        rates.map(|rate| Round { rate, p50: 1.0, p95: 2.0, product: 1.0, postgres: 1.0 }).into()
    }

    #[test]
    fn the_middle_of_the_pairs_is_judged() {
        let before = [100.0, 200.0, 100.0, 50.0];
        // The machine was slower in some rounds, for both.
        let same = row(&[rounds(before), rounds([95.0, 190.0, 95.0, 47.5])]);
        assert_eq!(same.verdict(), Verdict::Met);
        // One round that was disturbed decides nothing.
        let disturbed = row(&[rounds(before), rounds([20.0, 198.0, 99.0, 49.5])]);
        assert_eq!(disturbed.verdict(), Verdict::Met);
        let slower = row(&[rounds(before), rounds([88.0, 176.0, 88.0, 44.0])]);
        assert_eq!(slower.verdict(), Verdict::Missed);
        assert!(slower.to_string().contains("0.88"), "{slower}");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }
}
