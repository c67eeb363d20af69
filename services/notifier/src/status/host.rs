//! The interfaces of Git hosts for the status of a commit, as they document them.

use data_encoding::BASE64;
use secretscan_detect::{Secret, Severity};
use secretscan_model::CommitId;
use serde::{Deserialize, Serialize};

use super::decide::{State, Words};
use crate::config::{HostKind, StatusSettings};
use crate::outcome::{Gate, Outcome};
use secretscan_http::{Answer, Call};

/// No host takes longer descriptions: 140 characters at GitHub.
const MAX_TEXT_CHARS: usize = 140;
/// Bitbucket takes no longer keys.
const MAX_KEY_CHARS: usize = 40;

/// A Git host that is told the status of commits.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) fail_on: Option<Severity>,
    pub(crate) gate: Gate,
    kind: HostKind,
    api: String,
    token: Secret,
    user: Option<String>,
    context: String,
}

/// A status of a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status<'a> {
    /// The path of the repository on its host, such as `owner/repository`.
    pub(crate) repository: &'a str,
    pub(crate) commit: &'a CommitId,
    /// The full name of a ref that was pushed.
    pub(crate) ref_name: &'a str,
    pub(crate) words: &'a Words,
    /// Where there is more to see.
    pub(crate) link: Option<&'a str>,
}

/// <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>, and the same in Gitea and Forgejo:
/// <https://docs.gitea.com/api/>, `CreateStatusOption`.
#[derive(Serialize)]
struct GithubStatus<'a> {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<&'a str>,
    description: &'a str,
    context: &'a str,
}

/// <https://docs.gitlab.com/api/commits/#set-commit-pipeline-status>.
#[derive(Serialize)]
struct GitlabStatus<'a> {
    state: &'static str,
    #[serde(rename = "ref")]
    ref_name: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<&'a str>,
    description: &'a str,
}

/// <https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/>.
#[derive(Serialize)]
struct BitbucketStatus<'a> {
    key: &'a str,
    state: &'static str,
    name: &'a str,
    url: &'a str,
    description: &'a str,
}

/// A status as a host lists it: GitHub has a state and a context, Gitea a status and a context, GitLab a status and a
/// name, Bitbucket a state and a key.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Listed {
    state: Option<String>,
    status: Option<String>,
    context: Option<String>,
    key: Option<String>,
    name: Option<String>,
    description: Option<String>,
}

impl Listed {
    fn is(&self, name: &str, state: &str, text: &str) -> bool {
        let listed_name = self.context.as_ref().or(self.key.as_ref()).or(self.name.as_ref());
        let listed_state = self.state.as_ref().or(self.status.as_ref());
        listed_name.is_some_and(|listed| listed == name)
            && listed_state.is_some_and(|listed| listed == state)
            && self.description.as_deref() == Some(text)
    }
}

impl Host {
    pub(crate) fn new(settings: &StatusSettings, api: String, token: Secret) -> Self {
        Self {
            name: settings.host.clone(),
            fail_on: settings.fail_on,
            gate: Gate::new(),
            kind: settings.kind,
            api: api.trim_end_matches('/').to_owned(),
            token,
            user: settings.user.clone(),
            context: settings.context.clone(),
        }
    }

    /// Where the interface of a host is, unless somebody says otherwise.
    pub(crate) fn usual_api(kind: HostKind, host: &str) -> String {
        match kind {
            HostKind::Github if host == "github.com" => "https://api.github.com".into(),
            HostKind::Github => format!("https://{host}/api/v3"),
            HostKind::Gitlab => format!("https://{host}/api/v4"),
            HostKind::Gitea | HostKind::Forgejo => format!("https://{host}/api/v1"),
            HostKind::Bitbucket => "https://api.bitbucket.org/2.0".into(),
        }
    }

    /// Sets a status.
    pub(crate) fn tell(&self, status: &Status<'_>) -> Call {
        let (api, Status { repository, commit, .. }) = (&self.api, status);
        let url = match self.kind {
            HostKind::Github | HostKind::Gitea | HostKind::Forgejo => {
                format!("{api}/repos/{repository}/statuses/{commit}")
            }
            HostKind::Gitlab => format!("{api}/projects/{}/statuses/{commit}", encoded(repository)),
            HostKind::Bitbucket => format!("{api}/repositories/{repository}/commit/{commit}/statuses/build"),
        };
        self.with_token(Call::post(url, self.body(status)))
    }

    /// Asks for the statuses of the commit.
    pub(crate) fn ask(&self, status: &Status<'_>) -> Call {
        let (api, Status { repository, commit, .. }) = (&self.api, status);
        let url = match self.kind {
            HostKind::Github => format!("{api}/repos/{repository}/commits/{commit}/statuses?per_page=100"),
            HostKind::Gitea | HostKind::Forgejo => {
                format!("{api}/repos/{repository}/commits/{commit}/statuses?limit=50")
            }
            HostKind::Gitlab => {
                let (project, name) = (encoded(repository), encoded(&self.context));
                format!("{api}/projects/{project}/repository/commits/{commit}/statuses?name={name}&all=true")
            }
            HostKind::Bitbucket => {
                let key = encoded(self.key());
                format!("{api}/repositories/{repository}/commit/{commit}/statuses/build/{key}")
            }
        };
        self.with_token(Call::get(url))
    }

