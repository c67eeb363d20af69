//! What is kept of what Git says during a fetch: its own words.
//!
//! A host may put anything into its part of them, the credentials that it was given too, in whatever form; and the name
//! of a ref may be a secret of the repository. The price: the reason that a host gives in words of its own is not told.

use std::io::{BufReader, Read};

use data_encoding::BASE64;

use crate::fetch::Credentials;

/// How much of Git's error output is kept: its end.
const STDERR_TAIL: usize = 4096;
const MASK: &str = "****";
/// Progress that Git itself counts.
const PROGRESS: [&str; 2] = ["Receiving objects:", "Resolving deltas:"];
/// How the rest of Git's own lines start.
const MESSAGES: [&str; 3] = ["fatal: ", "error: ", "warning: "];

/// Git ends a line of progress with a carriage return when it is going to write over it.
pub(crate) fn each_line(stderr: impl Read, mut take: impl FnMut(String)) {
    let mut line = Vec::new();
    for byte in BufReader::new(stderr).bytes().map_while(Result::ok) {
        if byte != b'\n' && byte != b'\r' {
            line.push(byte);
        }
        if byte == b'\n' || byte == b'\r' || line.len() >= STDERR_TAIL {
            if !line.trim_ascii().is_empty() {
                take(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            line.clear();
        }
    }
    if !line.is_empty() {
        take(String::from_utf8_lossy(&line).into_owned());
    }
}

/// Progress is not worth keeping.
pub(crate) fn keep_tail(tail: &mut String, line: &str) {
    if line.contains("% (") {
        return;
    }
    if !tail.is_empty() {
        tail.push('\n');
    }
    tail.push_str(line);
    while tail.len() > STDERR_TAIL {
        match tail.split_once('\n') {
            Some((_, rest)) => *tail = rest.to_owned(),
            None => tail.clear(),
        }
    }
}

/// Takes Git's own words out of the lines of one fetch.
pub(crate) struct OwnWords<'a> {
    uri: &'a str,
    credentials: &'a Credentials,
    /// Whether the host may have written all that follows.
    is_over: bool,
}

impl<'a> OwnWords<'a> {
    /// `uri` is what is fetched: it may be told.
    pub fn new(uri: &'a str, credentials: &'a Credentials) -> Self {
        Self { uri, credentials, is_over: false }
    }

    /// Git's own words in the next line.
    pub fn of(&mut self, line: &str) -> Option<String> {
        let starts_with = |starts: &[&str]| starts.iter().any(|start| line.starts_with(start));
        // The list of refs begins with `From`, and its lines with a space; a clone says where it puts it.
        if self.is_over || starts_with(&["remote:", "From ", "Cloning into ", " ", "\t"]) {
            return None;
        }
        // Over ssh and from a disk no credential is sent, and ssh has words of its own.
        let is_http = self.uri.starts_with("http");
        if is_http && !starts_with(&MESSAGES) && !starts_with(&PROGRESS) {
            return None;
        }
        let line = match line.split_once("remote error:") {
            Some((before, _)) => {
                self.is_over = true;
                format!("{before}remote error")
            }
            None if is_http && starts_with(&MESSAGES) => without_answer(line).to_owned(),
            None => line.to_owned(),
        };
        let unquoted = self.without_quotes(&line);
        Some(redact(&without_refs(&unquoted), self.credentials))
    }

    /// The line with what stands in quotes masked, but for the URI.
    fn without_quotes(&mut self, line: &str) -> String {
        let (mut shown, mut rest) = (String::new(), line);
        while let Some((before, quoted)) = rest.split_once(" '") {
            shown.push_str(before);
            let own = quoted.split_once('\'').filter(|(inside, _)| self.is_of_uri(inside));
            // What was said may hold quotes itself: the last one is Git's.
            let (inside, after) = match (own, quoted.rsplit_once('\'')) {
                (Some(own), _) => own,
                (None, Some((_, after))) => (MASK, after),
                (None, None) => {
                    self.is_over = true;
                    (MASK, "")
                }
            };
            shown.push_str(&format!(" '{inside}'"));
            rest = after;
        }
        shown + rest
    }

    fn is_of_uri(&self, text: &str) -> bool {
        let text = text.trim_end_matches('/');
        !text.is_empty() && self.uri.contains(text)
    }
}

/// A message of Git over HTTP without what may be cited from the host's answer: after a second colon, or after `got`.
/// What curl says stays.
fn without_answer(line: &str) -> &str {
    let Some((_, message)) = line.split_once(": ") else { return line };
    if message.starts_with("unable to access '") || message.starts_with("RPC failed;") {
        return line;
    }
    let end = [": ", ", got ", " got "].iter().filter_map(|mark| message.find(mark)).min();
    &line[..end.map_or(line.len(), |end| line.len() - message.len() + end)]
}

/// Masks names of refs.
fn without_refs(line: &str) -> String {
    let mut parts = line.split("refs/");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find([' ', '\'', '"', ':']).unwrap_or(part.len());
        clean.push_str("refs/");
        clean.push_str(MASK);
        clean.push_str(&part[end..]);
    }
    clean
}

