//! GitLab's push and tag push events, of projects, of groups and of the whole instance (system hooks). One delivery tells
//! of one ref.
//!
//! <https://docs.gitlab.com/user/project/integrations/webhook_events/>,
//! <https://docs.gitlab.com/administration/system_hooks/>

use data_encoding::HEXLOWER;
use hyper::HeaderMap;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    Fields, PayloadError, Push, any_header, header, is_id_of_delivery, moved, parse, present, pusher,
};

#[derive(Deserialize)]
struct Payload {
    /// Absent in system hooks.
    object_kind: Option<String>,
    event_name: Option<String>,
    r#ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    user_username: Option<String>,
    user_name: Option<String>,
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Project {
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
}

const FIELDS: Fields = Fields { name: "ref", before: "before", after: "after" };

pub(super) fn may_tell_push(headers: &HeaderMap) -> bool {
    matches!(header(headers, "x-gitlab-event"), Some("Push Hook" | "Tag Push Hook" | "System Hook"))
}

/// `webhook-id` comes with a signature, which covers it; `Idempotency-Key` came in GitLab 17. The older X-Gitlab-Event-UUID
/// is shared by pushes that a webhook caused, so there the body tells them apart.
pub(super) fn delivery(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if let Some(id) = any_header(headers, &["webhook-id", "idempotency-key"]) {
        return is_id_of_delivery(id).then(|| id.to_owned());
    }
    let id = header(headers, "x-gitlab-event-uuid").filter(|id| is_id_of_delivery(id))?;
    Some(format!("{id}.{}", HEXLOWER.encode(&Sha256::digest(body))))
}

pub(super) fn read(payload: &[u8]) -> Result<Option<Push>, PayloadError> {
    let payload: Payload = parse(payload)?;
    let kind = present(payload.object_kind.or(payload.event_name), "object_kind")?;
    if !matches!(kind.as_str(), "push" | "tag_push") {
        return Ok(None);
    }
    let project = present(payload.project, "project")?;
    let (before, after) = (present(payload.before, FIELDS.before)?, present(payload.after, FIELDS.after)?);
    let moved = moved(&FIELDS, present(payload.r#ref, FIELDS.name)?, &before, &after)?;
    Ok(Some(Push {
        https: project.git_http_url,
        ssh: project.git_ssh_url,
        refs: moved.into_iter().collect(),
        pusher: pusher(payload.user_username.or(payload.user_name)),
    }))
}
