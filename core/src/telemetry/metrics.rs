//! Numbers for Prometheus. Names and labels are stable: dashboards, alerts and `docs/guides/metrics.md` rest on them,
//! and tests hold them together.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::store::Pool;

/// The metrics, each with its unit in its name.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    resident_memory_bytes: IntGauge,
    database_connections: IntGaugeVec,
    database_connections_max: IntGauge,
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
    /// Failures of chat and embedding models by the problem's code.
    pub model_errors_total: IntCounterVec,
    /// Documents stored by upload.
    pub uploads_total: IntCounter,
    /// HTTP requests by route, method and status.
    pub requests_total: IntCounterVec,
    /// Time of HTTP requests by route.
    pub request_seconds: HistogramVec,
    /// HTTP requests that are being answered.
    pub requests_in_flight: IntGauge,
    /// Event streams that are open.
    pub streams_open: IntGauge,
    /// Requests refused by a limit, by what the limit counts.
    pub limited_total: IntCounterVec,
    /// Ingestion runs by how they ended.
    pub runs_total: IntCounterVec,
    /// Documents of ended runs by what became of them: `indexed` or `failed`.
    pub ingested_documents_total: IntCounterVec,
    /// Chunks written by ended runs.
    pub ingested_chunks_total: IntCounter,
    /// Chunks a second of ended runs.
    pub ingestion_chunks_per_second: Histogram,
}

/// One more in a gauge for as long as it lives.
pub struct Counted(IntGauge);

impl Counted {
    /// Counts from now on.
    pub fn in_gauge(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A metric as Prometheus knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name; a histogram has `_bucket`, `_sum` and `_count` behind it.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// What it counts.
    pub help: String,
}

/// From half a millisecond to eight seconds.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];
/// Chunks a second, from a slow model to none at all.
const CHUNK_RATES: [f64; 11] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_000.0, 5_000.0];

/// The process's metrics.
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new().expect("names are unique and well formed"));
    &METRICS
}

/// Registers metrics, and remembers how they were described.
#[derive(Default)]
struct Registrar {
    registry: Registry,
    described: Vec<Described>,
}

impl Registrar {
    fn add<C: Collector + Clone + 'static>(
        &mut self,
        kind: &'static str,
        made: prometheus::Result<C>,
    ) -> prometheus::Result<C> {
        let metric = made?;
        self.registry.register(Box::new(metric.clone()))?;
        self.described.extend(metric.desc().into_iter().map(|desc| Described {
            name: desc.fq_name.clone(),
            kind,
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        }));
        Ok(metric)
    }

    fn counter(&mut self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add("counter", IntCounter::new(name, help))
    }

    fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.add("counter", IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&mut self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add("gauge", IntGauge::new(name, help))
    }

    fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add("gauge", IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add("histogram", Histogram::with_opts(options))
    }

    fn histograms(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.add("histogram", HistogramVec::new(options, labels))
    }
}

