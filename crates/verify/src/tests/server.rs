//! An HTTPS server on a free port of 127.0.0.1 with a certificate of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rcgen::CertifiedKey;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Gives the nth answer to the nth request and keeps the requests.
pub(super) struct Server {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    pub(super) fn start(answers: Vec<String>) -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_stopped = Arc::new(AtomicBool::new(false));
        let is_over = is_stopped.clone();
        let thread = thread::spawn(move || serve(&listener, &Arc::new(config), &answers, &is_over));
        Self { address, certificate: cert.der().clone(), is_stopped, thread }
    }

    pub(super) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The head of every request that came.
    pub(super) fn stop(self) -> Vec<String> {
        self.is_stopped.store(true, Ordering::Relaxed);
        // Wakes it.
        drop(TcpStream::connect(self.address));
        self.thread.join().unwrap()
    }
}

/// One connection after the other, one request on each.
fn serve(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
    answers: &[String],
    is_over: &AtomicBool,
) -> Vec<String> {
    let mut requests = Vec::new();
    for connection in listener.incoming() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let session = ServerConnection::new(config.clone()).unwrap();
        let mut stream = StreamOwned::new(session, connection.unwrap());
        // A client that does not trust the certificate hangs up.
        let Some(request) = head(&mut stream) else { continue };
        let answer = answers.get(requests.len()).expect("an answer for each request");
        requests.push(request);
        // A client that has read enough hangs up, too.
        let sent = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
        stream.conn.send_close_notify();
        if let Err(error) = sent.and_then(|()| stream.flush()) {
            assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
        }
    }
    requests
}

fn head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}
