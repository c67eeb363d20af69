//! The interfaces of Git hosts that list the repositories of an owner, as they document them.

use secretscan_bus::repositories::repository_id;
use secretscan_detect::Secret;
use secretscan_http::Call;
use secretscan_model::{RepositoryUri, ScheduleId, UriError, UriPolicy};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

/// No host gives more than so many at a time, or its answers get too long: GitHub and GitLab give 100, Gitea 50.
const PAGE: &str = "50";

/// What an owner of repositories is, and at which kind of host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnerKind {
    /// An organization at github.com or a GitHub Enterprise server.
    GithubOrg,
    /// A group at gitlab.com or another GitLab, with its subgroups.
    GitlabGroup,
    /// An organization of a Gitea or Forgejo.
    GiteaOrg,
    /// A workspace at Bitbucket Cloud.
    BitbucketWorkspace,
}

/// A repository as its host lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Such as `owner/repository`.
    pub name: String,
    /// Where to fetch it by HTTPS.
    pub url: String,
    /// Nobody pushes to it any more.
    pub is_archived: bool,
    /// It was made as a copy of another one.
    pub is_fork: bool,
}

impl Listed {
    /// Whether it is among those that somebody asks for, who may want archived ones and forks too.
    pub fn is_wanted(&self, archived: bool, forks: bool) -> bool {
        (archived || !self.is_archived) && (forks || !self.is_fork)
    }

    /// The id of the schedule that discovery gives it: the same each time.
    ///
    /// # Errors
    /// When its URL can't be fetched from.
    pub fn schedule_id(&self) -> Result<ScheduleId, UriError> {
        let uri = RepositoryUri::parse(&self.url, UriPolicy::ANY)?;
        let id = format!("discovered-{}", repository_id(uri.name()));
        Ok(id.parse().expect("a UUID after a word is an id"))
    }
}

/// A part of a list.
#[derive(Debug)]
pub struct Page {
    /// In the order of the host.
    pub repositories: Vec<Listed>,
    /// The URL of the next page; absent on the last one.
    pub next: Option<String>,
}

/// <https://docs.github.com/en/rest/repos/repos#list-organization-repositories>, and the same in Gitea and Forgejo:
/// <https://docs.gitea.com/api/>, `orgListRepos`.
#[derive(Deserialize)]
struct OfGithub {
    full_name: String,
    clone_url: String,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    fork: bool,
}

/// <https://docs.gitlab.com/api/groups/#list-projects>.
#[derive(Deserialize)]
struct OfGitlab {
    path_with_namespace: String,
    http_url_to_repo: String,
    #[serde(default)]
    archived: bool,
    forked_from_project: Option<IgnoredAny>,
}

/// <https://developer.atlassian.com/cloud/bitbucket/rest/api-group-repositories/#api-repositories-workspace-get>.
#[derive(Deserialize)]
struct PageOfBitbucket {
    values: Vec<OfBitbucket>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct OfBitbucket {
    full_name: String,
    parent: Option<IgnoredAny>,
    links: Links,
}

#[derive(Deserialize)]
struct Links {
    clone: Vec<CloneLink>,
}

#[derive(Deserialize)]
struct CloneLink {
    name: String,
    href: String,
}

impl OwnerKind {
    /// Where the host's interface is when nobody says so.
    pub fn default_api(self) -> Option<&'static str> {
        match self {
            Self::GithubOrg => Some("https://api.github.com"),
            Self::GitlabGroup => Some("https://gitlab.com/api/v4"),
            Self::GiteaOrg => None,
            Self::BitbucketWorkspace => Some("https://api.bitbucket.org/2.0"),
        }
    }

    /// Where the list begins. `None` for a URL that can't have a path.
    pub(crate) fn first_page(self, api: &Url, owner: &str) -> Option<Url> {
        let mut url = api.clone();
        let (path, query): ([&str; 3], &[(&str, &str)]) = match self {
            Self::GithubOrg => {
                (["orgs", owner, "repos"], &[("type", "all"), ("sort", "full_name"), ("per_page", PAGE)])
            }
            Self::GitlabGroup => (
                ["groups", owner, "projects"],
                &[
                    ("include_subgroups", "true"),
                    ("with_shared", "false"),
                    ("order_by", "id"),
                    ("sort", "asc"),
                    ("per_page", PAGE),
                ],
            ),
            Self::GiteaOrg => (["orgs", owner, "repos"], &[("limit", PAGE)]),
            Self::BitbucketWorkspace => (["repositories", owner, ""], &[("pagelen", PAGE)]),
        };
        let path = path.into_iter().filter(|part| !part.is_empty());
        url.path_segments_mut().ok()?.pop_if_empty().extend(path);
        url.query_pairs_mut().extend_pairs(query);
        Some(url)
    }

