//! Repository URIs: what is accepted, and when two of them name one repository.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use url::{Host, Url};

/// Why a URI is refused. The messages never repeat a password.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum UriError {
    #[error("the URI is empty; give one such as https://host/owner/repository")]
    Empty,
    #[error("the URI has {length} bytes, at most {max} are accepted")]
    TooLong { length: usize, max: usize },
    #[error(
        "the URI can't be read ({reason}); give one such as https://host/owner/repository or git@host:owner/repository"
    )]
    Unreadable { reason: String },
    #[error("the scheme {scheme:?} is not supported; use https or ssh")]
    Scheme { scheme: String },
    #[error(
        "the URI holds credentials; remove them and give the credentials to the repo-agent's configuration"
    )]
    Credentials,
    #[error("the URI names no repository path; give one such as https://host/owner/repository")]
    NoPath,
    #[error("the URI has a query or a fragment; remove everything from '?' or '#'")]
    QueryOrFragment,
    #[error("local paths are accepted only by `secretscan run` and `secretscan up`")]
    Local,
    #[error(
        "the host {host} is a loopback, private or link-local address, which the policy refuses (allow_private_hosts)"
    )]
    PrivateHost { host: String },
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UriPolicy {
    /// Accept absolute local paths and `file://`.
    pub allow_local: bool,
    /// Accept plain `http`.
    pub allow_http: bool,
    /// Accept `localhost` and loopback, private and link-local addresses.
    pub allow_private_hosts: bool,
}

impl UriPolicy {
    /// Accepts all, for whoever is not the one that decides.
    pub const ANY: Self = Self { allow_local: true, allow_http: true, allow_private_hosts: true };
}

/// The longest accepted URI in bytes.
const MAX_LENGTH: usize = 2048;

/// A checked repository URI.
#[derive(Clone, PartialEq, Eq)]
pub struct RepositoryUri {
    name: String,
    fetch: String,
}

impl RepositoryUri {
    /// Reads `https://`, `ssh://`, the scp-like `user@host:path`, and, where the policy says so, `http://`,
    /// `file://` and absolute paths.
    ///
    /// # Errors
    /// [`UriError`] says what is wrong and what to give instead.
    pub fn parse(text: &str, policy: UriPolicy) -> Result<Self, UriError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UriError::Empty);
        }
        check_length(text)?;
        if text.chars().any(char::is_control) {
            return Err(UriError::Unreadable { reason: "it holds control characters".into() });
        }
        let uri = if text.starts_with('/') {
            Self::local(text, policy)?
        } else {
            let url = match scp_like(text) {
                Some(url) => Url::parse(&url),
                None => Url::parse(text),
            }
            .map_err(|error| UriError::Unreadable { reason: error.to_string() })?;
            Self::from_url(&url, policy)?
        };
        // Escapes take more than what they stand for.
        check_length(&uri.name)?;
        check_length(&uri.fetch)?;
        Ok(uri)
    }

    fn local(path: &str, policy: UriPolicy) -> Result<Self, UriError> {
        if !policy.allow_local {
            return Err(UriError::Local);
        }
        let not_absolute = |()| UriError::Unreadable { reason: "it is not an absolute path".into() };
        let url = Url::from_file_path(path).map_err(not_absolute)?;
        // Only what is parsed has no `.` and `..` left.
        let url =
            Url::parse(url.as_str()).map_err(|error| UriError::Unreadable { reason: error.to_string() })?;
        if url.path().bytes().all(|byte| byte == b'/') {
            return Err(UriError::NoPath);
        }
        let name = url.as_str().trim_end_matches('/').to_owned();
        let fetch = url.to_file_path().map_err(not_absolute)?;
        let fetch = fetch.to_string_lossy().trim_end_matches('/').to_owned();
        if fetch.trim() != fetch {
            return Err(UriError::Unreadable { reason: "its path ends with white space".into() });
        }
        Ok(Self { name, fetch })
    }

    fn from_url(url: &Url, policy: UriPolicy) -> Result<Self, UriError> {
        let default_port = match url.scheme() {
            "https" => 443,
            "ssh" => 22,
            "http" if policy.allow_http => 80,
            "file" => {
                let path = url.to_file_path().map_err(|()| UriError::Unreadable {
                    reason: "a file URI has no host: write file:///path".into(),
                })?;
                // Escapes may have hidden them.
                let text = path.to_str().filter(|path| !path.chars().any(char::is_control));
                let text = text.ok_or_else(|| UriError::Unreadable {
                    reason: "its path holds control characters or is not UTF-8".into(),
                })?;
                return Self::local(text, policy);
            }
            other => return Err(UriError::Scheme { scheme: other.to_owned() }),
        };
        if url.password().is_some() || (url.scheme() != "ssh" && !url.username().is_empty()) {
            return Err(UriError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UriError::QueryOrFragment);
        }
        let Some(host) = url.host() else {
            return Err(UriError::Unreadable { reason: "it has no host".into() });
        };
        // The url crate does not lower-case or parse the host of schemes it does not know, such as ssh.
        let host = Host::parse(&host.to_string().to_ascii_lowercase())
            .map_err(|error| UriError::Unreadable { reason: error.to_string() })?;
        let user = url.username().to_ascii_lowercase();
        if host.to_string().starts_with('-') || user.starts_with('-') || user.starts_with("%2d") {
            let reason = "its host or user begins with a dash, as options of programs do".into();
            return Err(UriError::Unreadable { reason });
        }
        if !policy.allow_private_hosts && is_private(&host) {
            return Err(UriError::PrivateHost { host: host.to_string() });
        }
        let segments: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let path = segments.join("/");
        let path = path.strip_suffix(".git").unwrap_or(&path).trim_end_matches('/');
        if path.is_empty() {
            return Err(UriError::NoPath);
        }
        if segments.iter().any(|segment| *segment == "." || *segment == "..") {
            return Err(UriError::Unreadable { reason: "its path holds . or ..".into() });
        }
        let port = url.port().filter(|port| *port != default_port);
        let authority = match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let user = match url.username() {
            "" => String::new(),
            user => format!("{user}@"),
        };
        Ok(Self {
            name: format!("{authority}/{path}"),
            fetch: format!("{}://{user}{authority}/{}", url.scheme(), url.path().trim_start_matches('/')),
        })
    }

    /// The canonical name: equal for every way to write one repository. `host/path` or `file:///path`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What to give to `git fetch`.
    pub fn fetch(&self) -> &str {
        &self.fetch
    }
}

