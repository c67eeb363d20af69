//! Listens, and keeps the index up to date.

use std::net::SocketAddr;

use axum::Router;
use rusqlite::Connection;
use secretscan_bus::{Bus, Stop};
use thiserror::Error;
use tokio::net::TcpListener;

use crate::Config;
use crate::index::{Index, IndexError, feed};

/// Why the dashboard can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address can't be used.
    #[error("can't listen at {address}; change dashboard.listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The index can't be made.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// The dashboard, listening.
pub struct Server {
    listener: TcpListener,
    bus: Bus,
    index: Index,
    writer: Connection,
}

impl Server {
    /// Takes the address and makes the index.
    ///
    /// # Errors
    /// [`StartError`] says which of them fails.
    pub async fn bind(bus: Bus, config: &Config) -> Result<Self, StartError> {
        let address = config.dashboard.listen;
        let listener =
            TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
        let dir = config.dashboard.index_dir.clone().unwrap_or_else(std::env::temp_dir);
        let (index, writer) = Index::create(&dir)?;
        Ok(Self { listener, bus, index, writer })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The index.
    pub fn index(&self) -> Index {
        self.index.clone()
    }

    /// Serves until stopped.
    pub async fn run(self, stop: Stop) {
        let feeding = tokio::spawn(feed(self.bus.clone(), self.index.clone(), self.writer, stop.clone()));
        let router = Router::new();
        let served =
            axum::serve(self.listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "serving ended");
        }
        stop.cancel();
        let _ = feeding.await;
    }
}
