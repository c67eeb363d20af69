//! `/events`: what happens, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::stream::{self, Stream};
use secretscan_bus::changes::{Change, Changes};
use secretscan_bus::{BusError, Stop, chain};
use serde::Deserialize;

use super::Problem;
use crate::auth::{Actor, Scope};
use crate::state::App;

/// What all events say, of which only this matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    #[serde(default)]
    repository_id: String,
}

/// A stream of events
///
/// The data of an event is JSON as `proto/secretscan/v1/events.proto` has it, its type the subject after `secretscan.event.`, as far
/// as that is the same for all, such as `repository-scan`. It begins now, or after the event that `Last-Event-ID` names.
#[utoipa::path(get, path = "/events", tag = "operations",
    params(("Last-Event-ID" = Option<u64>, Header, description = "The event to go on after")),
    responses((status = 200, body = String, content_type = "text/event-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn stream(
    actor: Actor,
    State(app): State<Arc<App>>,
    Extension(stop): Extension<Stop>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>, Problem> {
    let last = headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| id.parse::<u64>().ok()));
    let last = match last {
        Some(Some(last)) => last,
        Some(None) => return Err(Problem::bad_request("Last-Event-ID is not the id of an event")),
        None => app.bus.last_event().await?,
    };
    let changes = app.bus.events(last.saturating_add(1)).await?;
    Ok(Sse::new(told(stop, actor.scope, changes)).keep_alive(KeepAlive::default()))
}

/// The events of the scope, until the dashboard stops or NATS fails: the reader comes again, and goes on where it was.
fn told(stop: Stop, scope: Scope, changes: Changes) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let state = (changes, Vec::<Event>::new().into_iter());
    stream::unfold(state, move |(mut changes, mut waiting)| {
        let (stop, scope) = (stop.clone(), scope.clone());
        async move {
            loop {
                if let Some(event) = waiting.next() {
                    return Some((Ok(event), (changes, waiting)));
                }
                let page = tokio::select! {
                    page = next(&mut changes) => page,
                    () = stop.cancelled() => return None,
                };
                match page {
                    Ok(page) => {
                        let events: Vec<Event> =
                            page.iter().filter_map(|change| event(change, &scope)).collect();
                        waiting = events.into_iter();
                    }
                    Err(error) => {
                        tracing::debug!(error = chain(&error), "a reader of events has to come again");
                        return None;
                    }
                }
            }
        }
    })
}

async fn next(changes: &mut Changes) -> Result<Vec<Change>, BusError> {
    loop {
        let page = changes.next().await?;
        if !page.is_empty() {
            return Ok(page);
        }
        changes.wait().await;
    }
}

fn event(change: &Change, scope: &Scope) -> Option<Event> {
    let value = change.value.as_ref()?;
    let kind = change.key.strip_prefix("secretscan.event.")?;
    // An alert has a kind of its own.
    let kind = kind.strip_prefix("alert.").unwrap_or(kind).split('.').next().unwrap_or_default();
    if *scope != Scope::All {
        let about: About = serde_json::from_slice(value).ok()?;
        about.repository_id.parse().ok().filter(|id| scope.holds(id))?;
    }
    let data = std::str::from_utf8(value).ok().filter(|data| !data.contains(['\n', '\r']))?;
    Some(Event::default().id(change.place.to_string()).event(kind).data(data))
}
