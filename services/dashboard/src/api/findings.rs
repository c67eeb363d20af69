//! `/findings`

use std::sync::Arc;

use axum::extract::State;
use secretscan_model::finding::BadFindingId;
use secretscan_model::lifecycle::Decision;
use secretscan_model::{FindingId, Occurrence, RepositoryId, TriageState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Json, Path, Query, commas, limit, time};
use super::rules::{self, RuleView};
use super::{List, Problem};
use crate::actions::{Actions, Decided};
use crate::auth::Actor;
use crate::index::queries::findings::{self, FindingFilter, FindingOrder, FindingRow, SharedSecret};
use crate::state::App;

/// How bad it would be.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SeverityName {
    Critical,
    High,
    Medium,
    Low,
}

/// Where a finding stands.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum StandingName {
    /// At the tip of a branch.
    Open,
    /// In commits that refs reach, at no tip.
    OnlyInHistory,
    /// Gone from every ref.
    Resolved,
    /// The rules find it no more.
    ResolvedByRules,
    /// Back after it was gone.
    Reopened,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum TriageName {
    /// Nothing, or what was accepted until a time that has passed.
    Open,
    /// It must be dealt with.
    Confirmed,
    /// It is of no use any more.
    Revoked,
    /// It is no secret.
    FalsePositive,
    /// It may stay for a time.
    Accepted,
}