    /// With the headers that the host wants.
    pub(crate) fn call(self, url: &Url, token: Option<&Secret>) -> Call {
        let call = Call::get(url.to_string());
        let call = match self {
            Self::GithubOrg => {
                call.with("accept", "application/vnd.github+json").with("x-github-api-version", "2022-11-28")
            }
            _ => call.with("accept", "application/json"),
        };
        let Some(token) = token.map(Secret::expose) else { return call };
        let after = |scheme: &str| [scheme.as_bytes(), token].concat();
        match self {
            Self::GithubOrg | Self::BitbucketWorkspace => call.with("authorization", after("Bearer ")),
            Self::GitlabGroup => call.with("private-token", token),
            Self::GiteaOrg => call.with("authorization", after("token ")),
        }
    }

    /// Reads an answer.
    pub(crate) fn page(self, body: &[u8]) -> serde_json::Result<Page> {
        let repositories = match self {
            Self::GithubOrg | Self::GiteaOrg => {
                serde_json::from_slice::<Vec<OfGithub>>(body)?.into_iter().map(Listed::from).collect()
            }
            Self::GitlabGroup => {
                serde_json::from_slice::<Vec<OfGitlab>>(body)?.into_iter().map(Listed::from).collect()
            }
            Self::BitbucketWorkspace => {
                let page: PageOfBitbucket = serde_json::from_slice(body)?;
                let repositories = page.values.into_iter().filter_map(OfBitbucket::listed).collect();
                return Ok(Page { repositories, next: page.next });
            }
        };
        Ok(Page { repositories, next: None })
    }
}

impl From<OfGithub> for Listed {
    fn from(of: OfGithub) -> Self {
        Self { name: of.full_name, url: of.clone_url, is_archived: of.archived, is_fork: of.fork }
    }
}

impl From<OfGitlab> for Listed {
    fn from(of: OfGitlab) -> Self {
        let is_fork = of.forked_from_project.is_some();
        Self { name: of.path_with_namespace, url: of.http_url_to_repo, is_archived: of.archived, is_fork }
    }
}

impl OfBitbucket {
    /// Bitbucket archives nothing, and puts the name of the user into the URL.
    fn listed(self) -> Option<Listed> {
        let link = self.links.clone.into_iter().find(|link| link.name == "https")?;
        let mut url = Url::parse(&link.href).ok()?;
        url.set_username("").ok()?;
        let (url, is_fork) = (url.to_string(), self.parent.is_some());
        Some(Listed { name: self.full_name, url, is_archived: false, is_fork })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_begin_where_the_hosts_document_it() {
        let first = |kind: OwnerKind, api: &str, owner| {
            kind.first_page(&Url::parse(api).unwrap(), owner).unwrap().to_string()
        };
        let of = |kind: OwnerKind, owner| first(kind, kind.default_api().unwrap(), owner);
        assert_eq!(
            of(OwnerKind::GithubOrg, "acme"),
            "https://api.github.com/orgs/acme/repos?type=all&sort=full_name&per_page=50"
        );
        assert_eq!(
            of(OwnerKind::GitlabGroup, "acme/tools"),
            "https://gitlab.com/api/v4/groups/acme%2Ftools/projects?include_subgroups=true&with_shared=false&order_by=id\
             &sort=asc&per_page=50"
        );
        assert_eq!(
            first(OwnerKind::GiteaOrg, "https://git.example.org/api/v1/", "acme"),
            "https://git.example.org/api/v1/orgs/acme/repos?limit=50"
        );
        assert_eq!(
            of(OwnerKind::BitbucketWorkspace, "acme"),
            "https://api.bitbucket.org/2.0/repositories/acme?pagelen=50"
        );
    }
}
