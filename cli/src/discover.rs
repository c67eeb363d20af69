//! `secretscan discover`: schedules for all repositories of an owner at a Git host.
//!
//! A later run leaves the schedules alone that there are, which somebody may have changed, and makes those that are missing: the id of
//! a schedule is derived from its repository.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use secretscan_bus::{Bus, v1};
use secretscan_detect::Secret;
use secretscan_hosts::{ListError, Listed, OwnerKind, Source};
use secretscan_http::{Http, read_token};
use secretscan_model::{Schedule, ScheduleId};
use secretscan_report::escape_for_terminal;
use serde::Serialize;
use url::Url;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::lists::{self, ListFormat, counted};
use crate::output;
use crate::request::RequesterArgument;
use crate::schedule::{PlanArguments, unanswered};

/// An answer of the host takes no longer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The limits of rates begin anew every hour at the latest.
const MAX_WAIT: Duration = Duration::from_secs(3_660);

const EXAMPLES: &str = "\
Examples:
  secretscan discover github-org acme --token-file token
  secretscan discover gitlab-group acme/tools --token-file token --schedule '0 3 * * *' --jitter 2h";

/// List all repositories of an owner at a Git host; give each a schedule
///
/// Without --schedule they are listed and nothing else happens. With it each gets a schedule, and so becomes known. Run it again to
/// give schedules to repositories that are new; those that there are stay as they are.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What the owner is, and of which kind of host
    #[arg(value_enum, value_name = "KIND")]
    kind: OwnerArgument,

    /// Its name, such as acme; of a subgroup with its path, such as acme/tools
    #[arg(value_name = "NAME")]
    owner: String,

    /// The address of the host's interface [default: of github.com, gitlab.com, bitbucket.org]
    ///
    /// Such as https://git.example.org/api/v1.
    #[arg(long, value_name = "URL")]
    api: Option<String>,

    /// A file with a token that may list the repositories
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Take archived repositories too
    #[arg(long)]
    archived: bool,

    /// Take forks too
    #[arg(long)]
    forks: bool,

    /// Give each a schedule: a cron pattern as for `schedule add`
    #[arg(long, value_name = "CRON")]
    schedule: Option<String>,

    /// Spread the runs over so much time
    ///
    /// So that the host is not hit by all at once.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    jitter: String,

    #[command(flatten)]
    plan: PlanArguments,

    /// How to show the repositories
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    requester: RequesterArgument,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum OwnerArgument {
    /// An organization at github.com or a GitHub Enterprise server
    GithubOrg,
    /// A group at gitlab.com or a GitLab of your own, with its subgroups
    GitlabGroup,
    /// An organization of a Gitea or Forgejo
    GiteaOrg,
    /// A workspace at Bitbucket Cloud
    BitbucketWorkspace,
}

impl From<OwnerArgument> for OwnerKind {
    fn from(argument: OwnerArgument) -> Self {
        match argument {
            OwnerArgument::GithubOrg => Self::GithubOrg,
            OwnerArgument::GitlabGroup => Self::GitlabGroup,
            OwnerArgument::GiteaOrg => Self::GiteaOrg,
            OwnerArgument::BitbucketWorkspace => Self::BitbucketWorkspace,
        }
    }
}

/// A repository as programs get it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    name: &'a str,
    url: &'a str,
    is_archived: bool,
    is_fork: bool,
    /// `listed`, `scheduled`, `known` or `refused`.
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Listed,
    /// It has a schedule now.
    Scheduled,
    /// It had one from an earlier run.
    Known,
    Refused,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Scheduled => "scheduled",
            Self::Known => "known",
            Self::Refused => "refused",
        }
    }
}

