//! A TCP proxy between one service and the nats-server, which cuts, holds and delays what passes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// What is done to the traffic.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// Connections of an earlier number are closed.
    cuts: u64,
    /// Nothing passes; what was sent meanwhile passes afterwards.
    is_held: bool,
    /// Each piece waits this long.
    delay: Duration,
}

/// A listening proxy. Dropping it closes everything.
pub(super) struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    accepting: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Listens on a port picked by the system and connects on to this one.
    pub(super) async fn start(target: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("a port for a proxy")?;
        let port = listener.local_addr()?.port();
        let (weather, seen) = watch::channel(Weather::default());
        let accepting = tokio::spawn(async move {
            // Owned by this task, so that they end with it.
            let mut connections = JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                while connections.try_join_next().is_some() {}
                let seen = seen.clone();
                connections.spawn(async move {
                    // Without a server the client sees its connection closed, as it would without the proxy.
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await {
                        pass(client, server, seen).await;
                    }
                });
            }
        });
        Ok(Self { port, weather, accepting: accepting.abort_handle() })
    }

    /// Where the service connects.
    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Closes all connections.
    pub(super) fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Holds everything back, or lets it go.
    pub(super) fn hold(&self, is_held: bool) {
        self.weather.send_modify(|weather| weather.is_held = is_held);
    }

    /// Delays each piece from now on.
    pub(super) fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }
}

async fn pass(client: TcpStream, server: TcpStream, weather: watch::Receiver<Weather>) {
    let cuts = weather.borrow().cuts;
    let mut watched = weather.clone();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, weather.clone()) => {}
        () = copy(from_server, to_client, weather) => {}
        _ = watched.wait_for(|weather| weather.cuts != cuts) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let delay = weather.borrow().delay;
        if !delay.is_zero() {
            sleep_until(Instant::now() + delay).await;
        }
        if weather.wait_for(|weather| !weather.is_held).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// So that a proxy can be kept where tasks share it.
pub(super) type SharedProxy = Arc<Proxy>;
