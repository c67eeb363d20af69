//! Whether a delivery comes from who has the secret. No comparison takes longer the more of it is right.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::hosts::{Host, any_header, header};

/// What GitLab's signing tokens begin with; the rest is the key in base64 (standardwebhooks.com).
const SIGNING_PREFIX: &str = "whsec_";
/// How old, or how far in the future, a signed delivery may be, in milliseconds; as Standard Webhooks has it.
const WINDOW_MS: i64 = 5 * 60 * 1_000;
/// Signatures that one delivery may carry.
const MAX_SIGNATURES: usize = 8;

/// A secret, as it is needed to check with.
pub(crate) enum Secret {
    /// Signs the body.
    Body(Hmac<Sha256>),
    /// Signs an id, a time and the body.
    Message(Hmac<Sha256>),
    /// Is sent as it is. Kept as its hash, since comparing takes the same length.
    Token([u8; 32]),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The secret that a host of this kind has; `None` when it is a signing token that can't be read.
    pub(crate) fn new(host: Host, text: &str) -> Option<Self> {
        let mac = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).ok();
        match (host, text.strip_prefix(SIGNING_PREFIX)) {
            (Host::Gitlab, Some(key)) => mac(&BASE64.decode(key.as_bytes()).ok()?).map(Self::Message),
            (Host::Gitlab, None) => Some(Self::Token(Sha256::digest(text).into())),
            (Host::Github | Host::Gitea | Host::Forgejo | Host::Gogs | Host::Bitbucket, _) => {
                mac(text.as_bytes()).map(Self::Body)
            }
        }
    }
}

/// What the headers of a delivery claim.
pub(crate) enum Claim {
    /// That the sender has the token, which is true.
    Token,
    /// That these are signatures of this prefix and the body; one right one is enough.
    Signatures { prefix: Vec<u8>, macs: Vec<[u8; 32]>, is_message: bool },
}

/// What the headers claim; `None` when the body need not be received, because nothing in it could make the claim right.
pub(crate) fn claim(host: Host, headers: &HeaderMap, secrets: &[Secret], now_ms: i64) -> Option<Claim> {
    let hexadecimal = match host {
        Host::Github => header(headers, "x-hub-signature-256")?.strip_prefix("sha256=")?,
        Host::Bitbucket => header(headers, "x-hub-signature")?.strip_prefix("sha256=")?,
        Host::Gitea => header(headers, "x-gitea-signature")?,
        Host::Gogs => header(headers, "x-gogs-signature")?,
        Host::Forgejo => any_header(headers, &["x-forgejo-signature", "x-gitea-signature"])?,
        Host::Gitlab => {
            return has_token(headers, secrets)
                .then_some(Claim::Token)
                .or_else(|| message_claim(headers, secrets, now_ms));
        }
    };
    let mac: [u8; 32] = HEXLOWER_PERMISSIVE.decode(hexadecimal.as_bytes()).ok()?.try_into().ok()?;
    Some(Claim::Signatures { prefix: Vec::new(), macs: vec![mac], is_message: false })
}

/// Whether the header of GitLab holds one of the tokens.
fn has_token(headers: &HeaderMap, secrets: &[Secret]) -> bool {
    let Some(given) = header(headers, "x-gitlab-token") else { return false };
    let given: [u8; 32] = Sha256::digest(given).into();
    let is_one = secrets.iter().map(|secret| match secret {
        Secret::Token(token) => token.ct_eq(&given),
        Secret::Body(_) | Secret::Message(_) => Choice::from(0),
    });
    is_one.fold(Choice::from(0), |one, other| one | other).into()
}

/// The claim of the Standard Webhooks specification, which GitLab's signing follows: `v1,` and a base64 of the HMAC-SHA256
/// of `id.time.body`, perhaps several, separated by spaces.
fn message_claim(headers: &HeaderMap, secrets: &[Secret], now_ms: i64) -> Option<Claim> {
    if !secrets.iter().any(|secret| matches!(secret, Secret::Message(_))) {
        return None;
    }
    let (id, time) = (header(headers, "webhook-id")?, header(headers, "webhook-timestamp")?);
    let time_ms = time.parse::<i64>().ok()?.checked_mul(1_000)?;
    if now_ms.checked_sub(time_ms)?.checked_abs()? > WINDOW_MS {
        return None;
    }
    let macs: Vec<[u8; 32]> = header(headers, "webhook-signature")?
        .split(' ')
        .take(MAX_SIGNATURES)
        .filter_map(|one| BASE64.decode(one.strip_prefix("v1,")?.as_bytes()).ok()?.try_into().ok())
        .collect();
    let prefix = format!("{id}.{time}.").into_bytes();
    (!macs.is_empty()).then_some(Claim::Signatures { prefix, macs, is_message: true })
}

impl Claim {
    /// Whether it is right, by one of the secrets.
    pub(crate) fn is_right(&self, secrets: &[Secret], body: &[u8]) -> bool {
        let Self::Signatures { prefix, macs, is_message } = self else { return true };
        let mut is_right = Choice::from(0);
        for secret in secrets {
            let mac = match (secret, is_message) {
                (Secret::Body(mac), false) | (Secret::Message(mac), true) => mac.clone(),
                (Secret::Body(_) | Secret::Message(_) | Secret::Token(_), _) => continue,
            };
            let expected: [u8; 32] =
                mac.chain_update(prefix).chain_update(body).finalize().into_bytes().into();
            for mac in macs {
                is_right |= expected.ct_eq(mac);
            }
        }
        is_right.into()
    }
}