/// Lists, and makes schedules if one is given.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    // Before the host is asked: a mistake is told at once.
    if let Some(cron) = &arguments.schedule {
        arguments.new_schedule(String::new(), cron)?;
    }
    let source = arguments.source()?;
    let tell = |text: &str| drop(writeln!(io::stderr(), "{}", escape_for_terminal(text)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let unlisted = |error: ListError| {
        let (hint, message) = (error.hint(), format!("cannot list the repositories of {}", arguments.owner));
        Failure::caused_by(error, message, hint)
    };
    let http = Http::new(TIMEOUT)?;
    let listed = runtime.block_on(source.all(&http, &tell)).map_err(unlisted)?;
    let is_wanted = |repository: &&Listed| repository.is_wanted(arguments.archived, arguments.forks);
    let wanted: Vec<&Listed> = listed.iter().filter(is_wanted).collect();
    let states = match &arguments.schedule {
        None => vec![State::Listed; wanted.len()],
        Some(cron) => arguments
            .connection
            .with_bus(async |bus| arguments.schedule_all(bus, &wanted, cron, &tell).await)?,
    };
    arguments.show(&wanted, &states)?;
    let count = |state| states.iter().filter(|of| **of == state).count() as u64;
    tell(&format!(
        "{} of {}: {} left out, {} scheduled now, {} scheduled before",
        counted(listed.len() as u64, "repository", "repositories"),
        arguments.owner,
        listed.len() - wanted.len(),
        count(State::Scheduled),
        count(State::Known),
    ));
    match count(State::Refused) {
        0 => Ok(Outcome::Clean),
        refused => {
            let message = format!("{} got no schedule", counted(refused, "repository", "repositories"));
            Err(Failure::new(message, "the reasons are above; run it again once they are mended").into())
        }
    }
}

impl Arguments {
    fn source(&self) -> anyhow::Result<Source> {
        Ok(Source {
            kind: self.kind.into(),
            api: self.api()?,
            owner: self.owner.clone(),
            token: self.token()?,
            max_wait: MAX_WAIT,
        })
    }

    fn api(&self) -> anyhow::Result<Url> {
        let no_default = || {
            Failure::new(
                "this kind of host has no usual address",
                "give it with --api, such as https://git.example.org/api/v1",
            )
        };
        let text = self.api.as_deref().or(OwnerKind::from(self.kind).default_api()).ok_or_else(no_default)?;
        let wrong = |cause| Failure::caused_by(cause, "cannot ask the host", "correct --api");
        Ok(secretscan_http::check_url("--api", text, false).map_err(wrong)?)
    }

    fn token(&self) -> anyhow::Result<Option<Secret>> {
        let unread = |cause| Failure::caused_by(cause, "cannot use the token", "correct --token-file");
        Ok(self.token_file.as_deref().map(read_token).transpose().map_err(unread)?)
    }

    fn new_schedule(&self, id: String, cron: &str) -> Result<v1::NewSchedule, Failure> {
        self.plan.new_schedule(id, cron, &self.jitter, &self.requester)
    }

    /// What became of each repository.
    async fn schedule_all(
        &self,
        bus: &Bus,
        repositories: &[&Listed],
        cron: &str,
        tell: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Vec<State>> {
        let known: HashSet<ScheduleId> =
            bus.schedules().await?.into_iter().map(|schedule: Schedule| schedule.id).collect();
        let mut states = Vec::with_capacity(repositories.len());
        for repository in repositories {
            let refuse = |reason: String| {
                tell(&format!("{}: {reason}", repository.name));
                State::Refused
            };
            let id = match repository.schedule_id() {
                Ok(id) => id,
                Err(error) => {
                    states.push(refuse(error.to_string()));
                    continue;
                }
            };
            if known.contains(&id) {
                states.push(State::Known);
                continue;
            }
            let new =
                v1::NewSchedule { uri: repository.url.clone(), ..self.new_schedule(id.to_string(), cron)? };
            let answer =
                bus.request_schedule(&new).await.map_err(|error| unanswered(error, &new.schedule_id))?;
            states.push(match answer.error.as_str() {
                "" => State::Scheduled,
                reason => refuse(reason.to_owned()),
            });
        }
        Ok(states)
    }

    fn show(&self, repositories: &[&Listed], states: &[State]) -> anyhow::Result<()> {
        let all = || repositories.iter().zip(states);
        output::to_stdout(|out| match self.format {
            ListFormat::Json => {
                let views: Vec<_> = all()
                    .map(|(repository, state)| View {
                        name: &repository.name,
                        url: &repository.url,
                        is_archived: repository.is_archived,
                        is_fork: repository.is_fork,
                        state: *state,
                    })
                    .collect();
                lists::write_json(&views, out)
            }
            ListFormat::Text if repositories.is_empty() => writeln!(out, "no repository"),
            ListFormat::Text => {
                let rows: Vec<_> = all()
                    .map(|(repository, state)| {
                        let kind = match (repository.is_archived, repository.is_fork) {
                            (false, false) => "",
                            (true, false) => "archived",
                            (false, true) => "fork",
                            (true, true) => "archived fork",
                        };
                        [
                            repository.name.clone(),
                            state.as_str().to_owned(),
                            repository.url.clone(),
                            kind.to_owned(),
                        ]
                    })
                    .collect();
                lists::write_table(["REPOSITORY", "STATE", "URL", ""], &rows, out)
            }
        })?;
        Ok(())
    }
}
