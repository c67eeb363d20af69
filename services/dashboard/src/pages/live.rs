//! Tells pages which lists have changed: they fetch themselves again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::{Stream, StreamExt, stream};
use secretscan_bus::Stop;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use crate::auth::Visitor;
use crate::state::App;

/// Proxies cut what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Names of sources, with commas.
    #[serde(default)]
    topics: String,
}

/// One event for each commit to the index that touches what is asked for. It names what changed, not how, so that nobody
/// learns of what is not his.
pub(super) async fn stream(
    _: Visitor,
    State(app): State<Arc<App>>,
    Extension(stop): Extension<Stop>,
    Query(wanted): Query<Wanted>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let first = Event::default().event("open").data("");
    let events = stream::unfold(app.index.changes(), move |mut changes| {
        let wanted = wanted.topics.clone();
        async move {
            loop {
                let topics = match changes.recv().await {
                    Ok(changed) => changed.sources.iter().map(|source| source.name()).collect(),
                    // Too many to name: everything may have changed.
                    Err(RecvError::Lagged(_)) => wanted.split(',').collect::<Vec<_>>(),
                    Err(RecvError::Closed) => return None,
                };
                let topics: Vec<_> =
                    topics.into_iter().filter(|topic| wanted.split(',').any(|name| name == *topic)).collect();
                if !topics.is_empty() {
                    return Some((Event::default().event("changed").data(topics.join(",")), changes));
                }
            }
        }
    });
    let events = stream::once(async { first }).chain(events).map(Ok);
    Sse::new(events.take_until(stop.cancelled_owned())).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
