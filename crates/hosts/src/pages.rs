//! A list in pages, asked for at the pace that the host allows.

use std::collections::HashSet;
use std::time::Duration;

use secretscan_detect::Secret;
use secretscan_http::{Answer, Http, Trouble};
use thiserror::Error;
use url::Url;

use crate::{Listed, OwnerKind, Page};

/// So often a page is asked for before the host counts as broken.
const ATTEMPTS: u32 = 4;

/// Why there is no list, or no more of it.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct ListError {
    message: String,
    hint: &'static str,
    #[source]
    source: Option<serde_json::Error>,
}

impl ListError {
    fn new(message: impl Into<String>, hint: &'static str) -> Self {
        Self { message: message.into(), hint, source: None }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        self.hint
    }
}

/// What is asked, and of whom.
pub struct Source {
    /// What the owner is.
    pub kind: OwnerKind,
    /// Where the host's interface is.
    pub api: Url,
    /// The name of the owner.
    pub owner: String,
    /// A token that may list the repositories.
    pub token: Option<Secret>,
    /// How long the host's permission to go on is waited for, and that it answers again.
    pub max_wait: Duration,
}

/// What comes of an answer.
enum Turn {
    /// And how long to wait before the next one.
    Page(Page, Option<Duration>),
    /// Asked again after this long.
    Again(Duration, String),
    Never(ListError),
}

impl Source {
    /// All repositories of the owner, each once, in the host's order. `tell` hears why it takes long.
    ///
    /// # Errors
    /// [`ListError`] when the host does not list them.
    pub async fn all(&self, http: &Http, tell: &(dyn Fn(&str) + Sync)) -> Result<Vec<Listed>, ListError> {
        let (mut listed, mut seen) = (Vec::new(), HashSet::new());
        let mut next = Some(self.first()?);
        let mut asked = HashSet::new();
        while let Some(url) = next {
            let (page, wait) = self.ask(http, &url, tell).await?;
            // A repository that is made meanwhile moves others to the next page.
            listed.extend(
                page.repositories.into_iter().filter(|repository| seen.insert(repository.url.clone())),
            );
            asked.insert(url);
            next = page.next.map(|next| self.next(&next)).transpose()?.filter(|next| !asked.contains(next));
            if let (Some(_), Some(wait)) = (&next, wait) {
                self.rest(wait, "allows no more requests for now", tell).await?;
            }
        }
        Ok(listed)
    }

    /// One page: the first, or the one that another page calls its next.
    ///
    /// # Errors
    /// [`ListError`] when the host does not give it, or `next` leads elsewhere.
    pub async fn page(&self, http: &Http, next: Option<&str>) -> Result<Page, ListError> {
        let url = next.map_or_else(|| self.first(), |next| self.next(next))?;
        let tell = |reason: &str| tracing::info!(reason, "the host of a list makes us wait");
        Ok(self.ask(http, &url, &tell).await?.0)
    }

    fn first(&self) -> Result<Url, ListError> {
        let no_path = || ListError::new("the URL of the host can't have a path", "write https://host/path");
        self.kind.first_page(&self.api, &self.owner).ok_or_else(no_path)
    }

    /// The host names it, but it must not send the token elsewhere.
    fn next(&self, text: &str) -> Result<Url, ListError> {
        let url = Url::parse(text).ok().filter(|url| url.origin() == self.api.origin());
        let elsewhere = || {
            ListError::new(
                format!("the list of {} goes on at another address than it began at", self.owner),
                "give the address of the interface that the host itself uses",
            )
        };
        url.ok_or_else(elsewhere)
    }

    /// A page, and how long the host asks to wait before the next one.
    async fn ask(
        &self,
        http: &Http,
        url: &Url,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<(Page, Option<Duration>), ListError> {
        let mut attempt = 1;
        loop {
            match self.turn(http.send(self.kind.call(url, self.token.as_ref())).await, attempt) {
                Turn::Page(page, wait) => return Ok((page, wait)),
                Turn::Again(wait, reason) => self.rest(wait, &reason, tell).await?,
                Turn::Never(error) => return Err(error),
            }
            attempt += 1;
        }
    }

    fn turn(&self, answer: Result<Answer, Trouble>, attempt: u32) -> Turn {
        let back_off = Duration::from_secs(1 << attempt.min(10));
        let again_or = |reason: String| match attempt < ATTEMPTS {
            true => Turn::Again(back_off, reason),
            false => Turn::Never(ListError::new(
                format!("{} {reason}, {ATTEMPTS} times", self.host()),
                "try again later, or give another address of its interface",
            )),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(Trouble::NotSent(reason) | Trouble::NoAnswer(reason)) => {
                return again_or(format!("does not answer ({reason})"));
            }
        };
        match (answer.status, answer.wait) {
            (200, wait) => match self.kind.page(&answer.body) {
                Ok(page) => Turn::Page(Page { next: page.next.or(answer.next), ..page }, wait),
                Err(error) => Turn::Never(ListError {
                    message: format!(
                        "{} answers with something else than a list of repositories",
                        self.host()
                    ),
                    hint: "check the kind of host, and the address of its interface",
                    source: Some(error),
                }),
            },
            (403 | 429 | 503, Some(wait)) => Turn::Again(wait, "allows no more requests for now".into()),
            (429 | 500..=599, _) => again_or(format!("answers with status {}", answer.status)),
            (status, _) => Turn::Never(self.refused(status)),
        }
    }

    fn refused(&self, status: u16) -> ListError {
        let (host, owner) = (self.host(), &self.owner);
        let (message, hint) = match (status, &self.token) {
            (401, _) => {
                (format!("{host} does not take the token"), "make a new one, which may read repositories")
            }
            (403, Some(_)) => (
                format!("the token may not list the repositories of {owner}"),
                "let it read repositories, or use another one",
            ),
            (403 | 404, None) => (
                format!("{host} shows no {owner} to a stranger"),
                "check the name, and the kind of host; give a token if it is private",
            ),
            (404, Some(_)) => (
                format!("there is no {owner} at {host} that this token may see"),
                "check the name, the kind of host, and what the token may read",
            ),
            _ => (
                format!("{host} answers with status {status}"),
                "check the kind of host, and the address of its interface, to which nothing must be redirected",
            ),
        };
        ListError::new(message, hint)
    }

    /// Waits, unless it is for too long.
    #[expect(clippy::disallowed_methods, reason = "the host says how long")]
    async fn rest(
        &self,
        wait: Duration,
        reason: &str,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<(), ListError> {
        let (host, seconds) = (self.host(), wait.as_secs());
        if wait > self.max_wait {
            let message = format!("{host} {reason}; waiting for {seconds} s would take too long");
            return Err(ListError::new(message, "try again after that, or use another token"));
        }
        tell(&format!("{host} {reason}: going on in {seconds} s"));
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn host(&self) -> &str {
        self.api.host_str().unwrap_or("the host")
    }
}
