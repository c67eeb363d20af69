//! The threads of one piece of work: how they are started, and how they are told to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secretscan_git::ChildLimits;
use secretscan_model::Priority;
use secretscan_service::nicely;
use tracing::Span;

use crate::error::WorkError;

/// How exactly the time of work is measured.
const TICK: Duration = Duration::from_millis(100);

/// Tells the threads of one piece of work to stop, and knows how long it takes.
#[derive(Default)]
pub(crate) struct Halt {
    pub(crate) flag: AtomicBool,
    is_paused: AtomicBool,
}

/// While this lives, the work waits for others.
pub(crate) struct Pause<'a>(&'a Halt);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.is_paused.store(false, Ordering::Relaxed);
    }
}

impl Halt {
    pub(crate) fn pause(&self) -> Pause<'_> {
        self.is_paused.store(true, Ordering::Relaxed);
        Pause(self)
    }

    /// Returns once the work has taken this long, pauses not counted.
    pub(crate) async fn overrun(&self, limit: Duration) {
        let mut ticks = tokio::time::interval(TICK);
        let mut worked = Duration::ZERO;
        while worked < limit {
            ticks.tick().await;
            if !self.is_paused.load(Ordering::Relaxed) {
                worked += TICK;
            }
        }
    }

    /// Children that end when the work is to stop.
    pub(crate) fn children(&self) -> ChildLimits<'_> {
        ChildLimits { stop: &self.flag, ..ChildLimits::NONE }
    }

    pub(crate) fn now(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

/// Does work on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkError> + Send + 'static,
) -> Result<T, WorkError> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await?
}

/// The same for work that may take long, which leaves the processor to what is more urgent.
pub(crate) async fn blocking_nicely<T: Send + 'static>(
    priority: Priority,
    work: impl FnOnce() -> Result<T, WorkError> + Send + 'static,
) -> Result<T, WorkError> {
    blocking(move || nicely(priority.niceness(), work)).await
}
