//! Making a request of a check and a secret, and sending it.

use std::fmt;

use data_encoding::BASE64;
use secretscan_detect::{HttpCheck, Method, Piece, Secret, Template};
use ureq::http::{self, HeaderValue, Response};
use ureq::{Agent, Body};

/// No token is longer, and servers refuse longer headers.
const MAX_SECRET_LEN: usize = 4096;

/// A request with a secret in it, ready to be sent.
pub(crate) struct Request(http::Request<Option<String>>);

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret may be anywhere in it.
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

impl Request {
    /// Why it can't be made is told in words without the secret.
    pub(crate) fn new(check: &HttpCheck, secret: &Secret) -> Result<Self, &'static str> {
        // Control characters would end a header and begin another.
        let is_sent = |byte: &u8| matches!(byte, b' '..=b'~');
        let secret = std::str::from_utf8(secret.expose())
            .ok()
            .filter(|secret| secret.len() <= MAX_SECRET_LEN && secret.as_bytes().iter().all(is_sent))
            .ok_or("not asked: the secret is too long or has characters that are not sent")?;
        let mut request = http::Request::builder().uri(fill(&check.url, &percent_encoded(secret)));
        for (name, value) in &check.headers {
            let value = HeaderValue::try_from(fill(value, secret));
            let mut value = value.map_err(|_| "not asked: the secret can't stand in a header")?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let body = match (&check.body, check.method) {
            (_, Method::Get) => None,
            (None, Method::Post) => Some(String::new()),
            (Some(body), Method::Post) => {
                let is_safe = secret.bytes().all(is_unreserved) || !body.0.contains(&Piece::Secret);
                Some(
                    is_safe
                        .then(|| fill(body, secret))
                        .ok_or("not asked: the secret can't stand in a body")?,
                )
            }
        };
        let method = match check.method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
        };
        request
            .method(method)
            .body(body)
            .map(Self)
            .map_err(|_| "not asked: the secret can't stand in the URL")
    }

    pub(crate) fn send(self, agent: &Agent) -> Result<Response<Body>, ureq::Error> {
        let (parts, body) = self.0.into_parts();
        match body {
            Some(body) => agent.run(http::Request::from_parts(parts, body)),
            None => agent.run(http::Request::from_parts(parts, ())),
        }
    }
}

fn fill(template: &Template, secret: &str) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Secret => secret.to_owned(),
        Piece::Basic { before, after } => BASE64.encode(format!("{before}{secret}{after}").as_bytes()),
    };
    template.0.iter().map(piece).collect()
}

/// What means the same in URLs (RFC 3986), forms and JSON.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// As it can stand in a path or query. A colon may stand in both, and some hosts insist on it.
fn percent_encoded(secret: &str) -> String {
    let encode = |byte: u8| match byte {
        b':' => ":".to_owned(),
        byte if is_unreserved(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    secret.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use secretscan_detect::RuleSet;

    use super::*;

    const SECRET: &str = "12:a/b?c#d e\"";

    fn check(verify: &str) -> HttpCheck {
        let rules =
            format!("[[rules]]\nid = 'a'\nregex = 'abcd'\n[rules.verify]\n{verify}\nvalid.status = [200]\n");
        RuleSet::parse(&rules, "rules.toml", None).unwrap().rules()[0].verify.clone().unwrap()
    }

    fn refusal(verify: &str, secret: &[u8]) -> &'static str {
        Request::new(&check(verify), &Secret::new(secret)).unwrap_err()
    }

    #[test]
    fn the_secret_stands_where_the_rule_says_as_the_place_needs_it() {
        let check = check(
            "url = 'https://example.org/bot{{secret}}/me?q={{secret}}'\n\
             headers = { A = 'Bearer {{secret}}', B = 'Basic {{basic:secret:}}', C = 'Basic {{basic:api:secret}}' }",
        );
        let Request(request) = Request::new(&check, &Secret::new(SECRET)).unwrap();
        let encoded = "12:a%2Fb%3Fc%23d%20e%22";
        assert_eq!(request.uri().to_string(), format!("https://example.org/bot{encoded}/me?q={encoded}"));
        let header = |name| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("A"), format!("Bearer {SECRET}"));
        assert_eq!(header("B"), format!("Basic {}", BASE64.encode(format!("{SECRET}:").as_bytes())));
        assert_eq!(header("C"), format!("Basic {}", BASE64.encode(format!("api:{SECRET}").as_bytes())));
        assert_eq!((request.method(), request.body()), (&http::Method::GET, &None));
    }

    #[test]
    fn a_body_takes_only_what_needs_no_escape() {
        let with_body = "method = 'POST'\nurl = 'https://example.org/'\nbody = '{\"t\":\"{{secret}}\"}'";
        let Request(request) =
            Request::new(&check(with_body), &Secret::new(concat!("a-b_", "c.d~1"))).unwrap();
        assert_eq!(request.body().as_deref(), Some("{\"t\":\"a-b_c.d~1\"}"));
        assert_eq!(refusal(with_body, SECRET.as_bytes()), "not asked: the secret can't stand in a body");
    }

    #[test]
    fn control_characters_and_what_is_not_ascii_are_never_sent() {
        let check = "url = 'https://example.org/{{secret}}'";
        for secret in [&b"a\nb"[..], b"a\r\nX: y", b"a\0b", b"a\x7f", "é".as_bytes(), b"\xff", &[b'a'; 4097]]
        {
            assert!(refusal(check, secret).contains("characters that are not sent"), "{secret:?}");
        }
    }

    #[test]
    fn debug_output_has_no_secret() {
        let check = check("url = 'https://example.org/{{secret}}'\nheaders = { A = '{{secret}}' }");
        let request = Request::new(&check, &Secret::new("abcdefgh")).unwrap();
        assert_eq!(format!("{request:?}"), "Request { .. }");
        assert!(!format!("{:?}", request.0.headers()).contains("abcdefgh"));
    }
}