impl fmt::Display for RepositoryUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fetch)
    }
}

impl fmt::Debug for RepositoryUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fetch)
    }
}

/// `user@host:path` as `ssh://user@host/path`; see "GIT URLS" in git-clone(1).
fn scp_like(text: &str) -> Option<String> {
    if text.contains("://") {
        return None;
    }
    let (authority, path) = text.split_once(':')?;
    let host = authority.rsplit('@').next()?;
    let is_host = !host.is_empty() && !host.contains('/');
    // `ext::command` and `C:\path` are not hosts.
    if !is_host || path.starts_with(':') || host.len() < 2 {
        return None;
    }
    Some(format!("ssh://{authority}/{}", path.trim_start_matches('/')))
}

fn is_private(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => is_private_address(IpAddr::V4(*address)),
        Host::Ipv6(address) => is_private_address(IpAddr::V6(*address)),
    }
}

/// Whether an address is not a public host: loopback, private, link-local, unspecified, shared (RFC 6598),
/// unique local or multicast, also when mapped or translated into IPv6 (RFC 4291, 6052, 3056).
pub fn is_private_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || a == 0
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                || inner_address(v6).is_some_and(|v4| is_private_address(IpAddr::V4(v4)))
        }
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, of the well-known prefix for translation, or of 6to4.
fn inner_address(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let (high, low) = match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => (g, h),
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

fn check_length(text: &str) -> Result<(), UriError> {
    match text.len() {
        length if length > MAX_LENGTH => Err(UriError::TooLong { length, max: MAX_LENGTH }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_not_too_long_as_it_is_fetched() {
        let text = format!("https://git.example/a/{}", "é".repeat(900));
        assert!(text.len() < MAX_LENGTH);
        assert!(matches!(refused(&text), UriError::TooLong { .. }));
    }

    fn name(text: &str) -> String {
        RepositoryUri::parse(text, UriPolicy::default()).unwrap().name().to_owned()
    }

    fn refused(text: &str) -> UriError {
        RepositoryUri::parse(text, UriPolicy::default()).unwrap_err()
    }

    #[test]
    fn one_repository_has_one_name() {
        for text in [
            "https://h.example/a/b",
            "https://h.example/a/b.git",
            "https://h.example/a/b/",
            "https://h.example/a/b.git/",
            "https://H.Example:443/a//b",
            "ssh://git@h.example/a/b",
            "ssh://git@h.example:22/a/b.git",
            "ssh://h.example/a/b",
            "git@h.example:a/b",
            "git@h.example:a/b.git",
            "git@H.EXAMPLE:/a/b.git",
            "  https://h.example/a/b  ",
        ] {
            assert_eq!(name(text), "h.example/a/b", "{text}");
        }
    }

    #[test]
    fn other_repositories_have_other_names() {
        assert_ne!(name("https://h.example:8443/a/b"), name("https://h.example/a/b"));
        assert_ne!(name("https://h.example/a/B"), name("https://h.example/a/b"));
        assert_ne!(name("https://h.example/a/b/c"), name("https://h.example/a/b"));
    }

    #[test]
    fn the_fetch_form_keeps_scheme_user_and_suffix() {
        let uri = RepositoryUri::parse("git@h.example:a/b.git", UriPolicy::default()).unwrap();
        assert_eq!(uri.fetch(), "ssh://git@h.example/a/b.git");
    }

    #[test]
    fn bad_uris_are_refused_with_the_reason() {
        assert_eq!(refused(" "), UriError::Empty);
        assert_eq!(refused("https://user:pw@h.example/a/b"), UriError::Credentials);
        assert_eq!(refused("https://token@h.example/a/b"), UriError::Credentials);
        assert_eq!(refused("ssh://git:pw@h.example/a/b"), UriError::Credentials);
        assert_eq!(refused("https://h.example"), UriError::NoPath);
        assert_eq!(refused("https://h.example/.git"), UriError::NoPath);
        assert_eq!(refused("https://h.example/a/b?x=1"), UriError::QueryOrFragment);
        assert_eq!(refused("/srv/repository"), UriError::Local);
        assert_eq!(refused("file:///srv/repository"), UriError::Local);
        assert!(matches!(refused("ext::sh -c id"), UriError::Unreadable { .. } | UriError::Scheme { .. }));
        assert!(matches!(refused("ftp://h.example/a/b"), UriError::Scheme { .. }));
        assert!(matches!(refused("http://h.example/a/b"), UriError::Scheme { .. }));
        assert!(matches!(refused("owner/repository"), UriError::Unreadable { .. }));
        assert!(matches!(refused("https://h.example/a\nb"), UriError::Unreadable { .. }));
        for option in ["-f:a/b", "https://-f/a", "ssh://-oX@h.example/a", "ssh://%2DoX@h.example/a"] {
            assert!(matches!(refused(option), UriError::Unreadable { .. }), "{option}");
        }
        for host in [
            "localhost",
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "[::10.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[2002:0a00:0001::]",
            "[ff02::1]",
            "100.64.0.1",
            "224.0.0.1",
            "0x7f.1",
        ] {
            assert!(
                matches!(refused(&format!("https://{host}/a/b")), UriError::PrivateHost { .. }),
                "{host}"
            );
            assert!(
                matches!(refused(&format!("ssh://git@{host}/a/b")), UriError::PrivateHost { .. }),
                "{host}"
            );
        }
    }

    #[test]
    fn local_paths_only_where_allowed() {
        let policy = UriPolicy { allow_local: true, ..UriPolicy::default() };
        let plain = RepositoryUri::parse("/srv/my repo", policy).unwrap();
        let url = RepositoryUri::parse("file:///srv/my%20repo/", policy).unwrap();
        assert_eq!(plain.name(), "file:///srv/my%20repo");
        assert_eq!(plain.name(), url.name());
        let roundabout = RepositoryUri::parse("/srv/./other/../my repo", policy).unwrap();
        assert_eq!((roundabout.name(), roundabout.fetch()), (plain.name(), plain.fetch()));
        let slashes = RepositoryUri::parse("file:///srv/my%20repo//", policy).unwrap();
        assert_eq!((slashes.name(), slashes.fetch()), (plain.name(), plain.fetch()));
        for hidden in ["file:///srv/a%0Ab", "file:///srv/%FF", "file:///srv/%20/"] {
            let refused = RepositoryUri::parse(hidden, policy);
            assert!(matches!(refused, Err(UriError::Unreadable { .. })), "{hidden}");
        }
        for root in ["/", "//", "file:", "file:///", "/.."] {
            assert_eq!(RepositoryUri::parse(root, policy), Err(UriError::NoPath), "{root}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_is_stable(text in "\\PC{0,60}") {
            let policy = UriPolicy::ANY;
            if let Ok(uri) = RepositoryUri::parse(&text, policy) {
                let again = RepositoryUri::parse(uri.fetch(), policy).unwrap();
                proptest::prop_assert_eq!(uri.name(), again.name());
            }
        }
    }
}
