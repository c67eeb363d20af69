//! The notifier, and a chat and a webhook that record what they are told.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use data_encoding::BASE64;
use secretscan_testkit::eventually;
use secretscan_tests::DEADLINE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::canary::Canary;

/// What is secret of the notifier: the URL of a chat, the token of a Git host, the secret of a webhook.
pub(crate) struct Secrets {
    url: String,
    token: String,
    key: String,
}

impl Secrets {
    pub(crate) fn new() -> Self {
        let key = BASE64.encode(["canary", "of", "a", "webhook's", "6Gh2Yt8Ud4"].join("-").as_bytes());
        Self {
            url: ["canary", "of", "chat", "3Fd7Pq9Wn2"].join("-"),
            token: ["canary", "of", "status", "8Bc4Rm1Xj6"].join("-"),
            key,
        }
    }

    pub(crate) fn canaries(&self) -> [Canary; 3] {
        [
            Canary::new("the URL of a chat", &self.url),
            Canary::new("the token for statuses", &self.token),
            Canary::new("the secret of a webhook", &self.key),
        ]
    }
}

/// What was told, without the heads of the requests, which name URLs.
pub(crate) struct Told {
    address: SocketAddr,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Told {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn({
            let said = said.clone();
            async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    if let Some(body) = take(&mut stream).await {
                        said.lock().unwrap().extend(body);
                    }
                }
            }
        });
        Self { address, said }
    }

    /// Writes the notifier's configuration, and its secrets where secrets are.
    pub(crate) fn configure(&self, dir: &Path, secrets: &Secrets) {
        let credentials = dir.join("credentials");
        fs::create_dir_all(&credentials).unwrap();
        let write = |name: &str, text: String| {
            fs::write(credentials.join(name), text).unwrap();
            credentials.join(name).display().to_string()
        };
        let url = write("chat-url", format!("http://{}/{}", self.address, secrets.url));
        let token = write("status-token", secrets.token.clone());
        let key = write("webhook-secret", format!("whsec_{}", secrets.key));
        let config = format!(
            "[batch]\nwindow_ms = 200\nmax_items = 1000\n\
             [[status]]\nhost = \"h.example\"\nkind = \"github\"\ntoken_file = \"{token}\"\n\
             [[channels]]\nname = \"chat\"\nkind = \"slack\"\nurl_file = \"{url}\"\n\
             [[channels]]\nname = \"webhook\"\nkind = \"webhook\"\nurl_file = \"{url}\"\nsecret_file = \"{key}\"\n\
             [[routes]]\non = [\"finding\", \"failed-request\", \"dead-letter\"]\nchannels = [\"chat\", \"webhook\"]\n"
        );
        fs::write(dir.join("notifier.toml"), config).unwrap();
    }

    /// Waits until all of these were told of, and gives everything that was said.
    pub(crate) async fn everything(&self, words: &[&str]) -> Vec<u8> {
        eventually(DEADLINE, "all is told", async || {
            let said = self.said.lock().unwrap().clone();
            let text = String::from_utf8_lossy(&said);
            words.iter().all(|word| text.contains(word)).then_some(said.clone())
        })
        .await
    }
}

/// The body of a request, which is answered.
async fn take(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap_or("0")
            .parse()
            .ok()?;
        if bytes.len() >= head.len() + 4 + length {
            let body = bytes.split_off(head.len() + 4);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
            return Some(body);
        }
    }
}
