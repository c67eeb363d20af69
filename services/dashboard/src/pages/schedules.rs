//! Schedules, and when they run next.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use minijinja::context;
use secretscan_bus::now;
use secretscan_model::calendar::{Calendar, parse_jitter};
use secretscan_model::lifecycle::{Missed, OnUnknown};
use secretscan_model::{ScheduleId, Timestamp};
use serde_json::json;

use super::chart::{Strip, calendar};
use super::error::PageError;
use super::form::{Fields, Form, Params};
use super::render::{page, shown};
use super::repositories;
use super::requests::target;
use crate::actions::{Actions, NewSchedule, Plan, ScheduleChange};
use crate::auth::Visitor;
use crate::index::queries::schedules::{ScheduleRow, list};
use crate::state::App;

const ROWS: usize = 50;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// What the calendar shows.
const DAYS: i64 = 7;
const LINES: usize = 20;
/// Runs within so long after another one are shown as one: closer together they would stand on one another.
const MARK_MS: i64 = 45 * 60 * 1_000;

pub(super) async fn index(
    visitor: Visitor,
    State(app): State<Arc<App>>,
    Params(params): Params,
) -> Result<Response, PageError> {
    shown_with(&app, &visitor, &params, None).await
}

async fn shown_with(
    app: &App,
    visitor: &Visitor,
    params: &Fields,
    error: Option<String>,
) -> Result<Response, PageError> {
    let scope = &visitor.actor.scope;
    let repository = match params.some("repository") {
        Some(text) if error.is_none() => repositories::find(app, scope, &text).await?,
        _ => None,
    };
    let cursor = params.some("cursor");
    let found = list(&app.index, scope, repository.as_deref(), ROWS, cursor.as_deref()).await?;
    let about = context! {
        section => "schedules",
        topics => "schedules",
        calendar => strips(&found.rows),
        rows => shown(&found.rows),
        is_filtered => repository.is_some(),
        error,
        pages => params.pages("/schedules", found.next.as_deref()),
        repositories => repositories::names(app, scope).await?,
        fields => shown(&params.values()),
    };
    Ok(page(Some(visitor), "schedules.html", "Schedules", about))
}

/// When the schedules run within the next days; nothing when none does.
fn strips(rows: &[ScheduleRow]) -> Option<minijinja::Value> {
    // From the beginning of today.
    let start = now().0 - now().0.rem_euclid(DAY_MS);
    let end = start + DAYS * DAY_MS;
    let strips: Vec<Strip> = rows
        .iter()
        .filter(|row| !row.is_paused)
        .take(LINES)
        .filter_map(|row| {
            let calendar = Calendar::parse(&row.cron, &row.time_zone).ok()?;
            // Those that would stand on one another are one mark.
            let next = |at: &Timestamp| calendar.next_after(Timestamp(at.0 + MARK_MS));
            let times = std::iter::successors(calendar.next_after(now()), next).take_while(|at| at.0 < end);
            let mark = |at: Timestamp| {
                let part = (at.0 - start) as f64 / (end - start) as f64;
                (part, format!("{}: {}", row.repository, at.to_rfc3339()))
            };
            Some(Strip { name: row.repository.clone(), marks: times.map(mark).collect() })
        })
        .collect();
    let name = |day: i64| {
        let at = jiff::Timestamp::from_millisecond(start + day * DAY_MS).ok()?;
        Some(at.strftime("%a %d %b").to_string())
    };
    let days: Vec<String> = (0..DAYS).filter_map(name).collect();
    let says = format!("When {} schedules run within the next {DAYS} days", strips.len());
    (!strips.is_empty()).then(|| calendar(&strips, &days, &says))
}

/// Says of a form that is being filled in what it lacks, or when it runs first.
pub(super) async fn check(_: Visitor, Params(params): Params) -> Response {
    let said = match Calendar::parse(params.text("cron"), params.text("time_zone")) {
        Ok(calendar) => match calendar.next_after(now()) {
            Some(at) => json!({ "hint": format!("The first run is at {}", at.to_rfc3339()) }),
            None => json!({ "error": "it never runs" }),
        },
        Err(error) => json!({ "error": error.to_string() }),
    };
    axum::Json(said).into_response()
}

pub(super) async fn create(State(app): State<Arc<App>>, form: Form) -> Result<Response, PageError> {
    let Form { visitor, fields } = form;
    let made = match new_schedule(&app, &visitor, &fields).await {
        Ok(new) => Actions::new(&app, &visitor.actor).create_schedule(&new).await.map_err(PageError::from),
        Err(error) => Err(error),
    };
    match made {
        Ok(_) => Ok(Redirect::to("/schedules").into_response()),
        Err(error) => {
            let (status, text) = error.into_parts();
            Ok((status, shown_with(&app, &visitor, &fields, Some(text)).await?).into_response())
        }
    }
}

async fn new_schedule(app: &App, visitor: &Visitor, fields: &Fields) -> Result<NewSchedule, PageError> {
    Calendar::parse(fields.text("cron"), fields.text("time_zone"))
        .map_err(|error| PageError::bad(error.to_string()))?;
    parse_jitter(fields.some("jitter").as_deref().unwrap_or("0"))
        .map_err(|error| PageError::bad(error.to_string()))?;
    let id = fields.some("id").map(|id| id.parse::<ScheduleId>()).transpose();
    Ok(NewSchedule {
        id: id.map_err(|error| PageError::bad(format!("The id can't be used: {error}")))?,
        target: target(app, visitor, fields.text("repository")).await?,
        refs: fields.words("refs"),
        plan: Plan {
            cron: fields.text("cron").to_owned(),
            time_zone: fields.text("time_zone").to_owned(),
            jitter: fields.text("jitter").to_owned(),
            on_unknown: match fields.text("on_unknown") {
                "alert" => OnUnknown::Alert,
                "scan" => OnUnknown::Scan,
                _ => OnUnknown::Both,
            },
            missed: if fields.text("missed") == "skip" { Missed::Skip } else { Missed::Once },
        },
    })
}

pub(super) async fn change(
    State(app): State<Arc<App>>,
    Path((id, verb)): Path<(String, String)>,
    form: Form,
) -> Result<Redirect, PageError> {
    let change = match verb.as_str() {
        "pause" => ScheduleChange::Pause,
        "resume" => ScheduleChange::Resume,
        "remove" => ScheduleChange::Remove,
        "run-now" => ScheduleChange::RunNow,
        _ => return Err(PageError::not_found("page")),
    };
    let id: ScheduleId = id.parse().map_err(|_| PageError::not_found("schedule"))?;
    Actions::new(&app, &form.visitor.actor).change_schedule(&id, change).await?;
    Ok(Redirect::to("/schedules"))
}
