//! The payload of GitHub's event `push`, a form that Gitea, Forgejo and Gogs share. One delivery tells of one ref.
//!
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads#push>,
//! <https://docs.gitea.com/usage/webhooks>, <https://forgejo.org/docs/latest/user/webhooks/>,
//! <https://gogs.io/docs/features/webhook>

use serde::Deserialize;

use super::{Fields, PayloadError, Push, moved, parse, present, pusher};

#[derive(Deserialize)]
struct Payload {
    r#ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    repository: Option<Repository>,
    pusher: Option<Pusher>,
}

#[derive(Deserialize)]
struct Repository {
    clone_url: Option<String>,
    ssh_url: Option<String>,
}

#[derive(Deserialize)]
struct Pusher {
    /// GitHub's.
    name: Option<String>,
    /// Gitea's, Forgejo's and Gogs'.
    login: Option<String>,
}

const FIELDS: Fields = Fields { name: "ref", before: "before", after: "after" };

pub(super) fn read(payload: &[u8]) -> Result<Push, PayloadError> {
    let Payload { r#ref, before, after, repository, pusher: by } = parse(payload)?;
    let repository = present(repository, "repository")?;
    let (before, after) = (present(before, FIELDS.before)?, present(after, FIELDS.after)?);
    let moved = moved(&FIELDS, present(r#ref, FIELDS.name)?, &before, &after)?;
    Ok(Push {
        https: repository.clone_url,
        ssh: repository.ssh_url,
        refs: moved.into_iter().collect(),
        pusher: pusher(by.and_then(|by| by.name.or(by.login))),
    })
}
