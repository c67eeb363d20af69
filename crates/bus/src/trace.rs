//! Traces that go on from message to message, by the header `traceparent` (W3C Trace Context).
//!
//! Where no service has set up tracing, as in commands, nothing is written and what is there is left alone.

use async_nats::{HeaderMap, HeaderName};
use opentelemetry::global;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::queue::Delivery;

struct Written<'a>(&'a mut HeaderMap);

impl Injector for Written<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let Ok(name) = key.parse::<HeaderName>() {
            self.0.insert(name, value);
        }
    }
}

struct Read<'a>(&'a HeaderMap);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}

/// Lets what follows from a message belong to the current span.
pub(crate) fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Written(headers)));
}

/// The span of the work on a message: a child of what the message says, else the first of a new trace.
/// Names and attributes are those of the
/// [conventions for messaging](https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/).
pub(crate) fn span_of(delivery: &Delivery, consumer: &str) -> Span {
    let span = tracing::info_span!(
        "process",
        otel.name = format!("process {consumer}"),
        otel.kind = "consumer",
        messaging.system = "nats",
        messaging.operation.type = "process",
        messaging.destination.name = delivery.subject(),
        messaging.consumer.group.name = consumer,
        deliveries = delivery.deliveries(),
        verdict = tracing::field::Empty,
    );
    if let Some(headers) = delivery.headers() {
        let context = global::get_text_map_propagator(|propagator| propagator.extract(&Read(headers)));
        if context.span().span_context().is_valid() {
            // Fails only where nobody records spans.
            let _ = span.set_parent(context);
        }
    }
    span
}
