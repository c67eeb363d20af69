//! The ids that requests and schedules get from their resources, and the way back.

use kube::api::ObjectMeta;
use secretscan_model::lifecycle::RUN_PREFIX;
use secretscan_model::{IdError, RequestId, ScheduleId};

/// What ids begin with, for people to see where they come from.
const PREFIX: &str = "kubernetes-";
/// The longest name of a requester, in bytes: the controller's limit.
const MAX_REQUESTER: usize = 256;

fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

/// The id of the request of a resource.
///
/// # Errors
/// [`IdError`] when its uid is none that the API server makes.
pub(crate) fn request_id(meta: &ObjectMeta) -> Result<RequestId, IdError> {
    RequestId::parse(&format!("{PREFIX}{}", uid(meta)))
}

/// The id of the schedule of a resource.
///
/// # Errors
/// As [`request_id`].
pub(crate) fn schedule_id(meta: &ObjectMeta) -> Result<ScheduleId, IdError> {
    ScheduleId::parse(&format!("{PREFIX}{}", uid(meta)))
}

/// The uid of the resource that a request, a schedule or a request of a schedule belongs to, if it is one of a cluster.
pub(crate) fn uid_of(id: &str) -> Option<&str> {
    match id.strip_prefix(RUN_PREFIX) {
        Some(run) => run.strip_prefix(PREFIX)?.rsplitn(3, '-').nth(2),
        None => id.strip_prefix(PREFIX),
    }
}

/// Who asks, for people to read.
pub(crate) fn requester(meta: &ObjectMeta) -> String {
    let (namespace, name) =
        (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let mut requester = format!("kubernetes {namespace}/{name}");
    // Names are ASCII.
    requester.truncate(MAX_REQUESTER);
    requester
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_back_to_their_resource() {
        let uid = "0f3b2c1d-1111-4222-8333-444455556666";
        let meta = ObjectMeta { uid: Some(uid.into()), ..ObjectMeta::default() };
        assert_eq!(uid_of(request_id(&meta).unwrap().as_str()), Some(uid));
        let schedule = schedule_id(&meta).unwrap();
        assert_eq!(uid_of(schedule.as_str()), Some(uid));
        assert_eq!(uid_of(&format!("{RUN_PREFIX}{schedule}-1764000000000-12")), Some(uid));
        for other in [
            "",
            "scheduled-nightly-1764000000000-3",
            "0f3b2c1d-1111-4222-8333-444455556666",
            "scheduled-kubernetes",
        ] {
            assert_eq!(uid_of(other), None, "{other}");
        }
        assert!(request_id(&ObjectMeta { uid: Some("a.b".into()), ..ObjectMeta::default() }).is_err());
    }
}
