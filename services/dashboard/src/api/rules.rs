//! `/rules`: the built-in ones.

use std::sync::Arc;

use secretscan_detect::Rule;
use secretscan_model::RuleId;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Path;
use super::{List, Problem};
use crate::auth::Actor;
use crate::rotation;

/// A rule
#[derive(Clone, Serialize, ToSchema)]
pub struct RuleView {
    /// The id.
    id: String,
    /// What it looks for.
    description: String,
    /// `critical`, `high`, `medium` or `low`.
    severity: &'static str,
    /// How sure it is: `high`, `medium` or `low`.
    confidence: &'static str,
    /// Free labels.
    tags: Vec<String>,
    /// Where the provider describes this kind of secret, and how to make and revoke one.
    documentation: Option<String>,
    /// What to do about a secret that it found, in this order.
    rotate: &'static [&'static str],
}

impl RuleView {
    fn new(rule: &Rule) -> Self {
        Self {
            id: RuleId::fit(&rule.id).to_string(),
            description: rule.description.clone(),
            severity: rule.severity.as_str(),
            confidence: rule.confidence.as_str(),
            tags: rule.tags.clone(),
            documentation: rule.documentation.clone(),
            rotate: rotation::steps(&rule.id),
        }
    }
}

/// A built-in rule.
pub fn find(id: &str) -> Option<RuleView> {
    all().find(|rule| rule.id == id)
}

fn all() -> impl Iterator<Item = RuleView> {
    static RULES: std::sync::OnceLock<Arc<[RuleView]>> = std::sync::OnceLock::new();
    let rules = RULES.get_or_init(|| {
        let set = secretscan_rules::builtin();
        set.rules().iter().filter(|rule| !rule.is_helper).map(RuleView::new).collect()
    });
    rules.iter().cloned()
}

/// The built-in rules
#[utoipa::path(get, path = "/rules", tag = "rules", responses(
    (status = 200, body = List<RuleView>), (status = 304, description = "As If-None-Match says"),
    (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(_actor: Actor) -> axum::Json<List<RuleView>> {
    List::whole(all().collect())
}

/// A built-in rule
#[utoipa::path(get, path = "/rules/{id}", tag = "rules",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,128}$")),
    responses((status = 200, body = RuleView), (status = 304, description = "As If-None-Match says"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn get(_actor: Actor, Path(id): Path<String>) -> Result<axum::Json<RuleView>, Problem> {
    find(&id).map(axum::Json).ok_or_else(|| Problem::not_found(format!("there is no built-in rule {id:?}")))
}
