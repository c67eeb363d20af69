//! A local HTTPS server in the place of a provider.

mod server;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use secretscan_detect::{HashKey, HttpCheck, RuleSet, Secret};
use secretscan_model::{RuleId, SecretHash, Verification};
use ureq::tls::Certificate;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, tls};

use self::server::Server;
use crate::{Question, TIMEOUT, Verifier, config};

impl Verifier {
    /// Trusts these certificates only, and asks whatever host there is, without pauses.
    fn of_test(roots: &[tls::Certificate<'static>], timeout: Duration) -> Self {
        let config = config(roots, timeout);
        let agent = Agent::with_parts(config, DefaultConnector::default(), DefaultResolver::default());
        Self { agent, pause: Duration::ZERO }
    }

    fn trusting(server: &Server) -> Self {
        Self::of_test(&[Certificate::from_der(server.certificate()).to_owned()], TIMEOUT)
    }
}

fn secret(n: usize) -> String {
    format!("SECRET-{n}-{}", "x9".repeat(8))
}

/// Valid means that an answer says so, and so does revoked.
fn check(authority: &str) -> HttpCheck {
    let rules = format!(
        "[[rules]]\nid = 'a'\nregex = 'abcd'\n[rules.verify]\nurl = 'https://{authority}/whoami/{{{{secret}}}}'\n\
         headers = {{ Authorization = 'Bearer {{{{secret}}}}' }}\n\
         valid = {{ status = [200], contains = '\"ok\": true' }}\n\
         revoked = {{ status = [401, 403] }}\n"
    );
    RuleSet::parse(&rules, "rules.toml", None).unwrap().rules()[0].verify.clone().unwrap()
}

fn ask(verifier: &Verifier, authority: &str, secrets: &[String]) -> Vec<Verification> {
    let check = check(authority);
    let rule = RuleId::parse("a").unwrap();
    let key = HashKey::from_bytes(b"key");
    let secrets: Vec<(Secret, SecretHash)> = (secrets.iter())
        .map(|secret| Secret::new(secret.as_str()))
        .map(|secret| (secret.clone(), SecretHash(secret.hash(&key))))
        .collect();
    let questions: Vec<Question<'_>> =
        secrets.iter().map(|(secret, hash)| Question { rule: &rule, check: &check, secret, hash }).collect();
    let answers = verifier.verify(&questions);
    let shown = format!("{questions:?} {answers:?} {verifier:?}");
    assert!(!shown.contains("x9x9"), "{shown}");
    answers
}

/// What becomes of one secret, the server answering so.
fn result_of(answer: &str) -> String {
    let server = Server::start(vec![answer.to_owned()]);
    let answers = ask(&Verifier::trusting(&server), &server.authority(), &[secret(0)]);
    let requests = server.stop();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].starts_with(&format!("GET /whoami/{} HTTP/1.1\r\n", secret(0))), "{}", requests[0]);
    assert!(requests[0].contains(&format!("Bearer {}\r\n", secret(0))), "{}", requests[0]);
    shown(&answers[0])
}

fn shown(answer: &Verification) -> String {
    match answer {
        Verification::Valid | Verification::Revoked => answer.as_str().to_owned(),
        Verification::Unknown { reason } => reason.clone(),
    }
}

