//! What both kinds of resources have in common: they are watched, looked at when they or their records change, and their status
//! and finalizer are kept.
//!
//! Everything follows from what the API server and the buckets say now, never from what an event said, so looking once more
//! does no harm. Each write names the version of the resource that it was decided by; the API server refuses it when there is a
//! newer one, which is then looked at in turn.

use std::collections::HashSet;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Action, ReconcileRequest, applier, trigger_self};
use kube::runtime::reflector::{self, ObjectRef, Store, reflector};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use secretscan_bus::door::AskError;
use secretscan_bus::{Bus, BusError, Stop, chain};
use secretscan_model::IdError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::ids::uid_of;

/// Keeps a resource that is deleted until its request or schedule is ended.
pub(crate) const FINALIZER: &str = "secretscan.dev/operator";
/// How the API server knows who wrote.
const MANAGER: &str = "secretscan-operator";
/// A status is written so often at most, unless the resource itself changes.
const GATHER: Duration = Duration::from_secs(1);
/// A record that changes without a hint is seen after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// What failed is tried again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Resources looked at at once.
const CONCURRENCY: u16 = 32;

/// Why a resource could not be looked at. It is tried again.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The API server refuses, or can't be reached.
    #[error("{action} failed")]
    Kubernetes {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// The API server does not answer.
    #[error("{action} took longer than {} s", WRITE_TIMEOUT.as_secs())]
    Timeout {
        /// What was tried.
        action: &'static str,
    },
    /// The records can't be read.
    #[error("the records of secretscan can't be read")]
    Bus(#[from] BusError),
    /// The door does not answer.
    #[error("the door of secretscan does not answer")]
    Ask(#[from] AskError),
    /// It has no uid.
    #[error("the resource has no uid that an id can be made of")]
    Id(#[from] IdError),
}

/// A kind of resource.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    type Status: PartialEq + Send + Sync;
    /// The buckets of its records.
    const BUCKETS: &'static [&'static str];

    /// What it says now; `None` before it was looked at.
    fn status(&self) -> Option<&Self::Status>;
    /// The same with another.
    fn with_status(self, status: Self::Status) -> Self;
    /// Whether there is nothing to do for it any more.
    fn is_final(&self) -> bool;
    /// Asks for what it wants, if that was not asked for, and gives what there is to say.
    fn observe(
        &self,
        bus: &Bus,
        writer: &Writer<'_, Self>,
    ) -> impl Future<Output = Result<Observed<Self::Status>, Error>> + Send;
    /// Ends what it has asked for; it is deleted.
    fn release(
        meta: &ObjectMeta,
        resource: Option<&Self>,
        bus: &Bus,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What there is to say of a resource.
pub(crate) struct Observed<S> {
    /// All of it.
    pub(crate) status: S,
    /// Why that is not the last word for now: the door did not answer.
    pub(crate) trouble: Option<AskError>,
}

type Guarded<K> = DeserializeGuard<K>;

struct Context {
    client: Client,
    bus: Bus,
}

/// Looks after all resources of a kind until stopped. What is in hand is finished first.
pub(crate) async fn run<K: Kind>(client: &Client, bus: &Bus, stop: &Stop) {
    let api: Api<Guarded<K>> = Api::all(client.clone());
    let (store, writer) = reflector::store();
    let watched = watcher(api, watcher::Config::default()).default_backoff();
    let touched = trigger_self(reflector(writer, watched).applied_objects(), ())
        .inspect_err(|error| {
            tracing::warn!(error = chain(error), "the API server can't be watched for a moment")
        })
        // It begins again by itself.
        .filter_map(async |touched| touched.ok());
    let hinted =
        stream::select_all(K::BUCKETS.iter().map(|bucket| {
            hints::<K>(bus.clone(), bucket, store.clone()).map(ReconcileRequest::from).boxed()
        }));
    let queue = stream::select(touched, hinted).map(Ok::<_, std::convert::Infallible>).boxed();
    let context = Arc::new(Context { client: client.clone(), bus: bus.clone() });
    let listed = store.clone();
    let looking = applier(
        |object, context| Box::pin(async move { reconcile::<K>(&object, &context).await }),
        |_, error, _| retry(error),
        context,
        store,
        queue.take_until(stop.clone().cancelled_owned()),
        controller::Config::default().concurrency(CONCURRENCY),
    )
    .for_each(async |looked| match looked {
        Ok(_) | Err(controller::Error::ObjectNotFound(_)) => {}
        Err(controller::Error::ReconcilerFailed(Error::Kubernetes { source, .. }, object))
            if is_overtaken(&source) =>
        {
            tracing::debug!(%object, "there is a newer version");
        }
        Err(error) => tracing::warn!(error = chain(&error), "trying again"),
    });
    // Before the first list there is nothing in hand, and nothing would end it.
    let stopped_unlisted = async {
        stop.cancelled().await;
        if listed.wait_until_ready().now_or_never().is_some() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = looking => {}
        () = stopped_unlisted => {}
    }
}

fn retry(error: &Error) -> Action {
    match error {
        // The newer version comes by itself; this is in case that it came before.
        Error::Kubernetes { source, .. } if is_overtaken(source) => Action::requeue(GATHER),
        _ => Action::requeue(RETRY_AFTER),
    }
}

/// Whether there is a newer version of the resource, or none any more.
fn is_overtaken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

/// The resources whose records have changed, each once in a while.
fn hints<K: Kind>(
    bus: Bus,
    bucket: &'static str,
    store: Store<Guarded<K>>,
) -> impl Stream<Item = ObjectRef<Guarded<K>>> {
    let mut ticks = interval(GATHER);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let keys = futures::stream::once(async move { bus.written(bucket).await })
        .filter_map(move |keys| {
            let late =
                |error: &BusError| tracing::warn!(error = chain(error), bucket, "changes are seen late");
            std::future::ready(keys.inspect_err(late).ok())
        })
        .flatten();
    stream::unfold((keys.boxed(), ticks, HashSet::new()), gathered).flat_map(move |uids| {
        let resources = if uids.is_empty() { Vec::new() } else { store.state() };
        let is_meant = move |resource: &Arc<Guarded<K>>| {
            resource.meta().uid.as_ref().is_some_and(|uid| uids.contains(uid))
        };
        stream::iter(resources.into_iter().filter(is_meant).map(|resource| ObjectRef::from_obj(&*resource)))
    })
}

/// The uids in all keys that have come since the last time, and of those before once more: a hint may come before what it tells of.
async fn gathered<S: Stream<Item = String> + Unpin>(
    (mut keys, mut ticks, mut uids): (S, Interval, HashSet<String>),
) -> Option<(HashSet<String>, (S, Interval, HashSet<String>))> {
    ticks.tick().await;
    let mut new = HashSet::new();
    while let Some(Some(key)) = keys.next().now_or_never() {
        new.extend(uid_of(&key).map(str::to_owned));
    }
    uids.extend(new.iter().cloned());
    Some((uids, (keys, ticks, new)))
}

async fn reconcile<K: Kind>(object: &Guarded<K>, context: &Context) -> Result<Action, Error> {
    let meta = object.meta();
    let writer = Writer::<K>::new(context, meta);
    let has_finalizer = object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    let resource = object.0.as_ref();
    if meta.deletion_timestamp.is_some() {
        if has_finalizer {
            K::release(meta, resource.ok(), &context.bus).await?;
            writer.write_finalizers(false).await?;
        }
        return Ok(Action::await_change());
    }
    let resource = match resource {
        Ok(resource) => resource,
        Err(invalid) => {
            // The API server knows another schema than this operator.
            tracing::warn!(
                resource = K::kind(&()).as_ref(),
                namespace = meta.namespace,
                name = meta.name,
                error = invalid.error,
                "a resource can't be read; apply the CustomResourceDefinition of this version"
            );
            return Ok(Action::await_change());
        }
    };
    if resource.is_final() {
        if has_finalizer {
            writer.write_finalizers(false).await?;
        }
        return Ok(Action::await_change());
    }
    if !has_finalizer {
        // First, so that nothing that was asked for is forgotten. The resource comes again with it.
        writer.write_finalizers(true).await?;
        return Ok(Action::await_change());
    }
    let Observed { status, trouble } = resource.observe(&context.bus, &writer).await?;
    if resource.status() != Some(&status) {
        writer.write_status(resource, status).await?;
    }
    match trouble {
        Some(trouble) => Err(trouble.into()),
        None => Ok(Action::requeue(LOOK_AGAIN)),
    }
}

/// Writes to one resource, on condition that it is still the one that was read.
pub(crate) struct Writer<'a, K: Kind> {
    api: Api<K>,
    meta: &'a ObjectMeta,
}

impl<'a, K: Kind> Writer<'a, K> {
    fn new(context: &Context, meta: &'a ObjectMeta) -> Self {
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        Self { api: Api::namespaced(context.client.clone(), namespace), meta }
    }

    async fn write_finalizers(&self, with_ours: bool) -> Result<(), Error> {
        let others =
            self.meta.finalizers.iter().flatten().map(String::as_str).filter(|name| *name != FINALIZER);
        let finalizers: Vec<&str> = others.chain(with_ours.then_some(FINALIZER)).collect();
        let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": self.meta.resource_version } });
        let (name, params) =
            (self.name(), PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() });
        // The answer is of no use, and may be one that can't be read.
        self.written("writing finalizers", self.api.patch_metadata(name, &params, &Patch::Merge(patch))).await
    }

    /// An error unless the resource is still the one that was read. Asking because of one that is deleted meanwhile would make
    /// what nobody ends.
    pub(crate) async fn is_current(&self) -> Result<(), Error> {
        self.write_finalizers(true).await
    }

    async fn write_status(&self, resource: &K, status: K::Status) -> Result<(), Error> {
        // With the version that it was read in.
        let object = resource.clone().with_status(status);
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        self.written("writing a status", self.api.replace_status(self.name(), &params, &object)).await
    }

    fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    async fn written<T>(
        &self,
        action: &'static str,
        write: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<(), Error> {
        match tokio::time::timeout(WRITE_TIMEOUT, write).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(Error::Kubernetes { action, source: Box::new(source) }),
            Err(_) => Err(Error::Timeout { action }),
        }
    }
}