/// The name of a value, as it is written in JSON.
fn name(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Which findings.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FindingsQuery {
    /// Of this repository, by its id.
    repository: Option<String>,
    /// Of this rule.
    rule: Option<String>,
    /// Of these severities, with commas between them.
    #[serde(default, deserialize_with = "commas")]
    #[param(inline, style = Form, explode = false, min_items = 1)]
    severity: Vec<SeverityName>,
    /// Which stand there, with commas between them.
    #[serde(default, deserialize_with = "commas")]
    #[param(inline, style = Form, explode = false, min_items = 1)]
    standing: Vec<StandingName>,
    /// About which this was decided, with commas between them.
    #[serde(default, deserialize_with = "commas")]
    #[param(inline, style = Form, explode = false, min_items = 1)]
    triage: Vec<TriageName>,
    /// Also those that nobody has to look at: gone, or settled.
    #[serde(default)]
    closed: bool,
    /// Whose introducing commit this e-mail address wrote.
    author: Option<String>,
    /// First seen before this time.
    #[param(format = DateTime)]
    before: Option<String>,
    /// First seen at this time or after.
    #[param(format = DateTime)]
    after: Option<String>,
    /// Whose path contains this.
    path: Option<String>,
    /// With this keyed hash of the secret.
    hash: Option<String>,
    /// In which order.
    #[serde(default)]
    #[param(inline)]
    sort: FindingOrder,
    /// Rows of the page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

impl FindingsQuery {
    /// Rows of the page, if that was said.
    pub(super) fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// As the index takes it.
    ///
    /// # Errors
    /// When a time is none.
    pub(super) fn filter(&self) -> Result<FindingFilter, Problem> {
        let at = |name, text: &Option<String>| {
            text.as_deref().map(|text| time(name, text).map(|at| at.0)).transpose()
        };
        Ok(FindingFilter {
            repository: self.repository.clone(),
            rule: self.rule.clone(),
            severities: self.severity.iter().map(|one| format!("{one:?}").to_lowercase()).collect(),
            standings: self.standing.iter().map(name).collect(),
            triages: self.triage.iter().map(name).collect(),
            include_closed: self.closed,
            email: self.author.clone(),
            before: at("before", &self.before)?,
            after: at("after", &self.after)?,
            path: self.path.clone(),
            hash: self.hash.clone(),
        })
    }
}

/// Findings; those that are open unless `closed` is true
#[utoipa::path(get, path = "/findings", tag = "findings", params(FindingsQuery), responses(
    (status = 200, body = List<FindingRow>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(
    actor: Actor,
    State(app): State<Arc<App>>,
    Query(query): Query<FindingsQuery>,
) -> Result<axum::Json<List<FindingRow>>, Problem> {
    let (filter, limit) = (query.filter()?, limit(query.limit)?);
    let cursor = query.cursor.as_deref();
    let page = findings::list(&app.index, &actor.scope, &filter, query.sort, limit, cursor).await?;
    let total = findings::count(&app.index, &actor.scope, &filter).await?;
    Ok(List::new(page, Some(total)))
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Rows of the page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

/// Secrets that have open findings in several repositories, by their keyed hash
#[utoipa::path(get, path = "/shared-secrets", tag = "findings", params(PageQuery), responses(
    (status = 200, body = List<SharedSecret>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub async fn shared(
    actor: Actor,
    State(app): State<Arc<App>>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<List<SharedSecret>>, Problem> {
    let limit = limit(query.limit)?;
    let page = findings::shared(&app.index, &actor.scope, limit, query.cursor.as_deref()).await?;
    Ok(List::new(page, None))
}

/// A place where a secret is
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaceView {
    /// The commit.
    commit: String,
    /// The line, from 1.
    line: u32,
    /// The column of the first character, from 1.
    column: u32,
    /// Who wrote the commit.
    author: String,
    /// And the e-mail address.
    email: String,
    /// When, by its author.
    at: String,
    /// The line, shortened, the secret masked.
    excerpt: String,
    /// How the file's form of the secret is undone, such as `base64`.
    decoded_from: Option<String>,
}

impl PlaceView {
    fn new(place: &Occurrence) -> Self {
        Self {
            commit: place.commit.to_string(),
            line: place.line,
            column: place.column,
            author: place.author.name.clone(),
            email: place.author.email.clone(),
            at: secretscan_model::Timestamp(place.author.time.saturating_mul(1_000)).to_rfc3339(),
            excerpt: place.excerpt.clone(),
            decoded_from: place.decoded_from.clone(),
        }
    }
}

/// A decision
#[derive(Serialize, ToSchema)]
pub struct DecisionView {
    /// What was decided.
    state: String,
    /// Until when, of what is accepted.
    expires: Option<String>,
    /// Why.
    reason: String,
    /// Who.
    by: String,
    /// When.
    at: String,
}

impl DecisionView {
    fn list(decisions: &[Decision]) -> Vec<Self> {
        let view = |decision: &Decision| Self {
            state: decision.state.name().to_owned(),
            expires: match &decision.state {
                TriageState::Accepted { expires } => Some(expires.to_rfc3339()),
                _ => None,
            },
            reason: decision.reason.clone(),
            by: decision.by.clone(),
            at: decision.at.to_rfc3339(),
        };
        decisions.iter().map(view).collect()
    }
}

/// A finding with all that is known of it
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingView {
    /// As in the list.
    #[serde(flatten)]
    row: FindingRow,
    /// What the rule looks for.
    description: String,
    /// The earliest places, the first one introduced it.
    places: Vec<PlaceView>,
    /// How many later places there are.
    later_places: usize,
    /// What was decided about the secret, the last one last.
    decisions: Vec<DecisionView>,
    /// The rule, and what to do about what it finds.
    rule: Option<RuleView>,
}

/// A finding
#[utoipa::path(get, path = "/findings/{repository}/{id}", tag = "findings",
    params(("repository" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$"),
        ("id" = String, Path, pattern = r"^v2-[0-9a-f]{32}\.[0-9a-f]{16}$")),
    responses((status = 200, body = FindingView), (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path((repository, id)): Path<(RepositoryId, String)>,
) -> Result<axum::Json<FindingView>, Problem> {
    let missing = || Problem::not_found(format!("there is no finding {repository}.{id}"));
    let row = findings::get(&app.index, &actor.scope, repository.as_str(), &id).await?;
    let row = row.ok_or_else(missing)?;
    // What the index knows is a key.
    let finding = app.bus.finding(&repository, &FindingId(id.clone())).await?.ok_or_else(missing)?;
    let triage = app.bus.triage(&repository, &finding.secret()).await?;
    Ok(axum::Json(FindingView {
        rule: rules::find(&row.rule_id),
        row,
        places: finding.occurrences.iter().map(PlaceView::new).collect(),
        later_places: finding.later.places.len(),
        decisions: DecisionView::list(&triage.decisions),
        description: finding.description,
    }))
}

/// What is decided
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDecision {
    /// What is decided.
    state: TriageName,
    /// Why; needed for what is accepted.
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: String,
    /// Until when it is accepted.
    #[schema(format = DateTime)]
    expires: Option<String>,
}

impl NewDecision {
    fn state(&self) -> Result<TriageState, Problem> {
        let expires = self.expires.as_deref().map(|text| time("expires", text)).transpose()?;
        match (self.state, expires) {
            (TriageName::Accepted, Some(expires)) => Ok(TriageState::Accepted { expires }),
            (TriageName::Accepted, None) => Err(Problem::bad_request("what is accepted needs expires")),
            (_, Some(_)) => Err(Problem::bad_request("only what is accepted expires")),
            (TriageName::Open, None) => Ok(TriageState::Open),
            (TriageName::Confirmed, None) => Ok(TriageState::Confirmed),
            (TriageName::Revoked, None) => Ok(TriageState::Revoked),
            (TriageName::FalsePositive, None) => Ok(TriageState::FalsePositive),
        }
    }
}

/// The id of a finding, which becomes part of a key.
fn finding_id(text: &str) -> Result<FindingId, Problem> {
    text.parse().map_err(|error: BadFindingId| Problem::bad_request(error.to_string()))
}

/// Decide about the secret of a finding, in whichever files of its repository it stands
#[utoipa::path(post, path = "/findings/{repository}/{id}/triage", tag = "findings",
    request_body = NewDecision,
    params(("repository" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$"),
        ("id" = String, Path, pattern = r"^v2-[0-9a-f]{32}\.[0-9a-f]{16}$")),
    responses((status = 200, body = List<DecisionView>),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn decide(
    actor: Actor,
    State(app): State<Arc<App>>,
    Path((repository, text)): Path<(RepositoryId, String)>,
    Json(new): Json<NewDecision>,
) -> Result<axum::Json<List<DecisionView>>, Problem> {
    let (state, id) = (new.state()?, finding_id(&text)?);
    let triage = Actions::new(&app, &actor).decide(&repository, &id, &state, &new.reason).await?;
    Ok(List::whole(DecisionView::list(&triage.decisions)))
}

/// A finding, by its names
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FindingName {
    /// The id of the repository.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,128}$", value_type = String)]
    repository_id: RepositoryId,
    /// The identity within it.
    #[schema(pattern = r"^v2-[0-9a-f]{32}\.[0-9a-f]{16}$")]
    id: String,
}

/// One decision about several findings
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkDecision {
    /// About which.
    #[schema(min_items = 1, max_items = 500)]
    findings: Vec<FindingName>,
    /// What is decided.
    decision: NewDecision,
}

/// What came of one of several decisions
#[derive(Serialize, ToSchema)]
pub struct DecidedView {
    /// About which.
    finding: FindingName,
    /// Why it was not recorded; absent when it was.
    error: Option<String>,
}

impl DecidedView {
    fn new(decided: Decided) -> Self {
        let finding = FindingName { repository_id: decided.repository, id: decided.id.0 };
        Self { finding, error: decided.outcome.err().map(|error| secretscan_bus::chain(&error)) }
    }
}

/// Decide the same about several findings, each for itself
#[utoipa::path(post, path = "/findings/triage", tag = "findings", request_body = BulkDecision,
    responses((status = 200, body = List<DecidedView>),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn decide_all(
    actor: Actor,
    State(app): State<Arc<App>>,
    Json(bulk): Json<BulkDecision>,
) -> Result<axum::Json<List<DecidedView>>, Problem> {
    let state = bulk.decision.state()?;
    let named = bulk.findings.into_iter().map(|named| Ok((named.repository_id, finding_id(&named.id)?)));
    let named: Vec<_> = named.collect::<Result<_, Problem>>()?;
    if named.is_empty() {
        return Err(Problem::bad_request("name at least one finding"));
    }
    let decided = Actions::new(&app, &actor).decide_all(named, &state, &bulk.decision.reason).await?;
    Ok(List::whole(decided.into_iter().map(DecidedView::new).collect()))
}
