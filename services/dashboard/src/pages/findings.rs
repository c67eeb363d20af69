//! Findings: the list, one of them, and secrets that several repositories share.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{Redirect, Response};
use minijinja::{Value, context};
use secretscan_model::{Finding, FindingId, RepositoryId, Timestamp, TriageState};

use super::error::PageError;
use super::form::{Fields, Form, Params, local_path};
use super::render::{page, shown};
use super::repositories;
use crate::actions::Actions;
use crate::auth::Visitor;
use crate::index::queries::findings::{FindingFilter, FindingOrder, FindingRow, count, list, shared};
use crate::rotation;
use crate::state::App;

const ROWS: usize = 50;
/// Other places of a secret on the page of a finding.
const ELSEWHERE: usize = 100;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

const TOPICS: &str = "findings,triage,standings,rule-sets";

pub(super) async fn index(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Params(params): Params,
) -> Result<Response, PageError> {
    let scope = &visitor.actor.scope;
    let filter = filter(&app, &visitor, &params).await?;
    let order = match params.text("sort") {
        "newest" => FindingOrder::Newest,
        "oldest" => FindingOrder::Oldest,
        _ => FindingOrder::Severity,
    };
    let cursor = params.some("cursor");
    let found = list(&app.index, scope, &filter, order, ROWS, cursor.as_deref()).await?;
    let total = count(&app.index, scope, &filter).await?;
    let about = context! {
        section => "findings",
        topics => TOPICS,
        rows => shown(&found.rows),
        total => shown(&total),
        is_filtered => params.values().keys().any(|name| *name != "sort" && *name != "cursor"),
        pages => params.pages("/findings", found.next.as_deref()),
        here => params.url("/findings", cursor.as_deref()),
        export => export(&filter),
        templates => app.report_templates.names(),
        severities => params.all("severity"),
        rules => rule_ids(),
        repositories => repositories::names(&app, scope).await?,
        fields => shown(&params.values()),
    };
    Ok(page(Some(&visitor), "findings.html", "Findings", about))
}

async fn filter(app: &App, visitor: &Visitor, params: &Fields) -> Result<FindingFilter, PageError> {
    let repository = match params.some("repository") {
        // What names nothing leaves nothing.
        Some(text) => Some(repositories::find(app, &visitor.actor.scope, &text).await?.unwrap_or(text)),
        None => None,
    };
    let days: Option<i64> = params.text("age").parse().ok();
    Ok(FindingFilter {
        repository,
        rule: params.some("rule"),
        severities: params.all("severity"),
        standings: params.all("standing"),
        triages: params.all("triage"),
        include_closed: params.text("closed") == "1",
        email: params.some("author"),
        before: None,
        after: days.map(|days| secretscan_bus::now().0 - days.saturating_mul(DAY_MS)),
        path: params.some("path"),
        hash: params.some("hash"),
    })
}

/// The same findings as the API exports them.
fn export(filter: &FindingFilter) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let lists =
        [("severity", &filter.severities), ("standing", &filter.standings), ("triage", &filter.triages)];
    for (name, values) in lists {
        if !values.is_empty() {
            query.append_pair(name, &values.join(","));
        }
    }
    let after = filter.after.map(|at| Timestamp(at).to_rfc3339());
    let texts = [
        ("repository", &filter.repository),
        ("rule", &filter.rule),
        ("author", &filter.email),
        ("path", &filter.path),
        ("hash", &filter.hash),
        ("after", &after),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.append_pair("closed", if filter.include_closed { "true" } else { "false" });
    query.finish()
}

fn rule_ids() -> Vec<String> {
    secretscan_rules::builtin().rules().iter().map(|rule| rule.id.clone()).collect()
}

/// A finding, if it is in the visitor's repositories.
async fn find(
    app: &App,
    visitor: &Visitor,
    repository: &str,
    id: String,
) -> Result<(RepositoryId, Finding), PageError> {
    let missing = || PageError::not_found("finding");
    let repository: RepositoryId = repository.parse().map_err(|_| missing())?;
    if !visitor.actor.scope.holds(&repository) {
        return Err(missing());
    }
    let id: FindingId = id.parse().map_err(|_| missing())?;
    let finding = app.bus.finding(&repository, &id).await?.ok_or_else(missing)?;
    Ok((repository, finding))
}

