//! Who may log in, as the configuration says it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::Role;

/// The section `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// What signs the cookies of sessions: at least 32 random bytes, the same for all replicas.
    pub session_key_file: Option<PathBuf>,
    /// Seconds after which a session ends.
    pub session_s: u64,
    /// Seconds without a click after which a session ends.
    pub idle_s: u64,
    /// Failed logins in a minute from one address, after which it has to wait.
    pub failures_per_address: u32,
    /// Failed logins in a minute from everywhere, after which everybody has to wait.
    pub failures_in_all: u32,
    /// People and programs who show a token.
    pub tokens: Vec<TokenSettings>,
    /// Which repositories belong to whom.
    pub teams: BTreeMap<String, TeamSettings>,
    /// People whom an identity provider knows.
    pub oidc: Option<OidcSettings>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            session_key_file: None,
            session_s: 12 * 60 * 60,
            idle_s: 60 * 60,
            failures_per_address: 10,
            failures_in_all: 300,
            tokens: Vec::new(),
            teams: BTreeMap::new(),
            oidc: None,
        }
    }
}

/// One entry of `[[auth.tokens]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// Who shows it; stands in the audit log.
    pub name: String,
    /// The SHA-256 of the token in hexadecimal. The token must be random and long: such hashes are fast to compute.
    pub sha256: String,
    /// What they may do.
    pub role: Role,
    /// Where; every repository when empty.
    #[serde(default)]
    pub teams: Vec<String>,
}

/// One of `[auth.teams.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeamSettings {
    /// Names of repositories, such as `github.com/acme/*`: `*` stands for all but a slash, `**` for all.
    pub repositories: Vec<String>,
}

/// The section `[auth.oidc]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// The issuer, such as `https://login.example.com/realms/acme`.
    pub issuer: String,
    /// The client that is registered there, with the redirect URL `<public_url>/login/oidc/callback`.
    pub client_id: String,
    /// A file with its secret; absent for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// What else to ask for.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// The claim that names a person.
    #[serde(default = "default_name_claim")]
    pub name_claim: String,
    /// The claim that lists a person's groups.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// What groups may do; who is in none of them may not log in.
    pub groups: BTreeMap<String, GroupSettings>,
}

/// One of `[auth.oidc.groups.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSettings {
    /// What its members may do.
    pub role: Role,
    /// Where; every repository when empty.
    #[serde(default)]
    pub teams: Vec<String>,
}

fn default_scopes() -> Vec<String> {
    ["profile", "email"].map(str::to_owned).to_vec()
}

fn default_name_claim() -> String {
    "email".into()
}

fn default_groups_claim() -> String {
    "groups".into()
}
