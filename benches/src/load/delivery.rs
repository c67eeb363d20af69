//! Deliveries as GitHub makes them: signed, over connections that stay.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

/// Commits that a payload lists; it has about 7 KB with them.
const COMMITS: usize = 12;

/// Makes deliveries of one source.
pub struct Signer {
    secret: Hmac<Sha256>,
    payload: Value,
}

impl Signer {
    /// For the source `github` with this secret.
    pub fn new(secret: &str) -> anyhow::Result<Self> {
        let secret = Hmac::new_from_slice(secret.as_bytes()).context("a secret")?;
        let commit = json!({
            "id": "9b1c3f60f7b4f0a4c2a6bd6f4f3d2c1b0a998877",
            "tree_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
            "message": "Read the address from the configuration instead of the environment",
            "timestamp": "2026-03-01T09:30:00+01:00",
            "url": "https://github.example/acme/shop/commit/9b1c3f60f7b4f0a4c2a6bd6f4f3d2c1b0a998877",
            "author": { "name": "Kim", "email": "kim@mail.example", "username": "kim" },
            "committer": { "name": "Kim", "email": "kim@mail.example", "username": "kim" },
            "added": [], "removed": [], "modified": ["src/config.rs", "src/main.rs"],
        });
        let payload = json!({
            "ref": "refs/heads/main",
            "before": "0123456789abcdef0123456789abcdef01234567",
            "created": false, "deleted": false, "forced": false,
            "commits": vec![commit; COMMITS],
            "repository": {
                "full_name": "acme/shop",
                "clone_url": "https://github.example/acme/shop.git",
                "ssh_url": "git@github.example:acme/shop.git",
            },
            "pusher": { "name": "kim", "email": "kim@mail.example" },
        });
        Ok(Self { secret, payload })
    }

    /// The bytes of the delivery with this number, which is its id too. `name` tells measurements apart.
    pub fn delivery(&self, name: &str, number: usize) -> Vec<u8> {
        let mut payload = self.payload.clone();
        // An id of zeros would be a deletion.
        payload["after"] = format!("{:040x}", number + 1).into();
        payload["repository"]["name"] = name.into();
        let body = payload.to_string();
        let signature = self.secret.clone().chain_update(&body).finalize().into_bytes();
        let head = format!(
            "POST /hooks/github HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n\
             X-GitHub-Event: push\r\nX-GitHub-Delivery: {}\r\nX-Hub-Signature-256: sha256={}\r\n\
             Content-Length: {}\r\n\r\n",
            id(name, number),
            HEXLOWER.encode(&signature),
            body.len()
        );
        [head, body].concat().into_bytes()
    }
}

/// The id of a delivery.
pub fn id(name: &str, number: usize) -> String {
    format!("{name}-{number}")
}

/// A connection that is made again when it was closed.
pub struct Connection {
    address: SocketAddr,
    stream: Option<BufStream<TcpStream>>,
}

impl Connection {
    /// To this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends a delivery and gives the status of its answer.
    pub async fn send(&mut self, delivery: &[u8]) -> anyhow::Result<u16> {
        let is_old = self.stream.is_some();
        match self.try_send(delivery).await {
            // Between two requests either side may close.
            Err(_) if is_old => {
                self.stream = None;
                self.try_send(delivery).await
            }
            sent => sent,
        }
    }

    async fn try_send(&mut self, delivery: &[u8]) -> anyhow::Result<u16> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await.context("connecting")?;
                stream.set_nodelay(true)?;
                BufStream::new(stream)
            }
        };
        stream.write_all(delivery).await?;
        stream.flush().await?;
        let (mut status, mut length, mut is_last) = (None, 0, false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                bail!("the connection ended in an answer");
            }
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                _ if status.is_none() => status = line.split(' ').nth(1).and_then(|code| code.parse().ok()),
                Some(("content-length", value)) => length = value.parse()?,
                Some(("connection", "close")) => is_last = true,
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        stream.read_exact(&mut vec![0; length]).await?;
        if !is_last {
            self.stream = Some(stream);
        }
        status.context("an answer without a status")
    }
}
