//! Spans, sent to an OpenTelemetry collector over HTTP as protobuf.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

/// Whether spans are sent: a trace that comes with a request is followed only then.
static ON: AtomicBool = AtomicBool::new(false);

/// The base URL of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint(Url);

impl FromStr for OtlpEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<Url>() {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Self(url)),
            _ => Err("it is not the base URL of a collector; use one such as http://collector:4318".to_owned()),
        }
    }
}

/// The running sender of spans.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    pub(super) fn start(program: &'static str, endpoint: &OtlpEndpoint) -> Result<Self, ExporterBuildError> {
        let url = format!("{}/v1/traces", endpoint.0.as_str().trim_end_matches('/'));
        let exporter =
            SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(url).build()?;
        let resource = Resource::builder()
            .with_service_name(program)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let processor = BatchSpanProcessor::builder(exporter, Tokio).build();
        ON.store(true, Ordering::Relaxed);
        Ok(Self(SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor).build()))
    }

    /// The project's own spans; those of the HTTP client would trace the sending of spans.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let own = |metadata: &Metadata<'_>| metadata.target().starts_with("docbrain");
        tracing_opentelemetry::layer().with_tracer(self.0.tracer("docbrain")).with_filter(filter_fn(own))
    }

    /// Sends what is left. Blocks.
    pub(super) fn stop(self) {
        // There is nothing left that could be told of a failure.
        let _ = self.0.shutdown();
    }
}

/// Makes `span` a part of the trace that a W3C `traceparent` header names; without effect where no spans are sent.
pub fn continue_trace(span: &Span, traceparent: &str) {
    if ON.load(Ordering::Relaxed) {
        let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        // A header that names no trace leaves the span the root of its own.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
    }
}
