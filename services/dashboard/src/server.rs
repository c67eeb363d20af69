//! Listens, and keeps the index up to date.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::Response;
use rusqlite::Connection;
use secretscan_bus::{Bus, Stop};
use secretscan_service::request_span;
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::Instrument;

use crate::auth::AuthError;
use crate::discovery::DiscoveryError;
use crate::index::{Index, IndexError, feed};
use crate::report_templates::ReportTemplateError;
use crate::state::App;
use crate::{Config, api, pages};

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
    /// Logins can't be set up.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Git hosts can't be asked.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A template can't be used.
    #[error(transparent)]
    ReportTemplate(#[from] ReportTemplateError),
}

/// The dashboard, listening.
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
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
        let local = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let public_url = config.dashboard.public_url.clone().unwrap_or_else(|| format!("http://{local}"));
        let public_url = public_url.trim_end_matches('/').to_owned();
        let dir = config.dashboard.index_dir.clone().unwrap_or_else(std::env::temp_dir);
        let (index, writer) = Index::create(&dir)?;
        let app = Arc::new(App::new(bus, index, config, public_url)?);
        Ok(Self { listener, app, writer })
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
        self.app.index.clone()
    }

    /// A link that logs in once within ten minutes, as an admin of everything.
    pub fn login_link(&self) -> String {
        format!("{}/login/once?code={}", self.app.public_url, self.app.auth.issue_once())
    }

    /// Serves until stopped.
    pub async fn run(self, stop: Stop) {
        let (bus, index) = (self.app.bus.clone(), self.app.index.clone());
        let feeding = tokio::spawn(feed(bus, index, self.writer, stop.clone()));
        let router = pages::router(&self.app, &stop).merge(api::router(&stop));
        let router = router.layer(middleware::from_fn(trace_writes)).with_state(self.app);
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let served =
            axum::serve(self.listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "serving ended");
        }
        stop.cancel();
        let _ = feeding.await;
    }
}

/// What people ask for can be followed through all services.
async fn trace_writes(request: Request, next: Next) -> Response {
    if [Method::GET, Method::HEAD].contains(request.method()) {
        return next.run(request).await;
    }
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let span = request_span(request.headers(), request.method().as_str(), route);
    next.run(request).instrument(span).await
}
