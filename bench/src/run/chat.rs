//! Chat through the API: throughput, latency and CPU time.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ceilings::{Ceilings, summary_cells};
use super::server::Server;
use super::{Extent, per_unit};
use crate::load::{self, Bodies, Judgement, Summary, Target, Until};
use crate::machine::CpuTimes;
use crate::report::{Budget, Row, Table, number};

/// A step with a larger share of errors than this measures nothing.
const ERROR_LIMIT: f64 = 0.01;

/// One way of asking.
#[derive(Clone, Copy)]
pub(super) struct Chat {
    pub(super) name: &'static str,
    clients: usize,
    streamed: bool,
}

impl Chat {
    pub(super) const ONE: Self = Self { name: "1 client", clients: 1, streamed: false };
    pub(super) const SIXTEEN: Self = Self { name: "16 clients", clients: 16, streamed: false };
    pub(super) const ALL: [Self; 4] = [
        Self::ONE,
        Self::SIXTEEN,
        Self { name: "64 clients", clients: 64, streamed: false },
        Self { name: "16 clients, streamed", clients: 16, streamed: true },
    ];
}

pub(super) struct MeasuredChat {
    chat: Chat,
    pub(super) summary: Summary,
    pub(super) cpu: CpuTimes,
    elapsed: Duration,
}

/// Asks through the API, after a warm-up, and adds up the CPU time of everyone involved.
pub(super) async fn measure(
    server: &Server,
    chat: Chat,
    questions: &Arc<Bodies>,
    extent: Extent,
) -> anyhow::Result<MeasuredChat> {
    let accept = if chat.streamed { "text/event-stream" } else { "application/json" };
    let target = Target::post(&server.chat_url(), questions, judge)?
        .header("authorization", &format!("Bearer {}", server.token()))?
        .header("accept", accept)?;
    let target = Arc::new(target);
    load::run(&target, chat.clients, Until::Elapsed(extent.warm_up)).await?;
    let (before, begun) = (server.watched().cpu_times()?, Instant::now());
    let summary = load::run(&target, chat.clients, Until::Elapsed(extent.measured)).await?;
    let elapsed = begun.elapsed();
    let cpu = server.watched().cpu_times()?.since(before);
    Ok(MeasuredChat { chat, summary, cpu, elapsed })
}

/// A whole reply says whether its answer came from the model; another one cost no model call.
pub(super) fn judge(body: &[u8]) -> Judgement {
    let says = |text: &[u8]| body.windows(text.len()).rev().any(|window| window == text);
    if says(br#""kind":"generated""#) {
        Judgement::Good
    } else if says(br#""answerable":"#) {
        Judgement::Slight
    } else {
        Judgement::Wrong
    }
}

/// The budgets of chat: throughput, and what the product adds to the time of its model server.
pub(super) fn rows(chats: &[MeasuredChat], ceilings: &Ceilings) -> Vec<Row> {
    let of = |clients: usize| chats.iter().find(|measured| measured.chat.clients == clients && !measured.chat.streamed);
    let mut rows = Vec::new();
    let what = "chat, zero-latency stub for embeddings and model, 16 clients";
    rows.extend(of(Chat::SIXTEEN.clients).map(|measured| {
        measured.row(
            what,
            Budget::AtLeast(500.0, "req/s"),
            measured.summary.rate,
            format!("p50 {:.1} ms", measured.summary.latency.p50),
        )
    }));
    let what = "added latency of chat at 1 client, p50, without the model server's own time";
    rows.extend(of(Chat::ONE.clients).map(|measured| {
        let (whole, models) =
            (measured.summary.latency.p50, ceilings.embedding.latency.p50 + ceilings.chat.latency.p50);
        let note = format!(
            "{whole:.2} ms whole, {models:.2} ms of it model server; p99 {:.1} ms",
            measured.summary.latency.p99
        );
        measured.row(what, Budget::AtMost(5.0, "ms"), whole - models, note)
    }));
    rows
}

impl MeasuredChat {
    #[expect(clippy::cast_precision_loss, reason = "counts of a run of seconds")]
    fn row(&self, what: &str, budget: Budget, value: f64, mut note: String) -> Row {
        let Summary { errors, replies, slight, first_error, .. } = &self.summary;
        if *errors as f64 > *replies as f64 * ERROR_LIMIT || *replies == 0 {
            let first = first_error.as_deref().unwrap_or("no reply at all").replace(['\n', '|'], " ");
            return Row::not_measured(what, budget, format!("{errors} errors beside {replies} replies: {first}"));
        }
        if *slight > 0.05 {
            // Writing into a string cannot fail.
            let _ = write!(note, "; {:.0} % of the questions were not answered, which costs less", slight * 100.0);
        }
        Row::measured(what, budget, value, note)
    }

    fn cells(&self) -> Vec<String> {
        let per_chat = |cpu| per_unit(cpu, self.summary.replies);
        let cores = (self.cpu.product + self.cpu.postgres + self.cpu.bench).as_secs_f64() / self.elapsed.as_secs_f64();
        let mut cells = summary_cells(self.chat.name, &self.summary);
        cells.extend([
            number(self.summary.first_byte.p50),
            format!("{:.0} %", (1.0 - self.summary.slight) * 100.0),
            per_chat(self.cpu.product),
            per_chat(self.cpu.postgres),
            per_chat(self.cpu.bench),
            number(cores),
        ]);
        cells
    }
}

/// All chat loads, with the CPU time each chat cost.
pub(super) fn table(chats: &[MeasuredChat]) -> Table {
    Table {
        title: "Chat through the API, closed loop, every question different.",
        columns: &[
            "load",
            "req/s",
            "lowest to highest",
            "ms p50 / p95 / p99",
            "errors",
            "first byte ms p50",
            "answered",
            "CPU ms product",
            "CPU ms Postgres",
            "CPU ms load and model server",
            "cores busy",
        ],
        rows: chats.iter().map(MeasuredChat::cells).collect(),
    }
}
