//! Telling a server that a hook was skipped, if one is configured.
//!
//! Only Git's configuration and the environment name a server, never a file that a repository brings: its author would
//! learn who works on it. A hook waits for the server, but not for long, and what goes wrong there stops nobody.

#[cfg(feature = "remote")]
use std::time::Duration;

#[cfg(feature = "remote")]
use anyhow::Context;
use secretscan_git::Settings;
use secretscan_report::escape_for_terminal;

use crate::hook::{repository, say};

/// So long a commit waits at most for the server.
#[cfg(feature = "remote")]
const MAX_WAIT: Duration = Duration::from_secs(1);

/// What was let through.
#[cfg_attr(not(feature = "remote"), expect(dead_code, reason = "only a server is told"))]
pub struct Skip {
    /// The name of the hook.
    pub hook: &'static str,
    /// The rules that had found something, or `all`.
    pub rules: Vec<String>,
    /// How many findings; 0 when nothing was scanned.
    pub findings: usize,
}

/// Records it on the server that is configured, if there is one, and says so.
pub fn tell(skip: Skip) {
    match record(skip) {
        Ok(true) => say("secretscan: the server has recorded that"),
        Ok(false) => {}
        Err(error) => {
            say(&format!(
                "secretscan: no server has recorded that: {}",
                escape_for_terminal(&format!("{error:#}"))
            ));
        }
    }
}

/// Gives whether a server is configured.
#[cfg(feature = "remote")]
fn record(skip: Skip) -> anyhow::Result<bool> {
    use secretscan_bus::Bus;
    use secretscan_bus::access::Identity;

    let settings = Settings::read(&repository())?;
    let Some(connection) = crate::connection::ConnectionArguments::of_git(&settings)? else {
        return Ok(false);
    };
    let (uri, event) = describe(skip, &settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = runtime.block_on(async {
        let tell = async {
            let bus = Bus::connect(&connection.config(Identity::Requester)).await?;
            bus.tell_hook_skipped(&uri, event).await
        };
        tokio::time::timeout(MAX_WAIT, tell).await
    });
    // A name that is still being resolved is not waited for.
    runtime.shutdown_background();
    told.with_context(|| format!("it did not within {} s", MAX_WAIT.as_secs()))??;
    Ok(true)
}

/// Gives whether a server is configured.
#[cfg(not(feature = "remote"))]
fn record(_: Skip) -> anyhow::Result<bool> {
    match Settings::read(&repository())?.get("secretscan.nats")? {
        Some(_) => anyhow::bail!("this secretscan was built without the feature `remote`"),
        None => Ok(false),
    }
}

/// Which repository it was, and the rest.
#[cfg(feature = "remote")]
fn describe(
    skip: Skip,
    settings: &Settings,
) -> anyhow::Result<(secretscan_model::RepositoryUri, secretscan_bus::v1::HookSkipped)> {
    use secretscan_model::{RepositoryUri, UriPolicy};

    let checkout = secretscan_git::Checkout::read(&repository())?;
    let url = checkout.remote_url.context("the repository has no remote, so it has no name on the server")?;
    let policy = UriPolicy::ANY;
    // What is wrong with it might repeat it.
    let uri = RepositoryUri::parse(&without_credentials(&url), policy).ok();
    let uri = uri.context("the URL of the remote is none that the server knows repositories by")?;
    let user = |key: &str| settings.get(key).ok().flatten().unwrap_or_default();
    let event = secretscan_bus::v1::HookSkipped {
        hook: skip.hook.to_owned(),
        head: checkout.head.map(|id| id.to_string()).unwrap_or_default(),
        r#ref: checkout.branch.unwrap_or_default(),
        rules: skip.rules,
        findings: u32::try_from(skip.findings).unwrap_or(u32::MAX),
        user_name: user("user.name"),
        user_email: user("user.email"),
        at: crate::output::now().0,
        ..Default::default()
    };
    Ok((uri, event))
}

/// A URL may hold a name and a password, which are no part of the name of a repository.
#[cfg(feature = "remote")]
fn without_credentials(url: &str) -> String {
    let Some((scheme @ ("https" | "http"), rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{}", &rest[end..])
}
