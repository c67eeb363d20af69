//! Log lines and traces.
//!
//! Each service makes spans and gives every log line in JSON the ids of its span and trace, whether or not the spans are sent to a
//! collector.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{KeyValue, global};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::config::{LogFormat, ServiceSettings};

/// How long a collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More of an answer of a collector is not read.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// What the targets of our spans begin with.
const OURS: &str = "secretscan";

/// Spans on their way to a collector.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends what is left. Takes up to [`TIMEOUT`] when the collector is away.
    pub(crate) fn flush(&self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Sets up log lines and traces for the process.
///
/// # Errors
/// When the address of the collector can't be used.
pub(crate) fn init(name: &'static str, settings: &ServiceSettings) -> Result<Traces, ExporterBuildError> {
    let provider = provider(name, settings)?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    let is_ours =
        |metadata: &Metadata<'_>| *metadata.level() <= Level::INFO && metadata.target().starts_with(OURS);
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(OURS))
        .with_location(false)
        .with_threads(false)
        .with_filter(filter_fn(is_ours));
    let filter = EnvFilter::new(&settings.log);
    let registry = Registry::default().with(spans);
    match settings.log_format {
        LogFormat::Text => {
            let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
            // People look at lines, not at the spans around them.
            registry.with(lines.with_filter(filter.and(filter_fn(|metadata| metadata.is_event())))).init();
        }
        LogFormat::Json => {
            let lines = json_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_current_span(false)
                .with_span_list(false)
                .with_opentelemetry_ids(true);
            registry.with(lines.with_filter(filter)).init();
        }
    }
    Ok(Traces(provider))
}

/// The span of the work on an HTTP request: a child of what its header `traceparent` says, else the first of a new trace.
/// `route` is the pattern of the path.
pub fn request_span(headers: &HeaderMap, method: &str, route: &str) -> Span {
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
    );
    let context = global::get_text_map_propagator(|propagator| propagator.extract(&HeaderExtractor(headers)));
    if context.span().span_context().is_valid() {
        // Fails only where nobody records spans.
        let _ = span.set_parent(context);
    }
    span
}

/// What makes spans, and sends those that are sampled where the settings say.
fn provider(name: &'static str, settings: &ServiceSettings) -> Result<SdkTracerProvider, ExporterBuildError> {
    let resource = Resource::builder()
        .with_service_name(format!("secretscan-{name}"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
        1.0 / f64::from(settings.trace_one_in.get()),
    )));
    let builder = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler);
    let Some(collector) = &settings.otlp_endpoint else { return Ok(builder.build()) };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Blocking(client()))
        .with_endpoint(format!("{}/v1/traces", collector.trim_end_matches('/')))
        .with_timeout(TIMEOUT)
        .build()?;
    Ok(builder.with_batch_exporter(exporter).build())
}

/// A client that blocks: the exporter has a thread of its own.
#[derive(Debug)]
struct Blocking(ureq::Agent);

#[async_trait]
impl HttpClient for Blocking {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, mut body) = self.0.run(request.map(|body| body.to_vec()))?.into_parts();
        let body = body.with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}

/// A client that trusts what this system trusts.
fn client() -> ureq::Agent {
    let roots: Vec<_> = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(TIMEOUT))
        .tls_config(tls)
        .build()
        .new_agent()
}