impl Metrics {
    #[rustfmt::skip]
    fn new() -> prometheus::Result<Self> {
        let mut r = Registrar::default();
        r.gauges("docbrain_build_info", "Always 1; its label says which version runs", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        r.add("gauge", Gauge::new("process_start_time_seconds", "When the process began, in seconds since 1970"))?
            .set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        let metrics = Self {
            resident_memory_bytes: r.gauge("process_resident_memory_bytes", "Memory the process holds, in bytes")?,
            database_connections: r.gauges("docbrain_database_connections", "Connections to Postgres that are open", &["state"])?,
            database_connections_max: r.gauge("docbrain_database_connections_max", "Connections to Postgres that may be open")?,
            chat_seconds: r.histograms("docbrain_chat_seconds", "Time of a chat request", &["kind"])?,
            question_embedding_seconds: r.histogram("docbrain_question_embedding_seconds", "Time to embed a question", &SECONDS)?,
            search_seconds: r.histogram("docbrain_search_seconds", "Time of the hybrid search in Postgres", &SECONDS)?,
            first_token_seconds: r.histogram("docbrain_first_token_seconds", "Time until the model's first token", &SECONDS)?,
            tokens_total: r.counters("docbrain_tokens_total", "Tokens by direction", &["direction"])?,
            unanswered_total: r.counter("docbrain_unanswered_total", "Questions the documents held no answer to")?,
            model_errors_total: r.counters("docbrain_model_errors_total", "Failures of chat and embedding models", &["code"])?,
            uploads_total: r.counter("docbrain_uploads_total", "Documents stored by upload")?,
            requests_total: r.counters("docbrain_http_requests_total", "HTTP requests", &["route", "method", "status"])?,
            request_seconds: r.histograms("docbrain_http_request_seconds", "Time of HTTP requests", &["route"])?,
            requests_in_flight: r.gauge("docbrain_http_requests_in_flight", "HTTP requests that are being answered")?,
            streams_open: r.gauge("docbrain_streams_open", "Event streams that are open")?,
            limited_total: r.counters("docbrain_limited_total", "Requests refused by a limit", &["scope"])?,
            runs_total: r.counters("docbrain_ingestion_runs_total", "Ingestion runs by how they ended", &["state"])?,
            ingested_documents_total: r.counters("docbrain_ingested_documents_total", "Documents handled by ended ingestion runs", &["outcome"])?,
            ingested_chunks_total: r.counter("docbrain_ingested_chunks_total", "Chunks written by ingestion runs")?,
            ingestion_chunks_per_second: r.histogram("docbrain_ingestion_chunks_per_second", "Chunks a second of ended ingestion runs", &CHUNK_RATES)?,
            registry: r.registry,
            described: r.described,
        };
        Ok(metrics)
    }

    /// All metrics in Prometheus' text format, with `pool` as it is now.
    pub fn render(&self, pool: &Pool) -> String {
        let (open, idle) = (i64::from(pool.size()), i64::try_from(pool.num_idle()).unwrap_or(i64::MAX));
        self.database_connections.with_label_values(&["idle"]).set(idle);
        self.database_connections.with_label_values(&["used"]).set((open - idle).max(0));
        self.database_connections_max.set(pool.options().get_max_connections().into());
        if let Some(bytes) = resident_memory_bytes() {
            self.resident_memory_bytes.set(bytes);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("a buffer takes all");
        String::from_utf8(text).expect("the format is UTF-8")
    }

    /// Every metric there is, also those that have not counted anything yet.
    pub fn described(&self) -> &[Described] {
        &self.described
    }
}

/// As `/proc` tells it; `None` on a system without it.
fn resident_memory_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Counts a run that has ended.
pub fn record_run(state: &str, documents_indexed: u32, documents_failed: u32, chunks: u32, took: Duration) {
    let metrics = metrics();
    metrics.runs_total.with_label_values(&[state]).inc();
    metrics.ingested_documents_total.with_label_values(&["indexed"]).inc_by(documents_indexed.into());
    metrics.ingested_documents_total.with_label_values(&["failed"]).inc_by(documents_failed.into());
    metrics.ingested_chunks_total.inc_by(chunks.into());
    if chunks > 0 && !took.is_zero() {
        metrics.ingestion_chunks_per_second.observe(f64::from(chunks) / took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn metrics_render_with_their_values() {
        let pool = crate::store::connect_later("postgres://nobody@localhost/nothing", 4).unwrap();
        record_run("succeeded", 3, 1, 300, Duration::from_secs(2));
        let text = metrics().render(&pool);
        for line in [
            "docbrain_ingestion_runs_total{state=\"succeeded\"} 1",
            "docbrain_ingested_documents_total{outcome=\"failed\"} 1",
            "docbrain_ingestion_chunks_per_second_sum 150",
            concat!("docbrain_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "docbrain_database_connections{state=\"used\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_process_knows_its_memory() {
        let bytes = resident_memory_bytes().unwrap();
        assert!((1 << 20..1 << 36).contains(&bytes), "{bytes}");
    }
}
