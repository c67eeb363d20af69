//! Payloads of webhooks: what is read of one is fit to be stored and shown, and what is said of another is short.
#![no_main]

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use libfuzzer_sys::fuzz_target;
use secretscan_webhook::hosts::{Host, Push};

const HOSTS: [Host; 5] = [Host::Github, Host::Gitlab, Host::Gitea, Host::Forgejo, Host::Bitbucket];
/// Headers of ids of deliveries.
const DELIVERIES: [&str; 5] =
    ["x-github-delivery", "x-gitlab-event-uuid", "x-gitea-delivery", "x-forgejo-delivery", "x-request-uuid"];

// The first byte chooses a host, the second a form or not; they are digits, so that seeds are read by people.
fuzz_target!(|input: &[u8]| {
    let [host, is_form, body @ ..] = input else { return };
    let host = HOSTS[usize::from(*host) % HOSTS.len()];
    let mut headers = HeaderMap::new();
    if is_form % 2 == 1 {
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        );
    }
    if let Ok(value) = HeaderValue::from_bytes(&body[..body.len().min(160)]) {
        for name in DELIVERIES {
            headers.insert(name, value.clone());
        }
    }
    if let Some(id) = host.delivery(&headers, body) {
        assert!(id.len() <= 256 && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id:?}");
    }
    assert!(!host.may_tell_push(&headers), "no header says so");
    match host.read(&headers, body) {
        Ok(Some(push)) => check(&push),
        Ok(None) => {}
        // Its type holds no text of the payload.
        Err(error) => assert!(error.to_string().len() < 200, "{error}"),
    }
});

fn check(push: &Push) {
    assert!(push.refs.len() <= 1_000);
    assert!(push.pusher.chars().count() <= 100 && !push.pusher.contains(char::is_control));
    for moved in &push.refs {
        assert!(
            moved.name.starts_with("refs/heads/") || moved.name.starts_with("refs/tags/"),
            "{}",
            moved.name
        );
        assert!(moved.name.len() <= 512 && !moved.name.contains(char::is_control));
        assert!(is_id(&moved.after), "{}", moved.after);
        assert!(moved.before.is_empty() || is_id(&moved.before), "{}", moved.before);
    }
}

fn is_id(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
