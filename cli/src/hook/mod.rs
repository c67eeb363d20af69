//! `secretscan hook`: what Git runs before a commit and a push, and how it gets there. One file for each hook;
//! [`check`] has what they share, [`install`] puts them in place.
//!
//! Silent while there is nothing to say. Whatever goes wrong stops Git, unless `secretscan.onFailure` says otherwise.

mod check;
mod commit_msg;
mod install;
mod manager;
mod pre_commit;
mod pre_push;
mod record;
mod script;
mod server;
mod settings;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::exit::Outcome;
use crate::failure::{self, Failure};
use crate::hook::check::{Check, CheckArguments, Sources};
use crate::hook::record::Skip;
use crate::hook::settings::{OnFailure, Settings, SkippedRules};

const EXIT_CODES: &str = "Exit codes: 0 clean, 1 secrets found, 2 error; Git stops on both.\n\
    Git configuration: secretscan.onFailure = block|warn, secretscan.baseline = FILE,\n\
    secretscan.timeout = SECONDS (pre-receive and update). SECRETSCAN_SKIP=RULE,... (or all) skips once;\n\
    the server secretscan.nats = URL, if it is set, records that (with secretscan.nkey or creds = FILE).\n\n\
    Example: secretscan hook install && git commit";

/// Git hooks: scan before a commit or a push, on a server before a push is taken
#[derive(clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Scan what is staged for the next commit
    #[command(after_help = "Example: SECRETSCAN_SKIP=github-token secretscan hook pre-commit")]
    PreCommit {
        #[command(flatten)]
        check: CheckArguments,
    },
    /// Scan the message of a commit
    #[command(after_help = "Example: secretscan hook commit-msg .git/COMMIT_EDITMSG")]
    CommitMsg {
        /// The file with the message
        file: PathBuf,
        #[command(flatten)]
        check: CheckArguments,
    },
    /// Scan the commits and tags that the remote lacks, by what Git writes to standard input
    #[command(after_help = "Example, in .git/hooks/pre-push: exec secretscan hook pre-push \"$1\" \"$2\"")]
    PrePush {
        /// The name of the remote, or its URL
        remote: String,
        /// The URL of the remote
        url: Option<String>,
        #[command(flatten)]
        check: CheckArguments,
    },
    /// Scan a push before this server takes it, by what Git writes to standard input
    #[command(after_help = "Example, in hooks/pre-receive: exec secretscan hook pre-receive")]
    PreReceive {
        #[command(flatten)]
        check: CheckArguments,
    },
    /// Scan a push to one ref before this server takes it
    #[command(after_help = "Example, in hooks/update: exec secretscan hook update \"$1\" \"$2\" \"$3\"")]
    Update {
        /// The full name of the ref
        name: String,
        /// The id that it has
        old: String,
        /// The id that it gets
        new: String,
        #[command(flatten)]
        check: CheckArguments,
    },
    Install(install::Arguments),
    Uninstall(install::UninstallArguments),
}

/// Scans as a hook, installs or uninstalls.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Command::Install(arguments) => install::install(arguments),
        Command::Uninstall(arguments) => install::uninstall(arguments),
        Command::PreCommit { check } => client("pre-commit", check, pre_commit::run),
        Command::CommitMsg { file, check } => {
            client("commit-msg", check, |sources| commit_msg::run(file, &sources.load()?))
        }
        Command::PrePush { remote, url, check } => {
            client("pre-push", check, |sources| pre_push::run(remote, url.as_deref(), &sources.load()?))
        }
        Command::PreReceive { check } => server("pre-receive", check, server::pre_receive),
        Command::Update { name, old, new, check } => {
            server("update", check, |check, settings| server::update(name, old, new, check, settings))
        }
    }
}

/// Runs a hook of the one who commits or pushes, who may skip it.
fn client(
    hook: &'static str,
    arguments: &CheckArguments,
    run: impl FnOnce(Sources<'_>) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let skip = settings::skipped_rules(env::var_os("SECRETSCAN_SKIP"));
    if skip.is_all() {
        say("secretscan: nothing is scanned, as SECRETSCAN_SKIP says");
        record::tell(Skip { hook, rules: vec!["all".to_owned()], findings: 0 });
        return Ok(Outcome::Clean);
    }
    let advice = "SECRETSCAN_SKIP=all or --no-verify goes on without a scan; after \
        git config secretscan.onFailure warn every failure does";
    let settings = Settings::read()?;
    let sources = Sources { arguments, settings: &settings, skip, hook };
    fail_as_configured(settings.on_failure, advice, || run(sources))
}

/// Runs a hook of a server. What the pusher's environment says does not count.
fn server(
    hook: &'static str,
    arguments: &CheckArguments,
    run: impl FnOnce(Check<'_>, &Settings) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let settings = Settings::read()?;
    let advice = "tell who runs this server, if it is not the push itself";
    fail_as_configured(settings.on_failure, advice, || {
        let sources = Sources { arguments, settings: &settings, skip: SkippedRules::default(), hook };
        run(sources.load()?, &settings)
    })
}

fn fail_as_configured(
    on_failure: OnFailure,
    advice: &'static str,
    work: impl FnOnce() -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    match (work(), on_failure) {
        (Ok(outcome), _) => Ok(outcome),
        (Err(error), OnFailure::Block) => {
            let message = "the scan failed, so Git is stopped";
            Err(Failure::caused_by(error, message, advice).into())
        }
        (Err(error), OnFailure::Warn) => {
            failure::print(&error);
            say("secretscan: NOT SCANNED, and let through, as secretscan.onFailure says");
            Ok(Outcome::Clean)
        }
    }
}

/// The repository that Git runs the hook for.
fn repository() -> PathBuf {
    env::var_os("GIT_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// A line for the person. Where standard error is closed, nobody listens.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