/// Takes out tokens, also as they are sent, and whatever stands between `://` and `@`.
fn redact(line: &str, credentials: &Credentials) -> String {
    let mut line = line.to_owned();
    for token in &credentials.tokens {
        let login = [token.user.as_bytes(), b":", token.token.expose()].concat();
        line = line.replace(&BASE64.encode(&login), MASK);
        if let Ok(token) = std::str::from_utf8(token.token.expose())
            && !token.is_empty()
        {
            line = line.replace(token, MASK);
        }
    }
    let mut parts = line.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str("://");
        let authority = part.find(['/', ' ', '\'', '"']).unwrap_or(part.len());
        match part[..authority].rfind('@') {
            Some(at) => clean.push_str(&part[at + 1..]),
            None => clean.push_str(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use secretscan_detect::Secret;

    use super::*;
    use crate::fetch::HostToken;

    const URI: &str = "https://git.example.com/o/r";

    fn kept(lines: &[&str]) -> Vec<String> {
        let token = HostToken {
            host: "git.example.com".to_owned(),
            user: "oauth2".to_owned(),
            token: Secret::new("swordfish"),
        };
        let credentials = Credentials { tokens: vec![token], ..Credentials::default() };
        let mut words = OwnWords::new(URI, &credentials);
        lines.iter().filter_map(|line| words.of(line)).collect()
    }

    #[test]
    fn what_git_and_curl_say_is_kept() {
        for line in [
            "fatal: unable to access 'https://git.example.com/o/r/': The requested URL returned error: 503",
            "fatal: unable to access 'https://git.example.com/o/r/': Couldn't connect to server: it's down",
            "fatal: Authentication failed for 'https://git.example.com/o/r/'",
            "error: RPC failed; curl 18 transfer closed with outstanding read data remaining",
            "fatal: early EOF",
            "Receiving objects:  42% (420/1000)",
        ] {
            assert_eq!(kept(&[line]), [line]);
        }
    }

    #[test]
    fn what_the_host_may_have_said_is_not_kept() {
        for line in [
            "remote: b2F1dGgyOnN3b3JkZmlzaA==",
            "remote: Counting objects: hsifdrows",
            "From https://git.example.com/o/r",
            " * [new branch]      hsifdrows  -> hsifdrows",
            "hsifdrows",
        ] {
            assert!(kept(&[line]).is_empty(), "{line}");
        }
        for (line, shown) in [
            ("fatal: invalid server response; got 'hsif' drows'", "fatal: invalid server response;"),
            ("fatal: unexpected line 'hsif' drows'", "fatal: unexpected line '****'"),
            ("fatal: expected shallow/unshallow, got hsifdrows", "fatal: expected shallow/unshallow"),
            ("fatal: protocol error: bad line length character: hsif", "fatal: protocol error"),
            ("error: cannot lock ref 'refs/heads/a': 'refs/heads' exists", "error: cannot lock ref '****'"),
            ("fatal: bad object refs/heads/main", "fatal: bad object refs/****"),
        ] {
            assert_eq!(kept(&[line]), [shown]);
        }
        // What comes after an open end may be the host's too.
        assert_eq!(kept(&["fatal: remote error: hsif", "fatal: drows"]), ["fatal: remote error"]);
        assert_eq!(kept(&["fatal: unexpected 'hsif", "fatal: drows'"]), ["fatal: unexpected '****'"]);
    }

    #[test]
    fn credentials_are_taken_out() {
        let credentials = Credentials {
            tokens: vec![HostToken {
                host: "h".to_owned(),
                user: "oauth2".to_owned(),
                token: Secret::new("swordfish"),
            }],
            ..Credentials::default()
        };
        let clean = |line| redact(line, &credentials);
        assert_eq!(clean("fatal: 'https://me:pw@h/r' x"), "fatal: 'https://h/r' x");
        assert_eq!(clean("https://a@b@h/r and ssh://git@h/r"), "https://h/r and ssh://h/r");
        assert_eq!(clean("token swordfish, mail a@b"), "token ****, mail a@b");
        assert_eq!(clean("Basic b2F1dGgyOnN3b3JkZmlzaA=="), "Basic ****");
    }

    #[test]
    fn ssh_has_words_of_its_own() {
        let credentials = Credentials::default();
        let mut words = OwnWords::new("git@h:o/r", &credentials);
        for line in ["git@h: Permission denied (publickey).", "Host key verification failed."] {
            assert_eq!(words.of(line).as_deref(), Some(line));
        }
    }
}
