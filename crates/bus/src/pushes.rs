//! Pushes: from the webhook to the controller, and what each brought, from the repo-agent to the notifier.

use futures::future::try_join_all;
use secretscan_model::{RepositoryId, RequestId};
use secretscan_proto::v1;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Bus, BusError, now, topology};

/// A delivery that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Delivered {
    /// When, in milliseconds since the Unix epoch.
    at: i64,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// It is stored: the push will be scanned.
    Taken,
    /// It was taken before.
    Replayed,
}

/// The name of a delivery in keys and message ids. What a host, or somebody else, says its id is may be anything.
fn delivery_key(source: &str, delivery: &str) -> String {
    key(source, &Sha256::digest(delivery.as_bytes()).into())
}

fn key(source: &str, digest: &[u8; 32]) -> String {
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{source}.{name}")
}

impl Bus {
    /// Stores a push, once for each delivery, on disk before this returns. `source` is a name of `A-Z a-z 0-9 _ -`.
    ///
    /// The mark that the delivery was taken is written after the push is stored: a crash in between, or an error, makes
    /// its host deliver it again, and nothing is lost.
    ///
    /// # Errors
    /// [`BusError`] when it may not be stored.
    pub async fn receive_push(&self, push: &v1::PushReceived) -> Result<Reception, BusError> {
        self.receive_under(push, &[delivery_key(&push.source, &push.delivery)]).await
    }

    /// The same for a push that is signed without the id of its delivery: who has caught it may send it again under
    /// another id. So it is known by a hash of what is signed as well, which no two honest pushes may share.
    ///
    /// # Errors
    /// [`BusError`] when it may not be stored.
    pub async fn receive_signed_push(
        &self,
        push: &v1::PushReceived,
        signed: &[u8; 32],
    ) -> Result<Reception, BusError> {
        let names = [key(&push.source, signed), delivery_key(&push.source, &push.delivery)];
        self.receive_under(push, &names).await
    }

    /// Stores a push that was taken before if one of its names was. The first of them is its message's id, and decides
    /// which of several that come at once is taken.
    async fn receive_under(&self, push: &v1::PushReceived, names: &[String]) -> Result<Reception, BusError> {
        let marks = try_join_all(names.iter().map(|name| self.deliveries.get(name))).await?;
        if marks.iter().any(Option::is_some) {
            return Ok(Reception::Replayed);
        }
        let id = names.first().cloned().unwrap_or_default();
        self.send(topology::PUSH_RECEIVED.into(), id, push).await?;
        crate::fail::point(format_args!("push.stored"));
        let taken = Delivered { at: now().0 };
        let marks = try_join_all(names.iter().map(|name| self.deliveries.create(name, &taken))).await?;
        let is_first = marks.first().is_some_and(Option::is_some);
        Ok(if is_first { Reception::Taken } else { Reception::Replayed })
    }

    /// Records which commits the pushes of a request brought. Repeats safely.
    ///
    /// # Errors
    /// [`BusError::Bucket`] when it can't be written.
    pub async fn put_pushed(
        &self,
        repository: &RepositoryId,
        request: &RequestId,
        pushed: &v1::PushedCommits,
    ) -> Result<(), BusError> {
        self.pushed.put(&format!("{repository}.{request}"), pushed).await?;
        crate::fail::point(format_args!("pushed.written"));
        Ok(())
    }

    /// Which commits the pushes of a request brought; `None` as long as they are not listed.
    ///
    /// # Errors
    /// [`BusError`] when it can't be read.
    pub async fn pushed(
        &self,
        repository: &RepositoryId,
        request: &RequestId,
    ) -> Result<Option<v1::PushedCommits>, BusError> {
        Ok(self.pushed.get(&format!("{repository}.{request}")).await?.map(|record| record.value))
    }

    /// Shows what all pushes to a repository brought that are still remembered.
    ///
    /// # Errors
    /// [`BusError`] when it can't be read.
    pub async fn each_pushed(
        &self,
        repository: &RepositoryId,
        mut seen: impl FnMut(v1::PushContent),
    ) -> Result<(), BusError> {
        let all = |_: &str, pushed: v1::PushedCommits| pushed.pushes.into_iter().for_each(&mut seen);
        self.pushed.walk(&format!("{repository}.*"), all).await
    }
}
