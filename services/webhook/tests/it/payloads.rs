//! Payloads in the forms that the hosts document, shortened to one commit.

use serde_json::{Value, json};

/// An id of nothing.
pub const NONE: &str = "0000000000000000000000000000000000000000";

/// An id that is made of a number.
pub fn id(number: u64) -> String {
    format!("{number:040x}")
}

fn commit(id: &str) -> Value {
    json!({
        "id": id,
        "message": "A change",
        "timestamp": "2026-03-01T09:30:00+01:00",
        "author": { "name": "Kim", "email": "kim@mail.example" },
        "added": ["config.yaml"], "modified": [], "removed": [],
    })
}

/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#push>
pub fn github(name: &str, before: &str, after: &str) -> Value {
    json!({
        "ref": name,
        "before": before,
        "after": after,
        "base_ref": null,
        "created": before == NONE,
        "deleted": after == NONE,
        "forced": false,
        "compare": "https://github.example/acme/shop/compare/a...b",
        "commits": [commit(after)],
        "head_commit": if after == NONE { Value::Null } else { commit(after) },
        "repository": {
            "id": 35_129_377,
            "name": "shop",
            "full_name": "acme/shop",
            "private": true,
            "owner": { "name": "acme", "login": "acme", "id": 6_752_317 },
            "html_url": "https://github.example/acme/shop",
            "git_url": "git://github.example/acme/shop.git",
            "ssh_url": "git@github.example:acme/shop.git",
            "clone_url": "https://github.example/acme/shop.git",
            "default_branch": "main",
            "pushed_at": 1_772_354_100,
        },
        "pusher": { "name": "kim", "email": "kim@mail.example" },
        "sender": { "login": "kim", "id": 6_752_318, "type": "User" },
    })
}

/// <https://docs.gitlab.com/user/project/integrations/webhook_events/#push-events>
pub fn gitlab(kind: &str, name: &str, before: &str, after: &str) -> Value {
    json!({
        "object_kind": kind,
        "event_name": kind,
        "before": before,
        "after": after,
        "ref": name,
        "ref_protected": true,
        "checkout_sha": if after == NONE { Value::Null } else { after.into() },
        "message": null,
        "user_id": 4,
        "user_name": "Kim Park",
        "user_username": "kim",
        "user_email": null,
        "project_id": 15,
        "project": {
            "id": 15,
            "name": "Shop",
            "web_url": "https://gitlab.example/acme/shop",
            "git_ssh_url": "git@gitlab.example:acme/shop.git",
            "git_http_url": "https://gitlab.example/acme/shop.git",
            "namespace": "Acme",
            "visibility_level": 0,
            "path_with_namespace": "acme/shop",
            "default_branch": "main",
        },
        "commits": [commit(after)],
        "total_commits_count": 1,
    })
}

/// <https://docs.gitea.com/usage/webhooks>
pub fn gitea(name: &str, before: &str, after: &str) -> Value {
    json!({
        "ref": name,
        "before": before,
        "after": after,
        "compare_url": "https://gitea.example/acme/shop/compare/a...b",
        "commits": [commit(after)],
        "repository": {
            "id": 140,
            "owner": { "id": 1, "login": "acme", "full_name": "Acme", "username": "acme" },
            "name": "shop",
            "full_name": "acme/shop",
            "private": false,
            "html_url": "https://gitea.example/acme/shop",
            "ssh_url": "ssh://git@gitea.example:2222/acme/shop.git",
            "clone_url": "https://gitea.example/acme/shop.git",
            "default_branch": "main",
            "created_at": "2026-02-26T04:29:06-05:00",
            "updated_at": "2026-03-01T09:31:40-05:00",
        },
        "pusher": { "id": 1, "login": "kim", "full_name": "Kim Park", "username": "kim" },
        "sender": { "id": 1, "login": "kim", "full_name": "Kim Park", "username": "kim" },
    })
}

/// A branch or a tag of Bitbucket at a commit.
pub fn bitbucket_state(kind: &str, name: &str, commit: &str) -> Value {
    json!({
        "type": kind,
        "name": name,
        "target": { "type": "commit", "hash": commit, "message": "A change", "parents": [] },
        "links": { "html": { "href": "https://bitbucket.example/acme/shop/branch/main" } },
    })
}

/// <https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push>; each change is what is new and what was.
pub fn bitbucket(changes: &[(Value, Value)]) -> Value {
    let change = |(new, old): &(Value, Value)| {
        json!({
            "new": new, "old": old,
            "created": old.is_null(), "closed": new.is_null(), "forced": false, "truncated": false,
            "commits": [],
        })
    };
    json!({
        "push": { "changes": changes.iter().map(change).collect::<Vec<_>>() },
        "repository": {
            "type": "repository",
            "name": "shop",
            "full_name": "acme/shop",
            "uuid": "{673a6070-3421-46c9-9d48-90745f7bfe8e}",
            "scm": "git",
            "is_private": true,
            "links": {
                "self": { "href": "https://api.bitbucket.example/2.0/repositories/acme/shop" },
                "html": { "href": "https://bitbucket.example/acme/shop" },
            },
        },
        "actor": { "type": "user", "display_name": "Kim Park", "nickname": "kim" },
    })
}
