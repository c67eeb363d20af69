//! Mail, to a real SMTP server: aiosmtpd, with STARTTLS and a login.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use secretscan_bus::notifications::Phase;
use secretscan_testkit::{Certificates, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::stage::{Stage, finding, push};

const VERSION: &str = "1.4.6";

/// A server that wants STARTTLS and a login, prints its port, and then each message as a line of JSON.
const SERVER: &str = r#"
import asyncio, json, logging, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult

logging.disable(logging.CRITICAL)

class Handler:
    async def handle_DATA(self, server, session, envelope):
        text = envelope.content.decode()
        if "refuse-once" in text and not getattr(Handler, "refused", False):
            Handler.refused = True
            return "451 come back later"
        print(json.dumps([envelope.mail_from, envelope.rcpt_tos, text]), flush=True)
        return "250 OK"

def login(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"scanner", sys.argv[3].encode()))

async def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[1], sys.argv[2])
    make = lambda: SMTP(Handler(), tls_context=tls, require_starttls=True, auth_required=True, authenticator=login)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"#;

/// A Python that has aiosmtpd, installed from PyPI into `.tools` at the root of the workspace when it is not there yet.
fn python() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
    fs::create_dir_all(&tools).unwrap();
    let lock = fs::File::create(tools.join("aiosmtpd.lock")).unwrap();
    lock.lock().unwrap();
    let installed = tools.join(format!("aiosmtpd-{VERSION}"));
    let (python, done) = (installed.join("bin/python"), installed.join("done"));
    if !done.is_file() {
        // What an installation that was broken off has left.
        let _ = fs::remove_dir_all(&installed);
        run(Command::new("python3").args(["-m", "venv"]).arg(&installed));
        let requirement = format!("aiosmtpd=={VERSION}");
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &requirement];
        run(Command::new(&python).args(pip));
        fs::write(done, "").unwrap();
    }
    python
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

type Lines = tokio::io::Lines<BufReader<tokio::process::ChildStdout>>;

async fn serve(certificates: &Certificates, password: &str) -> (Child, Lines, String) {
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    let mut server = tokio::process::Command::new(python)
        .args(["-W", "ignore", "-c", SERVER])
        .args([certificates.path("server.pem"), certificates.path("server.key")])
        .arg(password)
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = lines.next_line().await.unwrap().expect("the server says its port");
    (server, lines, port)
}

async fn next(lines: &mut Lines) -> (String, Vec<String>, String) {
    let line = tokio::time::timeout(crate::stage::DEADLINE, lines.next_line()).await.unwrap();
    serde_json::from_str(&line.unwrap().unwrap()).unwrap()
}

#[tokio::test]
async fn mail_goes_out_over_tls_after_a_login() {
    let (stage, certificates) = (Stage::set().await, Certificates::new().unwrap());
    let password = format!("sesame-{}", 4711);
    let (_server, mut lines, port) = serve(&certificates, &password).await;
    let file = stage.write("password", &password);
    let channel = |to: &str| {
        format!(
            "[[channels]]\nname = 'mail'\nkind = 'smtp'\nserver = '127.0.0.1'\nport = {port}\n\
             from = 'secretscan <secretscan@scan.example>'\nto = [{to}]\nuser = 'scanner'\npassword_file = {file:?}\n\
             [[routes]]\non = ['finding']\nchannels = ['mail']\n"
        )
    };
    let config = channel("'a@b.example', 'C <c@d.example>'");
    let ca = certificates.path("ca.pem");
    let trust = [("SSL_CERT_FILE", ca.to_str().unwrap())];
    let notifier = stage.start_with(&config, &trust).await;
    let repository =
        stage.pushed("r1", "https://github.com/acme/shop", vec![push("refs/heads/main", &[3])]).await;
    stage.bus.record_findings(&repository, vec![finding(1, "high", 3)]).await.unwrap();
    let (from, to, text) = next(&mut lines).await;
    assert_eq!(from, "secretscan@scan.example");
    assert_eq!(to, ["a@b.example", "c@d.example"]);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    for line in [
        "From: secretscan <secretscan@scan.example>",
        "To: a@b.example, C <c@d.example>",
        "Subject: secretscan: 1 new secret",
        "Content-Type: text/plain; charset=utf-8",
    ] {
        assert!(head.lines().any(|has| has == line), "{line} is not in {head}");
    }
    assert!(head.contains("\r\nDate: ") && head.contains("\r\nMessage-ID: <"), "{head}");
    assert_eq!(
        body.replace("\r\n", "\n"),
        "secretscan: 1 new secret\n\n* high: GitHub token\n  github.com/acme/shop, src/<a>.txt:7\n  commit \
         0000000000000000000000000000000000000003 by A & B\n  token = ghp_****\n"
    );
    // A server that is busy is asked again.
    let mut busy = finding(2, "high", 3);
    busy.description = "refuse-once".into();
    stage.bus.record_findings(&repository, vec![busy]).await.unwrap();
    assert!(next(&mut lines).await.2.contains("refuse-once"));
    stage.drained().await;
    let (_, log) = notifier.finish().await.unwrap();
    assert!(log.contains("answered 451") && !log.contains(&password), "{log}");
}

#[tokio::test]
async fn mail_does_not_go_to_a_server_that_nobody_vouches_for() {
    let (stage, certificates) = (Stage::set().await, Certificates::new().unwrap());
    let password = format!("sesame-{}", 4711);
    let (_server, _lines, port) = serve(&certificates, &password).await;
    let file = stage.write("password", &password);
    let config = format!(
        "[[channels]]\nname = 'mail'\nkind = 'smtp'\nserver = '127.0.0.1'\nport = {port}\nfrom = 'a@b.example'\n\
         to = ['a@b.example']\nuser = 'scanner'\npassword_file = {file:?}\n\
         [[routes]]\non = ['finding']\nchannels = ['mail']\n"
    );
    let _notifier = stage.start_with(&config, &[("SECRETSCAN_DELIVERY__GIVE_UP_AFTER_S", "1")]).await;
    let repository =
        stage.pushed("r1", "https://github.com/acme/shop", vec![push("refs/heads/main", &[3])]).await;
    stage.bus.record_findings(&repository, vec![finding(1, "high", 3)]).await.unwrap();
    let key = format!("told.mail.finding.{repository}.v2-{:032x}.0123456789abcdef", 1);
    let reason = eventually(crate::stage::DEADLINE, "the mail is given up", async || {
        match stage.bus.notification(&key).await.ok()??.value.phase {
            Phase::Undelivered { reason } => Some(reason),
            Phase::Waiting { .. } | Phase::Sending { .. } | Phase::Sent => None,
        }
    })
    .await;
    assert!(reason.starts_with("given up: ") && reason.contains("certificate"), "{reason}");
}
