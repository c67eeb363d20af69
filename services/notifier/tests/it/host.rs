//! An HTTP server on a free port of 127.0.0.1 that keeps every request, byte by byte, and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secretscan_testkit::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const DEADLINE: Duration = Duration::from_secs(30);

/// How a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// With a status, header lines and a body.
    Say(u16, &'static str, String),
    /// Not at all: the connection is closed.
    Cut,
    /// Not at all: the connection stays open.
    Hold,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self::Say(status, "", "{}".into())
    }
}

#[derive(Default)]
struct Kept {
    requests: Vec<String>,
    answers: VecDeque<Answer>,
}

/// The server. Without an answer for a request it says 201.
pub(crate) struct Host {
    port: u16,
    kept: Arc<Mutex<Kept>>,
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = answers.into_iter().collect();
        let kept = Arc::new(Mutex::new(Kept { requests: Vec::new(), answers }));
        tokio::spawn({
            let kept = kept.clone();
            async move {
                while let Ok((connection, _)) = listener.accept().await {
                    tokio::spawn(serve(connection, kept.clone()));
                }
            }
        });
        Self { port, kept }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All requests so far. The port stands as PORT.
    pub(crate) fn requests(&self) -> Vec<String> {
        let port = self.port.to_string();
        lock(&self.kept).requests.iter().map(|request| request.replace(&port, "PORT")).collect()
    }

    /// Waits for so many requests.
    pub(crate) async fn received(&self, count: usize) -> Vec<String> {
        eventually(DEADLINE, "the host has its requests", async || {
            Some(self.requests()).filter(|requests| requests.len() >= count)
        })
        .await
    }

    /// The bodies of all requests so far, as JSON.
    pub(crate) fn bodies(&self) -> Vec<serde_json::Value> {
        self.requests().iter().map(|request| body(request)).collect()
    }
}

/// The body of a request, as JSON; null when there is none.
pub(crate) fn body(request: &str) -> serde_json::Value {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_default()
}

async fn serve(mut connection: TcpStream, kept: Arc<Mutex<Kept>>) {
    let Some(request) = read(&mut connection).await else { return };
    let answer = {
        let mut kept = lock(&kept);
        kept.requests.push(request);
        kept.answers.pop_front().unwrap_or(Answer::status(201))
    };
    match answer {
        Answer::Say(status, headers, body) => {
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
            let _ = connection.write_all(answer.as_bytes()).await;
        }
        Answer::Cut => {}
        Answer::Hold => std::future::pending().await,
    }
}

async fn read(connection: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(text);
        }
    }
}
