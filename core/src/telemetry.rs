//! Logs and metrics of all programs.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is not a log format; use text or json")),
        }
    }
}

/// Sends log lines to standard error. `filter` is in the syntax of tracing's `EnvFilter`; lines that do not match it
/// are dropped. A second call changes nothing.
pub fn init_logs(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let layer = match format {
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).with_target(false).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
    };
    // An error means that a test, or an embedding program, has installed its own.
    let _installed = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

/// The metrics, each with its unit in its name.
pub struct Metrics {
    registry: Registry,
    /// Time of a whole chat request by kind of answer.
    pub chat_seconds: HistogramVec,
    /// Time to embed a question.
    pub question_embedding_seconds: Histogram,
    /// Time of the search in Postgres, both arms and fusion.
    pub search_seconds: Histogram,
    /// Time until the model's first token.
    pub first_token_seconds: Histogram,
    /// Tokens by direction: `prompt` or `completion`.
    pub tokens_total: IntCounterVec,
    /// Chat requests whose documents held no answer.
    pub unanswered_total: IntCounter,
    /// Documents stored by upload.
    pub uploads_total: IntCounter,
    /// HTTP requests by route, method and status.
    pub requests_total: IntCounterVec,
    /// Time of HTTP requests by route.
    pub request_seconds: HistogramVec,
    /// Ingestion runs by how they ended.
    pub runs_total: IntCounterVec,
    /// Chunks written by ended runs.
    pub ingested_chunks_total: IntCounter,
    /// Chunks a second of ended runs.
    pub ingestion_chunks_per_second: Histogram,
}

/// From half a millisecond to eight seconds.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// The process's metrics.
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new().expect("names are unique and well formed"));
    &METRICS
}

impl Metrics {
    fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            prometheus::Result::Ok(histogram)
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            let histograms = HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)?;
            registry.register(Box::new(histograms.clone()))?;
            prometheus::Result::Ok(histograms)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        Ok(Self {
            chat_seconds: histograms("docbrain_chat_seconds", "Time of a chat request", &["kind"])?,
            question_embedding_seconds: histogram(
                "docbrain_question_embedding_seconds",
                "Time to embed a question",
                &SECONDS,
            )?,
            search_seconds: histogram("docbrain_search_seconds", "Time of the hybrid search in Postgres", &SECONDS)?,
            first_token_seconds: histogram(
                "docbrain_first_token_seconds",
                "Time until the model's first token",
                &SECONDS,
            )?,
            tokens_total: counters("docbrain_tokens_total", "Tokens by direction", &["direction"])?,
            unanswered_total: counter("docbrain_unanswered_total", "Questions the documents held no answer to")?,
            uploads_total: counter("docbrain_uploads_total", "Documents stored by upload")?,
            requests_total: counters("docbrain_http_requests_total", "HTTP requests", &["route", "method", "status"])?,
            request_seconds: histograms("docbrain_http_request_seconds", "Time of HTTP requests", &["route"])?,
            runs_total: counters("docbrain_ingestion_runs_total", "Ingestion runs by how they ended", &["state"])?,
            ingested_chunks_total: counter("docbrain_ingested_chunks_total", "Chunks written by ingestion runs")?,
            ingestion_chunks_per_second: histogram(
                "docbrain_ingestion_chunks_per_second",
                "Chunks a second of ended ingestion runs",
                &[1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_000.0, 5_000.0],
            )?,
            registry,
        })
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("a buffer takes all");
        String::from_utf8(text).expect("the format is UTF-8")
    }
}

/// Counts a run that has ended.
pub fn record_run(state: &str, chunks: u32, took: Duration) {
    let metrics = metrics();
    metrics.runs_total.with_label_values(&[state]).inc();
    metrics.ingested_chunks_total.inc_by(u64::from(chunks));
    if chunks > 0 && !took.is_zero() {
        metrics.ingestion_chunks_per_second.observe(f64::from(chunks) / took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_render_with_their_values() {
        record_run("succeeded", 300, Duration::from_secs(2));
        let text = metrics().render();
        assert!(text.contains("docbrain_ingestion_runs_total{state=\"succeeded\"} 1"), "{text}");
        assert!(text.contains("docbrain_ingestion_chunks_per_second_sum 150"), "{text}");
    }

    #[test]
    fn log_formats_are_read() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("xml".parse::<LogFormat>().unwrap_err().contains("use text or json"));
    }
}
