//! Waiting for what happens in another task or process.

use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long to wait between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Looks until there is something, and returns it. `description` says what is waited for.
///
/// # Panics
/// When the time is over: the test has failed. The message has the description and the line of the call.
#[track_caller]
pub fn eventually<T>(
    deadline: Duration,
    description: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        let mut looks = 0;
        loop {
            match timeout_at(end, look()).await {
                Ok(Some(found)) => return found,
                Ok(None) => looks += 1,
                Err(_) => {}
            }
            let is_over = Instant::now() >= end;
            assert!(!is_over, "{caller}: not within {deadline:?}, {looks} looks: {description}");
            pause().await;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where a test waits without an event to wait for"
)]
async fn pause() {
    sleep(POLL).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn returns_the_first_thing_there_is() {
        let mut looks = 0;
        let found = eventually(Duration::from_secs(5), "the third look", async || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found.await, 3);
    }

    #[tokio::test(flavor = "current_thread")]
    #[should_panic(expected = "5 o'clock")]
    async fn says_what_did_not_happen() {
        eventually(Duration::from_millis(30), "5 o'clock", async || None::<()>).await;
    }

    #[tokio::test(flavor = "current_thread")]
    #[should_panic(expected = "0 looks: an answer")]
    async fn a_look_that_hangs_ends_too() {
        eventually(Duration::from_millis(30), "an answer", async || {
            std::future::pending::<Option<()>>().await
        })
        .await;
    }
}
