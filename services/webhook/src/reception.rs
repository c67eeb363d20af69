//! The way of one delivery: from the head of a request to its answer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use secretscan_bus::pushes::Reception as Stored;
use secretscan_bus::{Bus, BusError, chain, now, v1};
use secretscan_model::RepositoryUri;
use secretscan_service::request_span;
use sha2::{Digest, Sha256};
use tracing::Instrument;

use crate::answer::Outcome;
use crate::body::Bodies;
use crate::config::{Config, Policy, UnknownRepositories};
use crate::hosts::Push;
use crate::metrics::Metrics;
use crate::signature::claim;
use crate::source::{Source, SourceError};

/// What the path of a source begins with; its name follows.
const HOOKS: &str = "/hooks/";

/// Takes deliveries.
pub(crate) struct Reception {
    bus: Bus,
    sources: BTreeMap<String, Source>,
    policy: Policy,
    bodies: Bodies,
    store_timeout: Duration,
    pub(crate) metrics: Metrics,
}

impl Reception {
    /// Reads the secrets of all sources.
    pub(crate) fn new(bus: Bus, config: &Config) -> Result<Self, SourceError> {
        let policy = config.policy.of_uris();
        let load = |(name, settings): (&String, _)| Ok((name.clone(), Source::load(name, settings, policy)?));
        let sources: BTreeMap<_, _> = config.sources.iter().map(load).collect::<Result<_, _>>()?;
        if sources.is_empty() {
            return Err(SourceError::None);
        }
        Ok(Self {
            bus,
            sources,
            policy: config.policy.clone(),
            bodies: Bodies::new(&config.webhook),
            store_timeout: config.webhook.store_timeout(),
            metrics: Metrics::default(),
        })
    }

    /// Answers a request; with `must_close` as the last one of its connection.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        must_close: impl Fn() -> bool,
    ) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let source = head.uri.path().strip_prefix(HOOKS).and_then(|name| self.sources.get(name));
        let outcome = match source {
            Some(_) if head.method != Method::POST => Outcome::Method,
            Some(source) => self.take(source, &head, body).await.unwrap_or_else(|outcome| outcome),
            None => Outcome::NotFound,
        };
        let name = source.map(|source| source.name.as_str());
        self.metrics.answered(name, outcome.label(), started.elapsed());
        outcome.response(must_close())
    }

    /// Nothing of the request is read before the signature is checked but headers.
    async fn take<B>(&self, source: &Source, head: &Parts, body: B) -> Result<Outcome, Outcome>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let now = now();
        let claim = claim(source.host, &head.headers, &source.secrets, now.0).ok_or(Outcome::Unauthorized)?;
        let body = self.bodies.receive(body).await?;
        if !claim.is_right(&source.secrets, &body.bytes) {
            return Err(Outcome::Unauthorized);
        }
        if !source.host.may_tell_push(&head.headers) {
            return Ok(Outcome::Nothing);
        }
        let delivery = source.host.delivery(&head.headers, &body.bytes).ok_or(Outcome::NoDelivery)?;
        let refused = |outcome: Outcome| {
            tracing::warn!(source = source.name, delivery, reason = outcome.text(), "refused");
            outcome
        };
        let read = source.host.read(&head.headers, &body.bytes);
        let push = match read.map_err(|error| refused(Outcome::Payload(error)))? {
            Some(push) if !push.refs.is_empty() => push,
            Some(_) | None => return Ok(Outcome::Nothing),
        };
        let uri = self.uri(source, &push).map_err(refused)?;
        let signed = source.host.dates_payloads().then(|| Sha256::digest(&body.bytes).into());
        // The memory of the body is another's while NATS is waited for.
        drop(body);
        let message = v1::PushReceived {
            source: source.name.clone(),
            delivery,
            uri: uri.fetch().to_owned(),
            refs: push.refs,
            pusher: push.pusher,
            received_at: now.0,
        };
        // Not before it is known who sends it.
        let span = request_span(&head.headers, "POST", HOOKS);
        self.store(&uri, &message, signed).instrument(span).await
    }

    /// The repository's URI, if the source may speak for it.
    fn uri(&self, source: &Source, push: &Push) -> Result<RepositoryUri, Outcome> {
        let text = source.clone_url(push).map_err(Outcome::Payload)?;
        let uri = RepositoryUri::parse(text, self.policy.of_uris()).map_err(|error| {
            tracing::warn!(source = source.name, error = chain(&error), "a clone URL is not accepted");
            Outcome::Uri
        })?;
        match source.may_tell_of(&uri) {
            true => Ok(uri),
            false => Err(Outcome::Foreign),
        }
    }

    /// Stores a push within the time that a host waits.
    async fn store(
        &self,
        uri: &RepositoryUri,
        push: &v1::PushReceived,
        signed: Option<[u8; 32]>,
    ) -> Result<Outcome, Outcome> {
        // A message that is sent now would lie in this process until the server is back, and its sender not know.
        if !self.bus.is_connected() {
            return Err(Outcome::Unavailable);
        }
        let (source, delivery) = (&push.source, &push.delivery);
        match tokio::time::timeout(self.store_timeout, self.receive(uri, push, signed)).await {
            Ok(Ok(outcome)) => {
                let (repo, refs) = (uri.name(), push.refs.len());
                tracing::info!(source, delivery, repo, refs, outcome = outcome.label(), "delivered");
                Ok(outcome)
            }
            Ok(Err(error)) => {
                tracing::warn!(source, delivery, error = chain(&error), "a push was not stored");
                Err(Outcome::Unavailable)
            }
            Err(_) => {
                tracing::warn!(source, delivery, "a push was not stored: NATS does not answer");
                Err(Outcome::Unavailable)
            }
        }
    }

    async fn receive(
        &self,
        uri: &RepositoryUri,
        push: &v1::PushReceived,
        signed: Option<[u8; 32]>,
    ) -> Result<Outcome, BusError> {
        if self.policy.unknown_repositories == UnknownRepositories::Refuse
            && self.bus.find_repository(uri).await?.is_none()
        {
            return Ok(Outcome::Unknown);
        }
        let stored = match signed {
            Some(signed) => self.bus.receive_signed_push(push, &signed).await?,
            None => self.bus.receive_push(push).await?,
        };
        Ok(match stored {
            Stored::Taken => Outcome::Taken,
            Stored::Replayed => Outcome::Replayed,
        })
    }
}
