//! What a running program tells: logs, metrics, and where they are configured, traces and reports of errors.
//!
//! | module | what it tells |
//! |---|---|
//! | `logs` | lines on standard error, for people or as JSON |
//! | `metrics` | numbers for Prometheus |
//! | `traces` | spans for an OpenTelemetry collector |
//! | `reports` | errors with what led to them, for Sentry |
//! | `scope` | which request a piece of work belongs to, for all of them |
//!
//! None of it holds what visitors write, a key, or an address.

use std::time::Duration;

use clap::Args;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::env;

mod logs;
mod metrics;
mod reports;
mod scope;
mod traces;

pub use self::logs::{LogFilter, LogFormat};
pub use self::metrics::{Counted, Described, Metrics, metrics, record_run};
pub use self::reports::{PANIC, SentryDsn};
pub use self::scope::Scope;
pub use self::traces::{OtlpEndpoint, continue_trace};

/// How long the last spans and reports have to be sent when a program ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is told, and where; as options of a program, which may have other defaults.
#[derive(Args, Clone, Debug, Default)]
pub struct Settings {
    /// How log lines are written: text or json
    #[arg(long = "log-format", env = env::LOG_FORMAT, default_value = "text", global = true)]
    pub format: LogFormat,
    /// Which log lines are written, such as info or debug
    #[arg(long = "log-filter", env = env::LOG_FILTER, default_value = LogFilter::DEFAULT, global = true)]
    pub filter: LogFilter,
    /// Where errors are reported to
    #[arg(long = "sentry-dsn", value_name = "DSN", env = env::SENTRY_DSN, hide_env_values = true, global = true)]
    pub sentry: Option<SentryDsn>,
    /// The OpenTelemetry collector that spans are sent to
    #[arg(long = "otlp-endpoint", value_name = "URL", env = env::OTLP_ENDPOINT, global = true)]
    pub traces: Option<OtlpEndpoint>,
}

/// The running telemetry of a program. To be stopped, or what was told last is lost.
#[must_use]
pub struct Telemetry {
    reports: Option<reports::Reports>,
    traces: Option<traces::Traces>,
}

/// Starts the telemetry of `program`, such as `docbrain-api`; within a Tokio runtime. A second call in one process
/// leaves logs as they are.
pub fn start(program: &'static str, settings: &Settings) -> Telemetry {
    metrics();
    let reports = settings.sentry.as_ref().map(reports::Reports::start);
    let traces = settings.traces.as_ref().map(|endpoint| traces::Traces::start(program, endpoint)).transpose();
    let (traces, failed) = traces.map_or_else(|error| (None, Some(error)), |traces| (traces, None));
    // An error means that a test, or an embedding program, has installed its own.
    let _installed = tracing_subscriber::registry()
        .with(logs::layer(settings.format, &settings.filter))
        .with(reports.is_some().then(reports::layer))
        .with(traces.as_ref().map(traces::Traces::layer))
        .try_init();
    if let Some(error) = failed {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot send spans");
    }
    Telemetry { reports, traces }
}

impl Telemetry {
    /// Sends what was told last, for at most two seconds.
    pub async fn stop(self) {
        let Self { reports, traces } = self;
        let sent = tokio::task::spawn_blocking(move || {
            if let Some(traces) = traces {
                traces.stop();
            }
            drop(reports);
        });
        // Whether it was in time changes nothing: the program ends.
        let _ = tokio::time::timeout(LAST_WORDS, sent).await;
    }
}
