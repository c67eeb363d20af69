//! The API of the dashboard, with a whole system behind it.

mod configured;
mod resources;
mod schemathesis;

use std::time::Duration;

use data_encoding::HEXLOWER;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secretscan_bus::Stop;
use secretscan_bus::access::Identity;
use secretscan_dashboard::{Config, Server};
use secretscan_testkit::{GeneratedRepository, generate};
use secretscan_tests::{Size, System};
use serde_json::Value;
use sha2::{Digest, Sha256};

const ADMIN: &str = "admin-letmein";
const VIEWER: &str = "viewer-letmein";
/// Of a team that has no repository.
const STRANGER: &str = "stranger-letmein";

/// A dashboard, as the identity that it has in production.
struct Dashboard {
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: Stop,
    _dir: tempfile::TempDir,
}

/// What came back.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The rows of a list.
    fn items(&self) -> Vec<Value> {
        self.json()["items"].as_array().cloned().unwrap_or_else(|| panic!("no list: {}", self.body))
    }
}

impl Dashboard {
    async fn start(system: &System) -> Self {
        Self::start_with(system, "", "").await
    }

    /// With more keys of `[dashboard]`, and more sections.
    async fn start_with(system: &System, keys: &str, sections: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut text = format!(
            "[dashboard]\nlisten = '127.0.0.1:0'\nindex_dir = {:?}\n{keys}\n{sections}\n",
            dir.path()
        );
        // Programs that try wrong tokens are no reason to refuse right ones here.
        text += "[auth]\nfailures_per_address = 1000000\nfailures_in_all = 1000000\n";
        text += "[auth.teams.elsewhere]\nrepositories = ['git.example/none/*']\n";
        let people = [
            ("ada", "admin", ADMIN, ""),
            ("vic", "viewer", VIEWER, ""),
            ("sue", "admin", STRANGER, "'elsewhere'"),
        ];
        for (name, role, token, teams) in people {
            let hash = HEXLOWER.encode(&Sha256::digest(token.as_bytes()));
            text += &format!(
                "[[auth.tokens]]\nname = '{name}'\nrole = '{role}'\nsha256 = '{hash}'\nteams = [{teams}]\n"
            );
        }
        let config: Config = secretscan_service::parse(&text, []).unwrap();
        let server = Server::bind(system.connect(Identity::Dashboard).await.unwrap(), &config).await.unwrap();
        let address = server.address().unwrap().to_string();
        let (index, stop) = (server.index(), Stop::new());
        tokio::spawn(server.run(stop.clone()));
        index.caught_up().await;
        Self { address, client: Client::builder(TokioExecutor::new()).build_http(), stop, _dir: dir }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        more: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}/api/v1{path}", self.address))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"));
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let response = self.client.request(request.body(Full::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, ADMIN, &[], String::new()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, ADMIN, &[], body.to_string()).await
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// How long what happens may take to show.
const SOON: Duration = Duration::from_secs(20);

/// A system that knows a repository, and the dashboard of it.
async fn scanned(seed: u64) -> (System, Dashboard, GeneratedRepository) {
    let system = System::start(Size::default()).await.unwrap();
    let dashboard = Dashboard::start(&system).await;
    let generated = generate(seed, 120).unwrap();
    (system, dashboard, generated)
}
