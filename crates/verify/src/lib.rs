//! Asks providers whether secrets that were found are in use, as the rules say ([`HttpCheck`]).
//!
//! Secrets leave the machine here and nowhere else, so little is allowed: https only, to the host that the rule names
//! and to public addresses only, no redirects, no cookies, no proxy. An answer that is not what the rule describes,
//! such as the web page of a firewall, says nothing. No error, log or result holds a secret or the URL with it.
//!
//! The decision worth knowing: everything is asked in one call ([`Verifier::verify`]), which sorts it by host. Each host
//! is asked one thing at a time, at most five a second, each secret once; hosts are asked side by side. That needs
//! neither locks nor a cache, and the price is that the findings must all be there first.

mod address;
mod answer;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use secretscan_detect::{HttpCheck, Secret};
use secretscan_model::{RuleId, SecretHash, Verification};
use thiserror::Error;
use ureq::Agent;
use ureq::config::Config;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;

use crate::address::PublicResolver;
use crate::answer::Reply;
use crate::request::Request;

/// After this long a host has not answered.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests to a host: five a second.
const PAUSE: Duration = Duration::from_millis(200);
/// A host that fails so often in a row is not asked again.
const MAX_FAILURES: usize = 3;
/// So many hosts are asked side by side.
const MAX_HOSTS_AT_ONCE: usize = 8;

/// A secret, and how to ask about it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The rule that found it.
    pub rule: &'a RuleId,
    /// How that rule has it checked.
    pub check: &'a HttpCheck,
    /// The secret.
    pub secret: &'a Secret,
    /// Its keyed hash: with the rule it tells which questions are the same.
    pub hash: &'a SecretHash,
}

/// Nothing can be asked.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The system trusts nobody, so no host can be told from another.
    #[error("the system has no root certificates")]
    NoRootCertificates,
}

/// What tells questions apart.
type Key<'a> = (&'a RuleId, &'a SecretHash);

/// A question that can be asked.
struct Asked<'a> {
    key: Key<'a>,
    check: &'a HttpCheck,
    request: Request,
}

/// A client for [`Question`]s.
#[derive(Debug)]
pub struct Verifier {
    agent: Agent,
    pause: Duration,
}

impl Verifier {
    /// With the system's root certificates, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    ///
    /// # Errors
    /// When there are none.
    pub fn new() -> Result<Self, VerifyError> {
        let roots = rustls_native_certs::load_native_certs().certs;
        if roots.is_empty() {
            return Err(VerifyError::NoRootCertificates);
        }
        let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
        Ok(Self::with_roots(&roots))
    }

    fn with_roots(roots: &[Certificate<'static>]) -> Self {
        let config = config(roots, TIMEOUT);
        let agent = Agent::with_parts(config, DefaultConnector::default(), PublicResolver::default());
        Self { agent, pause: PAUSE }
    }

    /// Asks, and gives an answer to each question, in their order. Takes as long as it takes: ten seconds at most for
    /// each request.
    pub fn verify(&self, questions: &[Question<'_>]) -> Vec<Verification> {
        let mut answers = HashMap::new();
        let mut seen = HashSet::new();
        let mut hosts: BTreeMap<&str, Vec<Asked<'_>>> = BTreeMap::new();
        for question in questions {
            let key = (question.rule, question.hash);
            if !seen.insert(key) {
                continue;
            }
            match Request::new(question.check, question.secret) {
                Ok(request) => {
                    let asked = Asked { key, check: question.check, request };
                    hosts.entry(&question.check.host).or_default().push(asked);
                }
                Err(reason) => drop(answers.insert(key, unknown(reason))),
            }
        }
        let workers = hosts.len().min(MAX_HOSTS_AT_ONCE);
        let hosts = Mutex::new(hosts.into_values());
        let next = || hosts.lock().unwrap_or_else(PoisonError::into_inner).next();
        thread::scope(|scope| {
            let work = || {
                let mut answered = Vec::new();
                while let Some(asked) = next() {
                    answered.extend(self.ask_host(asked));
                }
                answered
            };
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                answers.extend(thread.join().expect("asking does not panic"));
            }
        });
        questions.iter().map(|question| answers[&(question.rule, question.hash)].clone()).collect()
    }

    fn ask_host<'a>(&self, asked: Vec<Asked<'a>>) -> Vec<(Key<'a>, Verification)> {
        let mut last: Option<Instant> = None;
        let mut failures = 0;
        let mut gave_up = None;
        let mut answers = Vec::with_capacity(asked.len());
        for Asked { key, check, request } in asked {
            if let Some(reason) = gave_up {
                answers.push((key, unknown(reason)));
                continue;
            }
            if let Some(last) = last {
                wait(self.pause.saturating_sub(last.elapsed()));
            }
            last = Some(Instant::now());
            let reply = answer::read(check, request.send(&self.agent));
            failures = if matches!(reply, Reply::Failed(_)) { failures + 1 } else { 0 };
            if matches!(reply, Reply::TooManyRequests) {
                gave_up = Some("not asked: the host had too many requests");
            } else if failures == MAX_FAILURES {
                gave_up = Some("not asked: the host failed to answer several times");
            }
            answers.push((key, reply.into()));
        }
        answers
    }
}

fn config(roots: &[Certificate<'static>], timeout: Duration) -> Config {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder()
        .https_only(true)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .user_agent(concat!("secretscan/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
}

fn unknown(reason: impl Into<String>) -> Verification {
    Verification::Unknown { reason: reason.into() }
}

#[expect(clippy::disallowed_methods, reason = "what is waited for is the time itself: a host's share of it")]
fn wait(time: Duration) {
    thread::sleep(time);
}
