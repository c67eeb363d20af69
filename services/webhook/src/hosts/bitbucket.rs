//! Bitbucket Cloud's event `repo:push`. One delivery tells of all refs of a push.
//!
//! <https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push>

use secretscan_proto::v1::PushedRef;
use serde::Deserialize;
use url::Url;

use super::{Fields, MAX_REFS, PayloadError, Push, moved, parse, present, pusher};

#[derive(Deserialize)]
struct Payload {
    push: Option<Changes>,
    repository: Option<Repository>,
    actor: Option<Actor>,
}

#[derive(Deserialize)]
struct Changes {
    changes: Option<Vec<Change>>,
}

#[derive(Deserialize)]
struct Change {
    /// `null` when the ref was deleted.
    new: Option<State>,
    /// `null` when it is new.
    old: Option<State>,
}

#[derive(Deserialize)]
struct State {
    r#type: Option<String>,
    name: Option<String>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: Option<String>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Links {
    html: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: Option<String>,
}

#[derive(Deserialize)]
struct Actor {
    nickname: Option<String>,
    display_name: Option<String>,
}

const FIELDS: Fields = Fields {
    name: "push.changes.new.name",
    before: "push.changes.old.target.hash",
    after: "push.changes.new.target.hash",
};
/// The address of the repository's page.
pub(super) const PAGE: &str = "repository.links.html.href";
/// What is not there has an id of zeros elsewhere.
const NONE: &str = "0000000000000000000000000000000000000000";

pub(super) fn read(payload: &[u8]) -> Result<Push, PayloadError> {
    let Payload { push, repository, actor } = parse(payload)?;
    let changes = present(push.and_then(|push| push.changes), "push.changes")?;
    if changes.len() > MAX_REFS {
        return Err(PayloadError::TooManyRefs);
    }
    let mut refs = Vec::new();
    for change in changes {
        refs.extend(changed(change)?);
    }
    let repository = present(repository, "repository")?;
    let (https, ssh) = clone_urls(repository)?;
    let pusher = pusher(actor.and_then(|actor| actor.nickname.or(actor.display_name)));
    Ok(Push { https: Some(https), ssh, refs, pusher })
}

fn changed(Change { new, old }: Change) -> Result<Option<PushedRef>, PayloadError> {
    let Some(new) = new else { return Ok(None) };
    let folder = match present(new.r#type, "push.changes.new.type")?.as_str() {
        "branch" => "refs/heads/",
        "tag" => "refs/tags/",
        _ => return Err(PayloadError::Name { field: "push.changes.new.type" }),
    };
    let name = format!("{folder}{}", present(new.name, FIELDS.name)?);
    let after = present(new.target.and_then(|target| target.hash), FIELDS.after)?;
    let before = match old {
        Some(old) => present(old.target.and_then(|target| target.hash), FIELDS.before)?,
        None => NONE.to_owned(),
    };
    moved(&FIELDS, name, &before, &after)
}

/// The payload has the address of the repository's page, which is that of https, and its name, which follows in that of
/// ssh.
fn clone_urls(repository: Repository) -> Result<(String, Option<String>), PayloadError> {
    let page = present(repository.links.and_then(|links| links.html).and_then(|html| html.href), PAGE)?;
    let host = Url::parse(&page).ok().and_then(|url| url.host_str().map(str::to_owned));
    let ssh = host.zip(repository.full_name).map(|(host, name)| format!("git@{host}:{name}.git"));
    Ok((format!("{}.git", page.trim_end_matches('/')), ssh))
}
