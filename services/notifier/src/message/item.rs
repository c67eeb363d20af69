//! One thing that people are told of.

use secretscan_bus::dead_letters::{DeadLetter, Retry};
use secretscan_bus::{Bus, BusError, now, v1};
use secretscan_detect::Severity;
use secretscan_model::{FindingId, RepositoryId, RepositoryUri, UriPolicy};
use serde::Serialize;

use crate::Outside;
use crate::config::Occasion;

/// Longer texts are cut: paths, excerpts and reasons come from strangers.
const MAX_CHARS: usize = 300;
/// So many names are told of a list.
const MAX_NAMES: usize = 5;

/// One thing that people are told of. Its JSON is what templates and webhooks get.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    /// The occasion.
    pub(crate) kind: Occasion,
    /// What is told once, within a channel.
    #[serde(skip)]
    pub(crate) key: String,
    /// The name of the repository, if it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository: Option<String>,
    /// Where there is more to see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
    /// When it happened, RFC 3339, UTC.
    pub(crate) at: String,
    #[serde(flatten)]
    pub(crate) detail: Detail,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(crate) enum Detail {
    Finding {
        fingerprint: String,
        rule_id: String,
        description: String,
        severity: Severity,
        confidence: String,
        path: String,
        line: u32,
        commit: String,
        author: String,
        /// The line with the secret masked.
        excerpt: String,
    },
    UnknownCommits {
        count: u64,
        refs: Vec<String>,
        authors: Vec<String>,
        /// When they were written, as the commits say; empty where the event does not tell.
        first_written: String,
        last_written: String,
        schedule_id: String,
        request_id: String,
    },
    FailedRequest {
        request_id: String,
        reason: String,
    },
    DeadLetter {
        number: u64,
        subject: String,
        reason: String,
    },
}

impl Item {
    /// How bad it is, if it is a finding.
    pub(crate) fn severity(&self) -> Option<Severity> {
        match self.detail {
            Detail::Finding { severity, .. } => Some(severity),
            Detail::UnknownCommits { .. } | Detail::FailedRequest { .. } | Detail::DeadLetter { .. } => None,
        }
    }
}

/// Makes items of events and dead letters.
pub(crate) struct Reader {
    bus: Bus,
    outside: Outside,
}

impl Reader {
    pub(crate) fn new(bus: Bus, outside: Outside) -> Self {
        Self { bus, outside }
    }

    /// A finding that is new and about which nothing was decided that settles it; `None` for others.
    pub(crate) async fn finding(
        &self,
        event: &v1::FindingRecorded,
        at_ms: i64,
    ) -> Result<Option<Item>, BusError> {
        let Ok(id) = event.repository_id.parse::<RepositoryId>() else { return Ok(None) };
        if !event.is_new {
            return Ok(None);
        }
        let known = self.bus.finding(&id, &FindingId(event.finding_id.clone())).await?;
        // Decided about for another file of the repository, such as before it was renamed.
        if let Some(known) = &known
            && self.bus.triage(&id, &known.secret()).await?.state(now()).is_settled()
        {
            return Ok(None);
        }
        let introduced = known.as_ref().map(|finding| finding.introduced());
        let detail = Detail::Finding {
            fingerprint: event.fingerprint.clone(),
            rule_id: event.rule_id.clone(),
            description: known
                .as_ref()
                .map_or_else(|| event.rule_id.clone(), |known| cut(&known.description)),
            severity: Severity::of(&event.severity),
            confidence: event.confidence.clone(),
            path: cut(&event.path),
            line: event.line,
            commit: event.commit.clone(),
            author: introduced.map_or_else(String::new, |occurrence| cut(&occurrence.author.name)),
            excerpt: introduced.map_or_else(String::new, |occurrence| cut(&occurrence.excerpt)),
        };
        let key = format!("finding.{id}.{}", event.finding_id);
        let repository = self.name(&id).await?;
        Ok(Some(Item { kind: Occasion::Finding, key, repository, link: None, at: time(at_ms), detail }))
    }

    /// A request that failed; `None` when it is of no repository: that was refused at the door, and is a dead letter.
    pub(crate) async fn failure(&self, event: &v1::RepositoryScanChanged) -> Result<Option<Item>, BusError> {
        let Ok(id) = event.repository_id.parse::<RepositoryId>() else { return Ok(None) };
        let Ok(request) = event.request_id.parse() else { return Ok(None) };
        Ok(Some(Item {
            kind: Occasion::FailedRequest,
            key: format!("failed-request.{request}"),
            repository: self.name(&id).await?,
            link: self.outside.link(&request),
            at: time(event.at),
            detail: Detail::FailedRequest { request_id: event.request_id.clone(), reason: cut(&event.note) },
        }))
    }

    /// Commits that no push told of.
    pub(crate) async fn unknown_commits(&self, event: v1::UnknownCommits) -> Result<Option<Item>, BusError> {
        let Ok(id) = event.repository_id.parse::<RepositoryId>() else { return Ok(None) };
        let Ok(request) = event.request_id.parse() else { return Ok(None) };
        let written = |seconds: i64| match seconds {
            0 => String::new(),
            seconds => time(seconds.saturating_mul(1_000)),
        };
        let some = |names: Vec<String>| names.iter().take(MAX_NAMES).map(|name| cut(name)).collect();
        Ok(Some(Item {
            kind: Occasion::UnknownCommits,
            // An attempt that was lost may have told of fewer.
            key: format!("unknown-commits.{request}.{}", event.count),
            repository: self.name(&id).await?,
            link: self.outside.link(&request),
            at: time(event.at),
            detail: Detail::UnknownCommits {
                count: event.count,
                refs: some(event.refs),
                authors: some(event.authors),
                first_written: written(event.first_written),
                last_written: written(event.last_written),
                schedule_id: event.schedule_id,
                request_id: event.request_id,
            },
        }))
    }

    /// A dead letter. What it holds is not told, but for the repository that it names.
    pub(crate) async fn dead_letter(&self, letter: &DeadLetter) -> Result<Item, BusError> {
        let repository = match letter.retry() {
            Some(Retry::Scan(request)) => match request.repository_id.parse() {
                Ok(id) => self.name(&id).await?,
                Err(_) => {
                    let uri = RepositoryUri::parse(&request.uri, UriPolicy::default());
                    uri.ok().map(|uri| uri.name().to_owned())
                }
            },
            Some(Retry::Cancel(_)) | None => None,
        };
        Ok(Item {
            kind: Occasion::DeadLetter,
            key: format!("dead-letter.{}", letter.number),
            repository,
            link: None,
            at: time(letter.at.0),
            detail: Detail::DeadLetter {
                number: letter.number,
                subject: cut(&letter.origin),
                reason: cut(&letter.reason),
            },
        })
    }

    async fn name(&self, id: &RepositoryId) -> Result<Option<String>, BusError> {
        Ok(self.bus.repository(id).await?.map(|repository| repository.name))
    }
}

/// What strangers wrote, in one line of a bounded length.
fn cut(text: &str) -> String {
    let mut cut: String =
        text.chars().take(MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        cut.push('…');
    }
    cut
}

/// RFC 3339, UTC.
pub(crate) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|time| time.to_string()).unwrap_or_default()
}
