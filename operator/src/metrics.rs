//! Numbers about reconciling, for Prometheus. `docs/guides/metrics.md` describes them.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// The operator's metrics; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    described: Arc<Vec<String>>,
    /// Reconciles by kind and result (`ok`, `error`).
    pub reconciles: IntCounterVec,
    /// Time of a reconcile by kind.
    pub reconcile_seconds: HistogramVec,
    /// Errors by kind and where they came from (`database`, `kubernetes`, `timeout`, `leadership`).
    pub errors: IntCounterVec,
    /// Statuses that were written, by kind.
    pub status_writes: IntCounterVec,
    /// Time to write a status.
    pub status_seconds: Histogram,
    /// Jobs that were made.
    pub jobs: IntCounter,
    /// Resources that are known, by kind.
    pub resources: IntGaugeVec,
    /// Watches that had to begin again, by kind.
    pub watch_errors: IntCounterVec,
    /// 1 while this process leads.
    pub leader: IntGauge,
    /// How often this process became the leader.
    pub lease_transitions: IntCounter,
    /// Age of the oldest resource that waits for its finalizer, by kind.
    pub finalizer_age_seconds: IntGaugeVec,
}

impl Metrics {
    /// Registers them all.
    pub fn new() -> Self {
        let mut registry = Described::default();
        let build = int_gauges(&mut registry, "docbrain_operator_build_info", "What is running.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            reconciles: counters(
                &mut registry,
                "docbrain_operator_reconciles_total",
                "Reconciles by kind and result.",
                &["kind", "result"],
            ),
            reconcile_seconds: registered(
                &mut registry,
                HistogramVec::new(
                    HistogramOpts::new("docbrain_operator_reconcile_seconds", "Time of a reconcile by kind.")
                        .buckets(prometheus::exponential_buckets(0.001, 2.0, 15).expect("the bounds increase")),
                    &["kind"],
                ),
            ),
            errors: counters(
                &mut registry,
                "docbrain_operator_errors_total",
                "Reconciles that failed, by kind and what failed.",
                &["kind", "of"],
            ),
            status_writes: counters(
                &mut registry,
                "docbrain_operator_status_writes_total",
                "Statuses written, by kind.",
                &["kind"],
            ),
            status_seconds: registered(
                &mut registry,
                Histogram::with_opts(HistogramOpts::new(
                    "docbrain_operator_status_write_seconds",
                    "Time to write a status.",
                )),
            ),
            jobs: registered(
                &mut registry,
                IntCounter::new("docbrain_operator_jobs_created_total", "Jobs made for ingestion runs."),
            ),
            resources: int_gauges(&mut registry, "docbrain_operator_resources", "Resources known, by kind.", &["kind"]),
            watch_errors: counters(
                &mut registry,
                "docbrain_operator_watch_errors_total",
                "Watches that had to begin again, by kind.",
                &["kind"],
            ),
            leader: registered(&mut registry, IntGauge::new("docbrain_operator_leader", "1 while this process leads.")),
            lease_transitions: registered(
                &mut registry,
                IntCounter::new("docbrain_operator_lease_transitions_total", "How often this process became leader."),
            ),
            finalizer_age_seconds: int_gauges(
                &mut registry,
                "docbrain_operator_finalizer_age_seconds",
                "Age of the oldest resource that waits to be deleted, by kind.",
                &["kind"],
            ),
            registry: registry.registry,
            described: Arc::new(registry.lines),
        }
    }

    /// Each metric as the guide lists it.
    pub fn described(&self) -> &[String] {
        &self.described
    }

    /// Notes a reconcile that ended.
    pub fn reconciled(&self, kind: &str, is_ok: bool, took: Duration) {
        self.reconciles.with_label_values(&[kind, if is_ok { "ok" } else { "error" }]).inc();
        self.reconcile_seconds.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    /// All of them in Prometheus' text format.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A registry that knows what is in it, before anything was counted.
#[derive(Default)]
struct Described {
    registry: Registry,
    lines: Vec<String>,
}

fn counters(registry: &mut Described, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn int_gauges(registry: &mut Described, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &mut Described,
    made: prometheus::Result<C>,
) -> C {
    let collector = made.expect("names and labels are well formed");
    for metric in collector.desc() {
        let labels = metric.variable_labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let labels = if labels.is_empty() { labels } else { format!(" ({labels})") };
        registry.lines.push(format!("- `{}`{labels}: {}", metric.fq_name, metric.help));
    }
    registry.registry.register(Box::new(collector.clone())).expect("each name is registered once");
    collector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> String {
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
    }

    #[test]
    fn the_guide_lists_every_metric_as_it_is() {
        let metrics = Metrics::new();
        let guide = read("docs/guides/metrics.md");
        let listed: Vec<&str> = guide.lines().filter(|line| line.starts_with("- `docbrain_operator_")).collect();
        assert_eq!(
            listed,
            metrics.described(),
            "docs/guides/metrics.md is to list:\n{}",
            metrics.described().join("\n")
        );
    }

    #[test]
    fn alerts_ask_for_what_there_is() {
        let alerts = read("deploy/monitoring/alerts.yml");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let asked = alerts.split("docbrain_operator_").skip(1).map(|rest| rest.split(|c| !is_name(c)).next().unwrap());
        let known = Metrics::new().described().join("\n");
        let asked: Vec<&str> = asked.collect();
        assert!(!asked.is_empty());
        for name in asked {
            assert!(known.contains(&format!("`docbrain_operator_{name}`")), "there is no docbrain_operator_{name}");
        }
    }
}
