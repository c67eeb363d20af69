//! The connection to the API server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::{Body, ConfigExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use crate::config::KubernetesSettings;

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing comes is looked after so often, so that a watch notices that it was lost.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Settings by which the API server can't be reached.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No address that tokens may be sent to.
    #[error(
        "kubernetes.url is {url:?}; give https://HOST:PORT, or http://127.0.0.1:PORT of kubectl proxy, without a path"
    )]
    Url {
        /// What was given.
        url: String,
    },
    /// The certificates can't be used.
    #[error("the certificates in {path} can't be used; kubernetes.ca_file must be PEM")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: BoxError,
    },
    /// The token can't be read.
    #[error("the token in {path} can't be used; check kubernetes.token_file")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<kube::Error>,
    },
}

/// A client for these settings; it connects when it is first used.
///
/// # Errors
/// [`ConnectError`] says which setting is wrong.
pub fn connect(settings: &KubernetesSettings) -> Result<Client, ConnectError> {
    let wrong = || ConnectError::Url { url: settings.url.clone() };
    let url: hyper::Uri = settings.url.parse().map_err(|_| wrong())?;
    let host =
        url.host().filter(|_| matches!(url.path(), "" | "/") && url.query().is_none()).ok_or_else(wrong)?;
    let is_here = matches!(host, "127.0.0.1" | "[::1]" | "localhost");
    let is_encrypted = match url.scheme_str() {
        Some("https") => true,
        Some("http") if is_here => false,
        _ => return Err(wrong()),
    };

    let mut config = kube::Config::new(url);
    if is_encrypted {
        config.auth_info.token_file = settings.token_file.to_str().map(str::to_owned);
    }
    let token = config.auth_layer().map_err(|source| {
        let path = settings.token_file.clone();
        ConnectError::Token { path, source: Box::new(source) }
    })?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    http.set_keepalive(Some(KEEPALIVE));
    let tls = if is_encrypted { trusted(settings)? } else { RootCertStore::empty() };
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the versions of TLS that rustls has")
        .with_root_certificates(tls)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .build::<_, Body>(connector.wrap_connector(http));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(token)
        .service(client.map_err(BoxError::from));
    Ok(Client::new(service, config.default_namespace))
}

fn trusted(settings: &KubernetesSettings) -> Result<RootCertStore, ConnectError> {
    let failed = |source: BoxError| ConnectError::Certificates { path: settings.ca_file.clone(), source };
    let certificates =
        CertificateDer::pem_file_iter(&settings.ca_file).map_err(|error| failed(error.into()))?;
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.into()))?;
        store.add(certificate).map_err(|error| failed(error.into()))?;
    }
    if store.is_empty() {
        return Err(failed("there is none".into()));
    }
    Ok(store)
}