pub(super) async fn show(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Path((repository, id)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let (repository, finding) = find(&app, &visitor, &repository, id).await?;
    let triage = app.bus.triage(&repository, &finding.secret()).await?;
    let record = app.bus.repository(&repository).await?.ok_or_else(|| PageError::not_found("repository"))?;
    let same = FindingFilter {
        hash: Some(finding.secret_hash.0.clone()),
        include_closed: true,
        ..FindingFilter::default()
    };
    let scope = &visitor.actor.scope;
    let all = list(&app.index, scope, &same, FindingOrder::Severity, ELSEWHERE, None).await?.rows;
    let is_this = |row: &&FindingRow| row.repository_id == repository.as_str() && row.id == finding.id.0;
    let row = all.iter().find(is_this);
    let elsewhere: Vec<Value> = all.iter().filter(|row| !is_this(row)).map(shown).collect();
    let rule = secretscan_rules::builtin().rules().iter().find(|rule| rule.id == finding.rule_id.as_str()).map(
        |rule| context! { documentation => rule.documentation.as_deref(), description => rule.description.as_str() },
    );
    let state = triage.state(secretscan_bus::now());
    let about = context! {
        section => "findings",
        topics => TOPICS,
        fingerprint => finding.id.fingerprint(),
        finding => shown(&finding),
        path => finding.display_path().into_owned(),
        repository => shown(&record),
        commit_base => commit_base(&record.uri),
        row => row.map(|row| shown(&row)),
        later => finding.later.places.len(),
        elsewhere,
        rule,
        rotate => rotation::steps(finding.rule_id.as_str()).to_vec(),
        triage => state.name(),
        decisions => triage.decisions.iter().rev().map(|decision| shown(&decision)).collect::<Vec<_>>(),
        here => format!("/findings/{repository}/{}", finding.id.0),
    };
    Ok(page(Some(&visitor), "finding.html", &format!("{} in {}", finding.rule_id, record.name), about))
}

/// Where the pages of commits of a repository begin, on hosts that are known to have such pages.
fn commit_base(uri: &str) -> Option<String> {
    let url = url::Url::parse(uri).ok().filter(|url| url.scheme() == "https")?;
    let path = url.path().trim_end_matches('/').trim_end_matches(".git");
    let base = format!("https://{}{path}", url.host_str()?);
    match url.host_str()? {
        "github.com" | "codeberg.org" | "gitea.com" => Some(format!("{base}/commit/")),
        "gitlab.com" => Some(format!("{base}/-/commit/")),
        "bitbucket.org" => Some(format!("{base}/commits/")),
        _ => None,
    }
}

pub(super) async fn groups(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Params(params): Params,
) -> Result<Response, PageError> {
    let cursor = params.some("cursor");
    let found = shared(&app.index, &visitor.actor.scope, ROWS, cursor.as_deref()).await?;
    let about = context! {
        section => "findings",
        topics => TOPICS,
        rows => shown(&found.rows),
        pages => params.pages("/findings/shared", found.next.as_deref()),
    };
    Ok(page(Some(&visitor), "shared.html", "Shared secrets", about))
}

/// Decides about the findings that are picked, one or many, and shows the page again that they were picked on.
pub(super) async fn decide(State(app): State<Arc<App>>, form: Form) -> Result<Redirect, PageError> {
    let Form { visitor, fields } = form;
    let state = match fields.text("state") {
        "open" => TriageState::Open,
        "confirmed" => TriageState::Confirmed,
        "revoked" => TriageState::Revoked,
        "false-positive" => TriageState::FalsePositive,
        "accepted" => {
            let missing = || PageError::bad("Say until which day it is accepted.");
            TriageState::Accepted { expires: end_of_day(fields.text("until")).ok_or_else(missing)? }
        }
        other => return Err(PageError::bad(format!("{other:?} is nothing that can be decided."))),
    };
    let picked: Option<Vec<_>> = fields
        .all("pick")
        .iter()
        .map(|pick| {
            let (repository, id) = pick.split_once('.')?;
            Some((repository.parse().ok()?, id.parse().ok()?))
        })
        .collect();
    let picked = picked.filter(|picked| !picked.is_empty());
    let picked = picked.ok_or_else(|| PageError::bad("Select at least one finding."))?;
    let actions = Actions::new(&app, &visitor.actor);
    for decided in actions.decide_all(picked, &state, fields.text("reason")).await? {
        decided.outcome?;
    }
    Ok(Redirect::to(&local_path(fields.text("back"), "/findings")))
}

/// The end of a day that a form names, in UTC.
fn end_of_day(date: &str) -> Option<Timestamp> {
    let date: jiff::civil::Date = date.parse().ok()?;
    let end = date.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(end.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_linked_where_there_are_pages_of_them() {
        let base = commit_base("https://github.com/acme/shop.git");
        assert_eq!(base.as_deref(), Some("https://github.com/acme/shop/commit/"));
        assert_eq!(commit_base("https://git.example/acme/shop"), None);
        assert_eq!(commit_base("file:///tmp/shop"), None);
    }

    #[test]
    fn an_export_is_asked_for_as_the_api_wants_it() {
        let filter = FindingFilter {
            severities: vec!["high".into(), "low".into()],
            path: Some("a b".into()),
            after: Some(0),
            ..FindingFilter::default()
        };
        let query = "severity=high%2Clow&path=a+b&after=1970-01-01T00%3A00%3A00Z&closed=false";
        assert_eq!(export(&filter), query);
    }

    #[test]
    fn a_day_ends_when_the_next_begins() {
        assert_eq!(end_of_day("1970-01-01"), Some(Timestamp(DAY_MS)));
        assert_eq!(end_of_day("1970-13-01"), None);
    }
}
