//! A collector of traces: takes OTLP over HTTP, as any collector does, and keeps what it gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::post;
use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;
use tokio::net::TcpListener;

/// A span that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The service that made it, such as `secretscan-controller`.
    pub service: String,
    /// What it is about.
    pub name: String,
    /// In hexadecimal digits.
    pub trace: String,
    /// In hexadecimal digits.
    pub id: String,
    /// Of the same trace; `None` for the first span.
    pub parent: Option<String>,
    /// `server`, `consumer` or another.
    pub kind: otlp::span::SpanKind,
    /// When it began and ended, in nanoseconds since the Unix epoch.
    pub times: (u64, u64),
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    bodies: Vec<Bytes>,
}

/// A collector, listening until it is dropped with its runtime.
pub struct Collector {
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Collector {
    /// Listens on a port that the system picks.
    ///
    /// # Errors
    /// When it can't.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let taken: Arc<Mutex<Taken>> = Arc::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(taken.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, taken })
    }

    /// What services send to: `service.otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).spans.clone()
    }

    /// All requests so far, as they came.
    pub fn bodies(&self) -> Vec<Bytes> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).bodies.clone()
    }
}

type Answer = (StatusCode, [(header::HeaderName, &'static str); 1], Vec<u8>);

async fn take(State(taken): State<Arc<Mutex<Taken>>>, body: Bytes) -> Answer {
    let protobuf = [(header::CONTENT_TYPE, "application/x-protobuf")];
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else {
        return (StatusCode::BAD_REQUEST, protobuf, Vec::new());
    };
    let spans = request.resource_spans.into_iter().flat_map(|of_service| {
        let attributes = of_service.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = text(&attributes, "service.name");
        let spans = of_service.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |span| read(&service, span)).collect::<Vec<_>>()
    });
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    taken.spans.extend(spans);
    taken.bodies.push(body);
    (StatusCode::OK, protobuf, ExportTraceServiceResponse::default().encode_to_vec())
}

fn read(service: &str, span: otlp::Span) -> Span {
    let parent = HEXLOWER.encode(&span.parent_span_id);
    Span {
        service: service.to_owned(),
        kind: span.kind(),
        trace: HEXLOWER.encode(&span.trace_id),
        id: HEXLOWER.encode(&span.span_id),
        parent: (!parent.is_empty()).then_some(parent),
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        name: span.name,
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value =
        attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.as_ref());
    match value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) => text.clone(),
        _ => String::new(),
    }
}
