//! A Git host on the loopback address: HTTP in front of `git http-backend`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context;
use data_encoding::BASE64;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::{JoinHandle, JoinSet};

use crate::git::git;

/// Serves one repository for cloning and fetching by the smart HTTP protocol, until it is dropped. It answers one
/// request per connection.
#[derive(Debug)]
pub struct HttpRemote {
    address: SocketAddr,
    name: String,
    accepting: JoinHandle<()>,
}

/// What every connection needs.
struct Host {
    /// The directory that holds the repository.
    root: PathBuf,
    /// The `Authorization` header that is asked for.
    authorization: Option<String>,
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl HttpRemote {
    /// Serves a repository to everyone, on a port picked by the system.
    ///
    /// # Errors
    /// When there is no port or no such directory.
    pub async fn serve(repository: &Path) -> anyhow::Result<Self> {
        Self::start(repository, None).await
    }

    /// The same for those only who give this user and password (basic authentication).
    ///
    /// # Errors
    /// When there is no port or no such directory.
    pub async fn serve_with_password(repository: &Path, user: &str, password: &str) -> anyhow::Result<Self> {
        let credentials = BASE64.encode(format!("{user}:{password}").as_bytes());
        Self::start(repository, Some(format!("Basic {credentials}"))).await
    }

    /// Serves a repository at its path below a directory, such as `owner/name.git`.
    ///
    /// # Errors
    /// When there is no port or no such directory.
    pub async fn serve_below(root: &Path, name: &str) -> anyhow::Result<Self> {
        Self::listen(root.canonicalize().context("serving a directory")?, name.to_owned(), None).await
    }

    async fn start(repository: &Path, authorization: Option<String>) -> anyhow::Result<Self> {
        let repository =
            repository.canonicalize().with_context(|| format!("serving {}", repository.display()))?;
        let root = repository.parent().context("a repository is in a directory")?.to_owned();
        let name = repository.file_name().context("a repository has a name")?.to_string_lossy().into_owned();
        Self::listen(root, name, authorization).await
    }

    async fn listen(root: PathBuf, name: String, authorization: Option<String>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listening for Git over HTTP")?;
        let address = listener.local_addr().context("asking for the port of Git over HTTP")?;
        let host = Arc::new(Host { root, authorization });
        Ok(Self { address, name, accepting: tokio::spawn(accept(listener, host)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the repository is, without user and password.
    pub fn url(&self) -> String {
        format!("http://{}/{}", self.address, self.name)
    }
}

impl Drop for HttpRemote {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Ends when aborted, and the connections with it: the set aborts them when dropped.
async fn accept(listener: TcpListener, host: Arc<Host>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let host = host.clone();
        // A client that breaks off is its own matter.
        connections.spawn(async move { drop(host.answer(stream).await) });
        while connections.try_join_next().is_some() {}
    }
}

impl Host {
    async fn answer(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let request = read_request(&mut stream).await?;
        let stream = stream.get_mut();
        if self.authorization.is_some() && request.header("authorization") != self.authorization.as_deref() {
            stream
                .write_all(
                    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n",
                )
                .await?;
            return stream.shutdown().await;
        }
        self.run_backend(request, stream).await?;
        stream.shutdown().await
    }

    /// Runs the program as RFC 3875 (CGI) says.
    async fn run_backend(&self, request: Request, stream: &mut TcpStream) -> io::Result<()> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let mut command = Command::from(git(&self.root));
        command
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", &request.method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .env("REMOTE_ADDR", "127.0.0.1");
        let passed_on = [
            ("content-type", "CONTENT_TYPE"),
            ("content-encoding", "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "HTTP_GIT_PROTOCOL"),
        ];
        for (header, variable) in passed_on {
            if let Some(value) = request.header(header) {
                command.env(variable, value);
            }
        }
        let mut backend = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut stdin), Some(stdout)) = (backend.stdin.take(), backend.stdout.take()) else {
            return Err(io::Error::other("the pipes to git are not there"));
        };
        let feed = async move {
            stdin.write_all(&request.body).await?;
            stdin.shutdown().await
        };
        let (fed, passed) = tokio::join!(feed, pass_response(BufReader::new(stdout), stream));
        passed?;
        // The program may end before it has read everything.
        drop(fed);
        backend.wait().await?;
        Ok(())
    }
}

/// Turns the output of a CGI program into an HTTP response that ends with the connection.
async fn pass_response(
    mut output: BufReader<tokio::process::ChildStdout>,
    stream: &mut TcpStream,
) -> io::Result<()> {
    let mut status = String::from("200 OK");
    let mut headers = String::new();
    for line in read_head(&mut output).await? {
        match line.strip_prefix("Status: ") {
            Some(other) => other.clone_into(&mut status),
            None => headers.push_str(&format!("{line}\r\n")),
        }
    }
    let head = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    tokio::io::copy_buf(&mut output, stream).await?;
    Ok(())
}

impl Request {
    /// The value of a header; the name is in lower case.
    fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }
}

fn find_header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Request> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP request");
    let mut lines = read_head(stream).await?.into_iter();
    let first = lines.next().ok_or_else(malformed)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().ok_or_else(malformed)?, words.next().ok_or_else(malformed)?);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    if find_header(&headers, "expect").is_some() {
        stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut body = Vec::new();
    if find_header(&headers, "transfer-encoding") == Some("chunked") {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let size = u64::from_str_radix(line.trim_end(), 16).map_err(|_| malformed())?;
            stream.take(size).read_to_end(&mut body).await?;
            // The line feed after each piece, and after the last, empty one.
            stream.read_line(&mut line).await?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(size) = find_header(&headers, "content-length") {
        let size = size.parse().map_err(|_| malformed())?;
        stream.take(size).read_to_end(&mut body).await?;
    }
    Ok(Request { method, target, headers, body })
}

/// The lines up to the empty one.
async fn read_head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(lines);
        }
        lines.push(line.to_owned());
    }
}
