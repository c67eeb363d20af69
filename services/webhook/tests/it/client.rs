//! A Git host, as far as the webhook sees it.

use std::net::SocketAddr;
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a test waits for an answer.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A request that a host sends.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What it is answered with.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Delivery {
    /// One without headers of its host.
    pub fn to(source: &str, body: Vec<u8>) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self { method: "POST", path: format!("/hooks/{source}"), headers, body }
    }

    /// With a header, in place of the one that was there.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    /// As GitHub sends a push.
    pub fn github(secret: &str, id: &str, payload: &Value) -> Self {
        let body = payload.to_string().into_bytes();
        let signature = format!("sha256={}", hmac_hex(secret.as_bytes(), &body));
        Self::to("github", body)
            .with("X-GitHub-Event", "push")
            .with("X-GitHub-Delivery", id)
            .with("X-Hub-Signature-256", &signature)
    }

    /// As GitLab sends a push, with its token.
    pub fn gitlab(token: &str, id: &str, payload: &Value) -> Self {
        Self::to("gitlab", payload.to_string().into_bytes())
            .with("X-Gitlab-Event", "Push Hook")
            .with("X-Gitlab-Event-UUID", "13792a34-cac6-4fda-95a8-c58e00a3954e")
            .with("Idempotency-Key", id)
            .with("X-Gitlab-Token", token)
    }

    /// As GitLab sends a push that it signs at a time in seconds.
    pub fn gitlab_signed(key: &[u8], id: &str, time: i64, payload: &Value) -> Self {
        let body = payload.to_string().into_bytes();
        let signed = [format!("{id}.{time}.").as_bytes(), &body].concat();
        let signature = BASE64.encode(&hmac(key, &signed));
        Self::to("gitlab-signed", body)
            .with("X-Gitlab-Event", "Push Hook")
            .with("Idempotency-Key", id)
            .with("webhook-id", id)
            .with("webhook-timestamp", &time.to_string())
            .with("webhook-signature", &format!("v1,{signature}"))
    }

    /// As Gitea sends a push, and those that began as a copy: Forgejo says so in headers of its own besides, Gogs instead.
    pub fn gitea(source: &str, secret: &str, id: &str, payload: &Value) -> Self {
        let body = payload.to_string().into_bytes();
        let signature = hmac_hex(secret.as_bytes(), &body);
        let mut delivery = Self::to(source, body);
        let hosts: &[&str] = match source {
            "forgejo" => &["Gitea", "Forgejo"],
            "gogs" => &["Gogs"],
            _ => &["Gitea"],
        };
        for host in hosts {
            delivery = delivery
                .with(&format!("X-{host}-Event"), "push")
                .with(&format!("X-{host}-Delivery"), id)
                .with(&format!("X-{host}-Signature"), &signature);
        }
        delivery
    }

    /// As Bitbucket sends a push.
    pub fn bitbucket(secret: &str, id: &str, payload: &Value) -> Self {
        let body = payload.to_string().into_bytes();
        let signature = format!("sha256={}", hmac_hex(secret.as_bytes(), &body));
        Self::to("bitbucket", body)
            .with("X-Event-Key", "repo:push")
            .with("X-Request-UUID", id)
            .with("X-Hub-Signature", &signature)
    }

    /// Its bytes on a connection that it is the last one of.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: webhook\r\nConnection: close\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends it.
    pub async fn send(&self, address: SocketAddr) -> Answer {
        self.send_over(TcpStream::connect(address).await.unwrap()).await
    }

    /// Sends it over a connection that is there.
    pub async fn send_over(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Answer {
        // Who is refused early does not get everything sent.
        let _ = stream.write_all(&self.bytes()).await;
        answer(stream).await
    }
}

/// Reads an answer up to the end of its connection.
pub async fn answer(mut stream: impl AsyncRead + Unpin) -> Answer {
    let mut bytes = Vec::new();
    // A connection that is reset has given its answer before.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("an answer in time");
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// HMAC-SHA256.
pub fn hmac(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(bytes).finalize().into_bytes().into()
}

/// HMAC-SHA256 in hexadecimal.
pub fn hmac_hex(key: &[u8], bytes: &[u8]) -> String {
    HEXLOWER.encode(&hmac(key, bytes))
}
