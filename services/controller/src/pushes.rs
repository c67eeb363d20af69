//! Pushes become repository scan requests, few for many.
//!
//! A push joins a request of its repository that waits; only when an agent has claimed that, or it is full, a new one is
//! made. The decision worth knowing: the repository's record names the request before it exists, and whoever comes makes it,
//! so that a thousand pushes at once don't make a thousand requests, and a crash in between is mended by the next push or
//! by redelivery.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use secretscan_bus::queue::{Delivery, Verdict};
use secretscan_bus::{BusError, chain};
use secretscan_model::lifecycle::MAX_PUSHES;
use secretscan_model::{
    CommitId, IdError, Priority, Push, RepositoryId, RepositoryScan, RepositoryUri, RequestId, ScanEvent,
    StepError,
};
use secretscan_proto::v1;
use tokio::sync::{Mutex, MutexGuard};

use crate::{Controller, Refusal, Trouble, is_ref_name, made_id, settled};

impl Controller {
    pub(crate) async fn push(&self, delivery: Arc<Delivery>) -> Verdict {
        settled(self.try_push(&delivery).await)
    }

    async fn try_push(&self, delivery: &Delivery) -> Result<(), Trouble> {
        self.check_size(delivery)?;
        let received: v1::PushReceived = delivery.decode().map_err(|error| Refusal::from(chain(&error)))?;
        let pushes = self.pushes(&received)?;
        let uri = self.parse_uri(&received.uri)?;
        let repository = self.bus.know_repository(&uri).await?;
        let requester = requester(&received, self.config.limits.max_requester_bytes);
        // More than fit into one request come in parts.
        for (part, pushes) in pushes.chunks(MAX_PUSHES).enumerate() {
            let target = Target { repository: &repository, uri: &uri, requester: &requester, part };
            self.join(delivery, &target, pushes).await?;
        }
        Ok(())
    }

    /// Adds pushes to the request that pushes to their repository join now, or to a new one.
    async fn join(&self, delivery: &Delivery, target: &Target<'_>, pushes: &[Push]) -> Result<(), BusError> {
        // One after the other: they would only race for the same record.
        let _turn = self.turns.of(target.repository).await;
        let known = self.bus.repository(target.repository).await?;
        let mut joined = known.and_then(|repository| repository.joined);
        let mut attempt = 0;
        loop {
            if let Some(request) = &joined {
                match self.join_request(request, target, pushes).await {
                    Ok(_) => {
                        tracing::info!(request_id = %request, repo = %target.repository, "a push joined");
                        return Ok(());
                    }
                    // It is past taking more.
                    Err(BusError::Step(StepError::Illegal { .. })) => {}
                    Err(error) => return Err(error),
                }
            }
            let next = target.request(delivery, attempt);
            joined = Some(self.bus.let_join(target.repository, joined.as_ref(), &next).await?);
            attempt += 1;
        }
    }

    async fn join_request(
        &self,
        request: &RequestId,
        target: &Target<'_>,
        pushes: &[Push],
    ) -> Result<RepositoryScan, BusError> {
        let join = ScanEvent::Join { pushes: pushes.to_vec() };
        match self.bus.apply_scan(request, std::slice::from_ref(&join)).await {
            Err(BusError::Missing { .. }) => {
                let (repository, uri) = (target.repository.clone(), target.uri.fetch().to_owned());
                let events = [ScanEvent::StartValidation, ScanEvent::Accept { repository, uri }, join];
                let requester = target.requester.to_owned();
                self.bus.create_scan(request, vec![], Priority::Reactive, requester, &events).await
            }
            joined => joined,
        }
    }

    fn pushes(&self, received: &v1::PushReceived) -> Result<Vec<Push>, Refusal> {
        let (count, max) = (received.refs.len(), self.config.limits.max_refs);
        if count == 0 || count > max {
            return Err(format!("a push has 1 to {max} refs, this one has {count}").into());
        }
        received.refs.iter().map(push).collect()
    }
}

/// Whose turn it is, by repository; several repositories may share one.
#[derive(Default)]
pub(crate) struct Turns([Mutex<()>; 32]);

impl Turns {
    async fn of(&self, repository: &RepositoryId) -> MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(repository) as usize;
        self.0[hash % self.0.len()].lock().await
    }
}

/// What pushes are added to.
struct Target<'a> {
    repository: &'a RepositoryId,
    uri: &'a RepositoryUri,
    requester: &'a str,
    part: usize,
}

impl Target<'_> {
    /// The id of the request that a delivery makes at an attempt; a redelivery gives the same ones.
    fn request(&self, delivery: &Delivery, attempt: u32) -> RequestId {
        let id = format!("{}-{}-{attempt}", made_id(delivery), self.part);
        RequestId::parse(&id).expect("a UUID and two numbers are an id")
    }
}

fn push(pushed: &v1::PushedRef) -> Result<Push, Refusal> {
    let name = &pushed.name;
    if !is_ref_name(name) {
        return Err(format!("{name:?} is not the full name of a ref, such as refs/heads/main").into());
    }
    let id = |text: &str| {
        text.parse::<CommitId>().map_err(|error: IdError| Refusal::from(format!("of {name}: {error}")))
    };
    let before = match pushed.before.as_str() {
        "" => None,
        before => Some(id(before)?),
    };
    Ok(Push { name: name.clone(), before, after: id(&pushed.after)? })
}

fn requester(received: &v1::PushReceived, max_bytes: usize) -> String {
    let mut text = match received.pusher.as_str() {
        "" => format!("a push that {} told of", received.source),
        pusher => format!("a push by {pusher} that {} told of", received.source),
    };
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}
