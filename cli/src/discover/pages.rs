//! A list in pages, asked for at the pace that the host allows.

use std::collections::HashSet;
use std::time::Duration;

use secretscan_detect::Secret;
use secretscan_http::{Answer, Http, Trouble};
use url::Url;

use super::hosts::{Listed, OwnerKind, Page};
use crate::failure::Failure;

/// An answer takes no longer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// So often a page is asked for before the host counts as broken.
const ATTEMPTS: u32 = 4;
/// Longer than so the list does not wait for the host's permission: the limits of rates begin anew every hour at the latest.
const MAX_WAIT: Duration = Duration::from_secs(3_660);

/// What is asked, and of whom.
pub struct Source<'a> {
    pub kind: OwnerKind,
    pub api: &'a Url,
    pub owner: &'a str,
    pub token: Option<&'a Secret>,
}

/// What comes of an answer.
enum Turn {
    /// And how long to wait before the next one.
    Page(Page, Option<Duration>),
    /// Asked again after this long.
    Again(Duration, String),
    Never(Failure),
}

/// All repositories of the owner, each once, in the host's order. `tell` hears why it takes long.
pub async fn list(source: &Source<'_>, tell: &dyn Fn(&str)) -> anyhow::Result<Vec<Listed>> {
    let http = Http::new(TIMEOUT)?;
    let (mut listed, mut seen) = (Vec::new(), HashSet::new());
    let mut next = Some(source.first()?);
    let mut asked = HashSet::new();
    while let Some(url) = next {
        let (page, wait) = source.page(&http, &url, tell).await?;
        // A repository that is made meanwhile moves others to the next page.
        listed.extend(page.repositories.into_iter().filter(|repository| seen.insert(repository.url.clone())));
        asked.insert(url);
        next = page.next.map(|next| source.next(&next)).transpose()?.filter(|next| !asked.contains(next));
        if let (Some(_), Some(wait)) = (&next, wait) {
            source.rest(wait, "allows no more requests for now", tell).await?;
        }
    }
    Ok(listed)
}

impl Source<'_> {
    fn first(&self) -> Result<Url, Failure> {
        let no_path = || Failure::new("the URL of the host can't have a path", "write https://host/path");
        self.kind.first_page(self.api, self.owner).ok_or_else(no_path)
    }

    /// The host names it, but it must not send the token elsewhere.
    fn next(&self, text: &str) -> Result<Url, Failure> {
        let url = Url::parse(text).ok().filter(|url| url.origin() == self.api.origin());
        let elsewhere = || {
            Failure::new(
                format!("the list of {} goes on at another address than it began at", self.owner),
                "give the address that the host itself uses with --api",
            )
        };
        url.ok_or_else(elsewhere)
    }

    /// A page, and how long the host asks to wait before the next one.
    async fn page(
        &self,
        http: &Http,
        url: &Url,
        tell: &dyn Fn(&str),
    ) -> anyhow::Result<(Page, Option<Duration>)> {
        let mut attempt = 1;
        loop {
            match self.turn(http.send(self.kind.call(url, self.token)).await, attempt) {
                Turn::Page(page, wait) => return Ok((page, wait)),
                Turn::Again(wait, reason) => self.rest(wait, &reason, tell).await?,
                Turn::Never(failure) => return Err(failure.into()),
            }
            attempt += 1;
        }
    }

    fn turn(&self, answer: Result<Answer, Trouble>, attempt: u32) -> Turn {
        let back_off = Duration::from_secs(1 << attempt.min(10));
        let again_or = |reason: String| match attempt < ATTEMPTS {
            true => Turn::Again(back_off, reason),
            false => Turn::Never(Failure::new(
                format!("{} {reason}, {ATTEMPTS} times", self.host()),
                "try again later, or name another host with --api",
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
                Err(error) => Turn::Never(Failure::caused_by(
                    error,
                    format!("{} answers with something else than a list of repositories", self.host()),
                    "check the kind of host, and its address (--api)",
                )),
            },
            (403 | 429 | 503, Some(wait)) => Turn::Again(wait, "allows no more requests for now".into()),
            (429 | 500..=599, _) => again_or(format!("answers with status {}", answer.status)),
            (status, _) => Turn::Never(self.refused(status)),
        }
    }

    fn refused(&self, status: u16) -> Failure {
        let (host, owner) = (self.host(), self.owner);
        let (message, hint) = match (status, self.token) {
            (401, _) => {
                (format!("{host} does not take the token"), "make a new one, which may read repositories")
            }
            (403, Some(_)) => (
                format!("the token may not list the repositories of {owner}"),
                "let it read repositories, or use another one",
            ),
            (403 | 404, None) => (
                format!("{host} shows no {owner} to a stranger"),
                "check the name, and the kind of host; give a token with --token-file if it is private",
            ),
            (404, Some(_)) => (
                format!("there is no {owner} at {host} that this token may see"),
                "check the name, the kind of host, and what the token may read",
            ),
            _ => (
                format!("{host} answers with status {status}"),
                "check the kind of host, and its address (--api), to which nothing must be redirected",
            ),
        };
        Failure::new(message, hint)
    }

    /// Waits, unless it is for too long.
    #[expect(clippy::disallowed_methods, reason = "the host says how long")]
    async fn rest(&self, wait: Duration, reason: &str, tell: &dyn Fn(&str)) -> Result<(), Failure> {
        let (host, seconds) = (self.host(), wait.as_secs());
        if wait > MAX_WAIT {
            let message = format!("{host} asks to wait for {seconds} s");
            return Err(Failure::new(message, "try again then, or use another token"));
        }
        tell(&format!("{host} {reason}: going on in {seconds} s"));
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn host(&self) -> &str {
        self.api.host_str().unwrap_or("the host")
    }
}
