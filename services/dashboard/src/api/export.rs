//! `/exports/{format}`: findings in the report formats of the commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use secretscan_bus::now;
use secretscan_model::{Finding, FindingId, RepositoryId};
use secretscan_report::{Format, Found, Redaction, Report, ReportedFinding, Summary, TextStyle};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Problem;
use super::extract::{Path, Query, limit};
use super::findings::FindingsQuery;
use crate::auth::Actor;
use crate::index::queries::{findings, repositories};
use crate::state::App;

/// At most so many findings are exported at once.
const MAX_EXPORTED: usize = 10_000;
/// So many are read at a time.
const AT_ONCE: usize = 32;

/// A report format.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FormatName {
    Text,
    Json,
    Jsonl,
    Sarif,
    Csv,
    Junit,
    Gitlab,
    Html,
    Markdown,
}

impl FormatName {
    /// The format, its media type, and how its files are named.
    fn format(self) -> (Format, &'static str, &'static str) {
        match self {
            Self::Text => (Format::Text(TextStyle::PLAIN), "text/plain; charset=utf-8", "txt"),
            Self::Json => (Format::Json, "application/json", "json"),
            Self::Jsonl => (Format::Jsonl, "application/jsonl", "jsonl"),
            Self::Sarif => (Format::Sarif, "application/sarif+json", "sarif"),
            Self::Csv => (Format::Csv, "text/csv; charset=utf-8", "csv"),
            Self::Junit => (Format::Junit, "application/xml", "xml"),
            Self::Gitlab => (Format::Gitlab, "application/json", "json"),
            Self::Html => (Format::Html, "text/html; charset=utf-8", "html"),
            Self::Markdown => (Format::Markdown, "text/markdown; charset=utf-8", "md"),
        }
    }
}

/// Findings in a report format: the most severe first, at most 10,000. `limit`, `sort` and `cursor` change nothing
#[utoipa::path(get, path = "/exports/{format}", tag = "findings",
    params(("format" = inline(FormatName), Path), FindingsQuery),
    responses((status = 200, description = "The report", content((String = "text/plain"), (Object = "application/json"),
            (String = "application/jsonl"), (Object = "application/sarif+json"), (String = "text/csv"),
            (String = "application/xml"), (String = "text/html"), (String = "text/markdown"))),
        (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn export(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(format): Path<FormatName>,
    Query(query): Query<FindingsQuery>,
) -> Result<Response, Problem> {
    exported(&actor, &app, &query, format.format()).await
}

/// Findings as a template of the configuration (`dashboard.report_templates`) shows them; else as in the other formats
#[utoipa::path(get, path = "/exports/templates/{name}", tag = "findings",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$"), FindingsQuery),
    responses((status = 200, description = "The report", content((String = "text/plain"), (Object = "application/json"),
            (String = "text/csv"), (String = "application/xml"), (String = "text/html"), (String = "text/markdown"))),
        (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn export_by_template(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(query): Query<FindingsQuery>,
) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("no template has this name; see dashboard.report_templates");
    let template = app.report_templates.get(&name).ok_or_else(unknown)?;
    let format = (template.format.clone(), template.media_type, template.extension.as_str());
    exported(&actor, &app, &query, format).await
}

async fn exported(
    actor: &Actor,
    app: &App,
    query: &FindingsQuery,
    (format, media_type, extension): (Format, &'static str, &str),
) -> Result<Response, Problem> {
    // It changes nothing, and must be right all the same.
    limit(query.limit())?;
    let keys = findings::keys(&app.index, &actor.scope, &query.filter()?, MAX_EXPORTED).await?;
    let read = keys.into_iter().filter_map(|(repository, id)| {
        let repository: RepositoryId = repository.parse().ok()?;
        let bus = app.bus.clone();
        Some(async move {
            let finding = bus.finding(&repository, &FindingId(id)).await?;
            Ok::<_, secretscan_bus::BusError>(finding.map(|finding| (repository, finding)))
        })
    });
    let found: Vec<_> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
    let mut by_repository: BTreeMap<RepositoryId, Vec<Finding>> = BTreeMap::new();
    for (repository, finding) in found.into_iter().flatten() {
        by_repository.entry(repository).or_default().push(finding);
    }
    let mut parts = Vec::with_capacity(by_repository.len());
    for (id, findings) in by_repository {
        if let Some(repository) = repositories::get(&app.index, &actor.scope, id.as_str()).await? {
            parts.push((repository.name, repository.rule_set, repository.commits_scanned, findings));
        }
    }
    let written = tokio::task::spawn_blocking(move || write(&parts, &format)).await;
    let document = written.map_err(|_| Problem::internal("the report was broken off"))??;
    let name = format!("attachment; filename=\"secretscan-findings.{extension}\"");
    Ok(([(header::CONTENT_TYPE, media_type), (header::CONTENT_DISPOSITION, name.as_str())], document)
        .into_response())
}

/// The name of a repository, the version of its rules, its scanned commits, and its findings.
type Part = (String, String, i64, Vec<Finding>);

fn report((name, rule_set, commits, findings): &Part) -> Report<'_> {
    let found: Vec<Found<'_>> = findings.iter().map(|finding| Found { finding, secret: None }).collect();
    let commits = commits.unsigned_abs();
    Report {
        tool_version: env!("CARGO_PKG_VERSION"),
        rule_set_version: rule_set,
        repository: Some(name),
        findings: ReportedFinding::list(&found, Redaction::WHOLE),
        summary: Summary { commits, started: now(), ended: now(), ..Summary::default() },
    }
}

fn write(parts: &[Part], format: &Format) -> Result<Vec<u8>, Problem> {
    let mut document = Vec::new();
    let reports: Vec<Report<'_>> = parts.iter().map(report).collect();
    secretscan_report::write(&reports, format, &mut document)
        .map_err(|error| Problem::internal(error.to_string()))?;
    Ok(document)
}
