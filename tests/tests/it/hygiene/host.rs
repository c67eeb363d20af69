//! A Git host that means harm: it gives our own credentials back to us in everything that it says.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What a request gets once it shows credentials, by the name of the repository. `hold` waits for ever.
pub(crate) const ANSWERS: [&str; 6] = ["refuse", "fail", "redirect", "babble", "error", "progress"];

/// Ends when dropped.
pub(crate) struct HostileHost {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl HostileHost {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(async move { drop(answer(stream).await) });
            }
        });
        Self { address, accepting }
    }
}

impl Drop for HostileHost {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut target, mut login) = (String::new(), None);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if line.trim_end().is_empty() {
            break;
        }
        match line.to_ascii_lowercase().split_once(": ") {
            Some(("authorization", _)) => login = line.split_whitespace().last().map(str::to_owned),
            Some(_) => {}
            None => target = line.split(' ').nth(1).unwrap_or_default().to_owned(),
        }
    }
    let answer = match (login, target.split('/').nth(1).unwrap_or_default()) {
        (_, "hold") => {
            // Until the client goes.
            stream.read_to_end(&mut Vec::new()).await?;
            return Ok(());
        }
        (None, _) => head("401 Unauthorized", "text/plain", "WWW-Authenticate: Basic realm=\"x\"\r\n"),
        (Some(login), how) => said(how, &both(&login)),
    };
    stream.get_mut().write_all(&answer).await?;
    stream.get_mut().shutdown().await
}

/// The login as it came, and in clear.
fn both(login: &str) -> String {
    let clear = data_encoding::BASE64.decode(login.as_bytes()).unwrap_or_default();
    format!("{login} {}", String::from_utf8_lossy(&clear))
}

fn said(how: &str, login: &str) -> Vec<u8> {
    let packet = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let service = format!("{}0000", packet("# service=git-upload-pack\n"));
    let advertisement = |body: String| {
        [head("200 OK", "application/x-git-upload-pack-advertisement", ""), body.into_bytes()].concat()
    };
    let header = format!("WWW-Authenticate: Basic realm=\"{login}\"\r\nX-Echo: {login}\r\n");
    let text = |status: &str, headers: &str| {
        [head(status, "text/plain", headers), format!("{login}\n{login}\n").into_bytes()].concat()
    };
    match how {
        "refuse" => text(&format!("401 {login}"), &header),
        "fail" => text(&format!("500 {login}"), &header),
        "redirect" => text("302 Found", &format!("Location: /{}\r\n", login.replace(' ', "/"))),
        "babble" => advertisement(format!("{service}{}", packet(&format!("{login}\n")))),
        "error" => advertisement(format!("{service}{}", packet(&format!("ERR {login}\nfatal: {login}\n")))),
        _ => advertisement(packet(&format!("{login}\n"))),
    }
}

fn head(status: &str, kind: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{headers}Connection: close\r\n\r\n").into_bytes()
}
