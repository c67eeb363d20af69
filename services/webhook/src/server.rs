//! Connections: how many, for how long, and until when.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use secretscan_bus::{Bus, Stop};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::config::{Config, WebhookSettings};
use crate::metrics::Metrics;
use crate::reception::Reception;
use crate::source::SourceError;
use crate::tls::{self, TlsError};

/// Headers of a request; hosts send about fifteen.
const MAX_HEADERS: usize = 64;
/// The head of a request, in bytes.
const MAX_HEAD: usize = 32 * 1024;
/// How long accepting rests after it failed, such as for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Why the webhook can't start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "webhook.max_bodies_bytes is less than webhook.max_body_bytes, so that the largest body is never received"
    )]
    Bodies,
    #[error("can't listen on {address}; change webhook.listen")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// An address where deliveries are taken.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    reception: Reception,
    tls: Option<TlsAcceptor>,
    settings: WebhookSettings,
    slots: Arc<Semaphore>,
    addresses: Addresses,
}

impl Server {
    /// Reads secrets and certificate, and listens.
    ///
    /// # Errors
    /// [`StartError`] says which file or address is wrong.
    pub async fn bind(bus: Bus, config: &Config) -> Result<Self, StartError> {
        let settings = config.webhook.clone();
        if settings.max_bodies_bytes < settings.max_body_bytes {
            return Err(StartError::Bodies);
        }
        let reception = Reception::new(bus, config)?;
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let failed = |source| StartError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let slots = Arc::new(Semaphore::new(settings.max_connections.get().min(Semaphore::MAX_PERMITS)));
        let addresses = Addresses::new(settings.max_connections_per_address);
        tracing::info!(%address, tls = tls.is_some(), "taking deliveries");
        Ok(Self { listener, address, inner: Arc::new(Inner { reception, tls, settings, slots, addresses }) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.reception.metrics
    }

    /// Takes deliveries until stopped, and answers those that it has in hand.
    pub async fn run(self, stop: Stop) {
        let connections = TaskTracker::new();
        let accept = async {
            loop {
                self.accept(&connections, &stop).await;
            }
        };
        tokio::select! {
            () = accept => {}
            () = stop.cancelled() => {}
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }

    /// Accepts a connection as soon as there is a slot for it: until then clients wait, and aren't refused.
    async fn accept(&self, connections: &TaskTracker, stop: &Stop) {
        let Ok(slot) = self.inner.slots.clone().acquire_owned().await else { return };
        let (stream, peer) = match self.listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                return rest().await;
            }
        };
        let (inner, stop) = (self.inner.clone(), stop.clone());
        connections.spawn(async move {
            inner.keep(stream, peer.ip(), stop).await;
            drop(slot);
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "a back-off")]
async fn rest() {
    tokio::time::sleep(ACCEPT_AGAIN).await;
}

impl Inner {
    /// Keeps a connection until its end.
    async fn keep(&self, stream: TcpStream, peer: IpAddr, stop: Stop) {
        let metrics = &self.reception.metrics;
        let Some(_place) = self.addresses.enter(peer) else {
            metrics.refused_connections.inc();
            tracing::debug!(%peer, "too many connections of one address (webhook.max_connections_per_address)");
            return;
        };
        metrics.connections.inc();
        // Answers are small and must not wait for more to send.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection can't be told to send at once");
        }
        match &self.tls {
            None => self.talk(stream, stop).await,
            Some(tls) => {
                let secured = tokio::time::timeout(self.settings.header_timeout(), tls.accept(stream)).await;
                if let Ok(Ok(stream)) = secured {
                    self.talk(stream, stop).await;
                }
            }
        }
        metrics.connections.dec();
    }

    /// Answers the requests of a connection.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, stop: Stop) {
        // While others wait for a slot, each answer is the last one of its connection.
        let must_close = || self.slots.available_permits() == 0;
        let service = service_fn(|request| async move {
            Ok::<_, Infallible>(self.reception.answer(request, must_close).await)
        });
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.settings.header_timeout())
                .max_headers(MAX_HEADERS)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service)
        );
        let ended = tokio::select! {
            ended = tokio::time::timeout(self.settings.connection_age(), connection.as_mut()) => ended.ok(),
            () = stop.cancelled() => None,
        };
        let ended = match ended {
            Some(ended) => Ok(ended),
            None => {
                connection.as_mut().graceful_shutdown();
                // A request in hand is answered; a client that does not read its answers is not waited for.
                let last = self.settings.body_timeout() + self.settings.store_timeout();
                tokio::time::timeout(last, connection).await
            }
        };
        if let Ok(Err(error)) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

/// How many connections each address has.
struct Addresses {
    max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection of an address.
struct Place<'a> {
    addresses: &'a Addresses,
    address: IpAddr,
}

impl Addresses {
    fn new(max: usize) -> Self {
        Self { max, counts: Mutex::default() }
    }

    /// One more connection, if the address may have it.
    fn enter(&self, peer: IpAddr) -> Option<Place<'_>> {
        let address = network(peer);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if self.max > 0 && *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place { addresses: self, address })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: of IPv6 the first 64 bits, since one subscriber has all of the rest.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_its_network_is_one_address() {
        let addresses = Addresses::new(2);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let near: IpAddr = "2001:db8::2".parse().unwrap();
        let far: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        let first = addresses.enter(one).unwrap();
        let _second = addresses.enter(near).unwrap();
        assert!(addresses.enter(one).is_none());
        assert!(addresses.enter(far).is_some());
        drop(first);
        assert!(addresses.enter(near).is_some());
        assert_eq!(addresses.counts.lock().unwrap().len(), 1, "who has no connection is forgotten");
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