    /// Whether the answer to [`Host::ask`] holds the status; `Err` when it can't be told.
    pub(crate) fn has(&self, status: &Status<'_>, answer: &Answer) -> Result<bool, Outcome> {
        if self.kind == HostKind::Bitbucket && answer.status == 404 {
            return Ok(false);
        }
        match Outcome::of(answer) {
            Outcome::Arrived => {}
            outcome @ (Outcome::Again { .. } | Outcome::Never { .. }) => return Err(outcome),
        }
        let listed = match self.kind {
            HostKind::Bitbucket => serde_json::from_slice(&answer.body).map(|one: Listed| vec![one]),
            HostKind::Github | HostKind::Gitlab | HostKind::Gitea | HostKind::Forgejo => {
                serde_json::from_slice::<Vec<Listed>>(&answer.body)
            }
        };
        let listed = listed.map_err(|_| Outcome::Again {
            after: None,
            may_have_arrived: true,
            reason: "its list of statuses can't be read".into(),
        })?;
        let (state, text) = (self.state(status.words.state), text(status.words));
        let name = if self.kind == HostKind::Bitbucket { self.key() } else { &self.context };
        Ok(listed.iter().any(|one| one.is(name, state, &text)))
    }

    /// What the answer to [`Host::tell`] means.
    pub(crate) fn outcome(&self, answer: &Answer) -> Outcome {
        // GitLab's states go forward only: it has this one, or a later one.
        let is_there = self.kind == HostKind::Gitlab
            && answer.status == 400
            && String::from_utf8_lossy(&answer.body).contains("Cannot transition status");
        if is_there { Outcome::Arrived } else { Outcome::of(answer) }
    }

    fn with_token(&self, call: Call) -> Call {
        let after = |scheme: &str, secret: &[u8]| [scheme.as_bytes(), secret].concat();
        let token = self.token.expose();
        match (self.kind, &self.user) {
            (HostKind::Github, _) => call
                .with("accept", "application/vnd.github+json")
                .with("authorization", after("Bearer ", token))
                .with("x-github-api-version", "2022-11-28"),
            (HostKind::Gitlab, _) => call.with("private-token", token),
            (HostKind::Gitea | HostKind::Forgejo, _) => call.with("authorization", after("token ", token)),
            (HostKind::Bitbucket, None) => call.with("authorization", after("Bearer ", token)),
            (HostKind::Bitbucket, Some(user)) => {
                let both = BASE64.encode(&after(&format!("{user}:"), token));
                call.with("authorization", after("Basic ", both.as_bytes()))
            }
        }
    }

    fn body(&self, status: &Status<'_>) -> Vec<u8> {
        let (state, text) = (self.state(status.words.state), text(status.words));
        let (context, target_url) = (self.context.as_str(), status.link);
        let body = match self.kind {
            HostKind::Github | HostKind::Gitea | HostKind::Forgejo => {
                serde_json::to_vec(&GithubStatus { state, target_url, description: &text, context })
            }
            HostKind::Gitlab => {
                let ref_name = short(status.ref_name);
                serde_json::to_vec(&GitlabStatus {
                    state,
                    ref_name,
                    name: context,
                    target_url,
                    description: &text,
                })
            }
            HostKind::Bitbucket => serde_json::to_vec(&BitbucketStatus {
                key: self.key(),
                state,
                name: context,
                url: target_url.unwrap_or_default(),
                description: &text,
            }),
        };
        body.expect("texts always serialise")
    }

    fn key(&self) -> &str {
        let end = self.context.char_indices().nth(MAX_KEY_CHARS).map_or(self.context.len(), |(end, _)| end);
        &self.context[..end]
    }

    fn state(&self, state: State) -> &'static str {
        match (self.kind, state) {
            (HostKind::Bitbucket, State::Pending) => "INPROGRESS",
            (HostKind::Bitbucket, State::Success) => "SUCCESSFUL",
            (HostKind::Bitbucket, State::Failure | State::Error) => "FAILED",
            (HostKind::Bitbucket, State::Cancelled) => "STOPPED",
            (HostKind::Gitlab, State::Failure | State::Error) => "failed",
            (HostKind::Gitlab, State::Cancelled) => "canceled",
            (_, State::Pending) => "pending",
            (_, State::Success) => "success",
            (_, State::Failure) => "failure",
            (_, State::Error | State::Cancelled) => "error",
        }
    }
}

fn text(words: &Words) -> String {
    words.text.chars().take(MAX_TEXT_CHARS).collect()
}

/// The name of a branch or tag.
fn short(ref_name: &str) -> &str {
    ref_name.strip_prefix("refs/heads/").or_else(|| ref_name.strip_prefix("refs/tags/")).unwrap_or(ref_name)
}

/// A text as one part of a path. Escapes that it has are kept.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'%' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
