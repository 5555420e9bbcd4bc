//! Errors and panics, reported to Sentry with what led to them.
//!
//! A report holds the message, the chain of causes, the place in the code and the log lines before it. Of log lines
//! only known fields leave the house; of a panic only its place, since its message may quote what it worked on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sentry::integrations::backtrace::ProcessStacktraceIntegration;
use sentry::integrations::contexts::ContextIntegration;
use sentry::integrations::panic::PanicIntegration;
use sentry::integrations::tracing::{BreadcrumbLayer, ErrorLayer};
use sentry::protocol::{Context, Event};
use sentry::{Breadcrumb, ClientInitGuard, ClientOptions};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::LAST_WORDS;

/// Target of the log line that tells of a panic: the panic itself was reported already.
pub const PANIC: &str = "docbrain::panic";

/// Fields of log lines that are reported; others may hold paths or names.
const FIELDS: [&str; 9] =
    ["code", "duration_ms", "error", "kind", "method", "milliseconds", "route", "status", "run.id"];

/// Where errors are reported to.
#[derive(Clone)]
pub struct SentryDsn(sentry::types::Dsn);

impl fmt::Debug for SentryDsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SentryDsn({})", self.0.host())
    }
}

impl FromStr for SentryDsn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = |_| "it is not a Sentry DSN; use one of the form https://key@host/project".to_owned();
        text.parse().map(Self).map_err(unreadable)
    }
}

/// The running client; dropping it sends what is left, for a limited time.
pub(super) struct Reports(#[expect(dead_code, reason = "it is held, so that it is dropped")] ClientInitGuard);

impl Reports {
    pub(super) fn start(dsn: &SentryDsn) -> Self {
        let mut options = ClientOptions::new().release(concat!("docbrain@", env!("CARGO_PKG_VERSION")));
        options.dsn = Some(dsn.0.clone());
        let panics = PanicIntegration::new().add_extractor(|panic| Some(without_message(panic)));
        Self(sentry::init(
            options
                .send_default_pii(false)
                .max_breadcrumbs(50)
                .attach_stacktrace(true)
                .shutdown_timeout(LAST_WORDS)
                .default_integrations(false)
                .add_integration(ContextIntegration::default())
                .add_integration(ProcessStacktraceIntegration)
                .add_integration(panics)
                .before_breadcrumb(|breadcrumb| Some(known_fields(breadcrumb)))
                .before_send(|event| Some(scrubbed(event))),
        ))
    }
}

/// Log lines become breadcrumbs, and errors reports.
pub(super) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let told = |metadata: &Metadata<'_>| matches!(*metadata.level(), Level::WARN | Level::INFO);
    let failed = |metadata: &Metadata<'_>| *metadata.level() == Level::ERROR && metadata.target() != PANIC;
    BreadcrumbLayer::new().with_filter(filter_fn(told)).and_then(ErrorLayer::new().with_filter(filter_fn(failed)))
}

fn without_message(panic: &std::panic::PanicHookInfo<'_>) -> Event<'static> {
    let mut event = PanicIntegration::new().event_from_panic_info(panic);
    let place =
        panic.location().map_or_else(String::new, |location| format!("at {}:{}", location.file(), location.line()));
    for exception in &mut event.exception {
        exception.value = Some(place.clone());
    }
    event
}

fn known_fields(mut breadcrumb: Breadcrumb) -> Breadcrumb {
    breadcrumb.data.retain(|name, _| FIELDS.contains(&name.as_str()));
    breadcrumb
}

fn scrubbed(mut event: Event<'static>) -> Event<'static> {
    event.request = None;
    event.user = None;
    if let Some(Context::Other(fields)) = event.contexts.get_mut("Rust Tracing Fields") {
        fields.retain(|name, _| FIELDS.contains(&name.as_str()));
        // A model server's own words may repeat what a visitor wrote.
        let code = fields.get("code").and_then(|code| code.as_str()).unwrap_or_default();
        if code.starts_with("model_") || code.starts_with("embedding_") {
            fields.remove("error");
        }
    }
    event
}

/// The hub of a request, which keeps its breadcrumbs apart from those of others; `None` where nothing is reported.
pub(super) fn hub_of(request_id: Option<&str>) -> Option<Arc<sentry::Hub>> {
    let current = sentry::Hub::current();
    current.client()?;
    let hub = Arc::new(sentry::Hub::new_from_top(current));
    if let Some(request_id) = request_id {
        hub.configure_scope(|scope| scope.set_tag("request_id", request_id));
    }
    Some(hub)
}