fn response(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn json(status: &str, body: &str) -> String {
    response(status, "application/json", body)
}

#[test]
fn answers_mean_what_the_rule_says_and_nothing_else() {
    assert_eq!(result_of(&json("200 OK", r#"{"ok":true}"#)), "valid");
    assert_eq!(result_of(&json("200 OK", "{\n  \"ok\" : true\n}")), "valid");
    assert_eq!(result_of(&json("200 OK", r#"{"ok":false}"#)), "the answer tells nothing (status 200)");
    assert_eq!(result_of(&json("401 Unauthorized", "{}")), "revoked");
    assert_eq!(result_of(&response("403 Forbidden", "text/plain", "")), "revoked");
    assert_eq!(result_of(&json("500 Oops", r#"{"ok":true}"#)), "the answer tells nothing (status 500)");
    assert_eq!(result_of(&json("404 Not Found", "{}")), "the answer tells nothing (status 404)");
}

#[test]
fn a_web_page_is_no_answer_of_the_provider() {
    let page = "<html>Access denied. Ray ID 1</html>";
    let by_type = response("403 Forbidden", "text/html; charset=utf-8", "Access denied");
    assert_eq!(result_of(&by_type), "the answer is a web page (status 403)");
    assert_eq!(result_of(&json("403 Forbidden", page)), "the answer is a web page (status 403)");
    let page = json("200 OK", "\n<!DOCTYPE html>\n{\"ok\":true}");
    assert_eq!(result_of(&page), "the answer is a web page (status 200)");
}

#[test]
fn what_can_not_be_read_is_no_answer() {
    assert_eq!(result_of("SSH-2.0-x\r\n\r\n"), "the answer can't be read");
    let cut = "HTTP/1.1 401 No\r\nContent-Length: 99\r\n\r\n{";
    assert!(result_of(cut).starts_with("the "));
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(vec![json("200 OK", r#"{"ok":true}"#)]);
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let to = elsewhere.authority();
        let answer = format!("HTTP/1.1 {status}\r\nLocation: https://{to}/\r\nContent-Length: 0\r\n\r\n");
        assert!(result_of(&answer).starts_with("the host leads elsewhere (status 30"));
    }
    assert_eq!(elsewhere.stop(), Vec::<String>::new());
}

#[test]
fn of_a_huge_body_only_the_start_is_read() {
    // The server gives up, too, when the other side has hung up.
    let huge = "x".repeat(64 << 20);
    assert_eq!(result_of(&json("401 Unauthorized", &huge)), "revoked");
    let late = format!("{}\"ok\":true", " ".repeat(65 * 1024));
    assert_eq!(result_of(&json("200 OK", &late)), "the answer tells nothing (status 200)");
}

#[test]
fn after_too_many_requests_a_host_is_not_asked_again() {
    let server = Server::start(vec![json("200 OK", r#"{"ok":true}"#), json("429 Slow down", "{}")]);
    let answers = ask(&Verifier::trusting(&server), &server.authority(), &[0, 1, 2, 3].map(secret));
    assert_eq!(server.stop().len(), 2);
    let not_asked = "not asked: the host had too many requests";
    let answers: Vec<String> = answers.iter().map(shown).collect();
    assert_eq!(answers, ["valid", "too many requests (status 429)", not_asked, not_asked]);
}

#[test]
fn a_secret_is_asked_once_and_one_after_the_other() {
    let server = Server::start(vec![json("200 OK", r#"{"ok":true}"#), json("401 No", "{}")]);
    let mut verifier = Verifier::trusting(&server);
    verifier.pause = Duration::from_millis(50);
    let start = Instant::now();
    let answers = ask(&verifier, &server.authority(), &[0, 1, 0, 1, 0].map(secret));
    assert!(start.elapsed() >= verifier.pause);
    assert_eq!(
        answers.iter().map(shown).collect::<Vec<_>>(),
        ["valid", "revoked", "valid", "revoked", "valid"]
    );
    assert_eq!(server.stop().len(), 2);
}

#[test]
fn a_host_that_is_not_there_is_asked_three_times_at_most() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let verifier = Verifier::of_test(&[], TIMEOUT);
    let answers: Vec<String> = ask(&verifier, &free, &[0, 1, 2, 3].map(secret)).iter().map(shown).collect();
    assert_eq!(answers[..3], ["the host refused the connection"; 3]);
    assert_eq!(answers[3], "not asked: the host failed to answer several times");
}

#[test]
fn a_host_that_does_not_answer_is_left() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let verifier = Verifier::of_test(&[], Duration::from_millis(100));
    let answers = ask(&verifier, &silent.local_addr().unwrap().to_string(), &[secret(0)]);
    assert_eq!(shown(&answers[0]), "the host did not answer in time");
}

#[test]
fn a_host_with_a_wrong_certificate_gets_no_secret() {
    let (server, other) = (Server::start(vec![json("200 OK", "{}")]), Server::start(Vec::new()));
    let answers = ask(&Verifier::trusting(&other), &server.authority(), &[secret(0)]);
    assert_eq!(shown(&answers[0]), "the host can't prove that it is the one");
    // The certificate is for another name.
    let localhost = server.authority().replace("127.0.0.1", "localhost");
    let answers = ask(&Verifier::trusting(&server), &localhost, &[secret(0)]);
    assert_eq!(shown(&answers[0]), "the host can't prove that it is the one");
    assert_eq!(server.stop(), Vec::<String>::new());
    assert_eq!(other.stop(), Vec::<String>::new());
}

#[test]
fn hosts_in_private_networks_get_no_secret() {
    let server = Server::start(vec![json("200 OK", r#"{"ok":true}"#)]);
    let root = Certificate::from_der(server.certificate()).to_owned();
    let verifier = Verifier::with_roots(&[root]);
    for host in ["127.0.0.1", "localhost", "0"] {
        let authority = server.authority().replace("127.0.0.1", host);
        let answers = ask(&verifier, &authority, &[secret(0)]);
        assert_eq!(shown(&answers[0]), "the host has an address that is not public", "{host}");
    }
    assert_eq!(server.stop(), Vec::<String>::new());
}

#[test]
fn an_unfit_secret_is_never_sent() {
    let server = Server::start(vec![json("200 OK", r#"{"ok":true}"#)]);
    let secrets = [format!("{}\r\nX-Evil: 1", secret(0)), secret(1)];
    let answers = ask(&Verifier::trusting(&server), &server.authority(), &secrets);
    assert!(shown(&answers[0]).starts_with("not asked: "));
    assert_eq!(answers[1], Verification::Valid);
    assert_eq!(server.stop().len(), 1);
}
