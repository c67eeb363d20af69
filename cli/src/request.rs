//! `secretscan request`: sends a repository scan request; its subcommands show and cancel one.

use std::fs;
use std::io::{self, Write};

use anyhow::Context;
use secretscan_bus::door::AskError;
use secretscan_bus::{Bus, v1};
use secretscan_model::{Priority, RepositoryId, RepositoryScan, RepositoryUri, RequestId, UriPolicy};
use secretscan_report::escape_for_terminal;
use uuid::Uuid;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::lists::ListFormat;
use crate::output::ReportWriter;
use crate::rules::ConfidenceArgument;
use crate::{findings, output, request_show, watch};

const EXAMPLES: &str = "\
Examples:
  secretscan request https://github.com/owner/project --watch
  secretscan request git@example.org:owner/project --ref refs/heads/main
  secretscan request show ID

Exit codes: 0 sent (with --watch: nothing found), 1 secrets found, 2 error or refused";

/// Ask the system to scan a repository; show or cancel a request
///
/// Prints the id of the request. Only commits that are not scanned yet are scanned.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// The URI of the repository, or the id of a known one
    #[arg(value_name = "URI|REPOSITORY-ID", required = true)]
    repository: Option<String>,

    /// Scan only this ref, by its full name; may be repeated [default: all refs]
    #[arg(long = "ref", value_name = "REF")]
    refs: Vec<String>,

    /// How urgent it is
    #[arg(long, value_enum, default_value_t = PriorityArgument::OnDemand)]
    priority: PriorityArgument,

    #[command(flatten)]
    requester: RequesterArgument,

    /// The id of the request: sending it again is the same request [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<RequestId>,

    /// Show the progress until the request ends, then the findings of the repository
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(clap::Subcommand)]
enum Command {
    Show(ShowArguments),
    Cancel(CancelArguments),
}

/// Show where a request stands, what it waits for, and every state it was in
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan request show 01890a5d-ac96-774b-bcce-b302099a8057")]
struct ShowArguments {
    /// The request
    #[arg(value_name = "ID")]
    id: RequestId,

    /// How to show it
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Cancel a request that has not ended
///
/// What it has scanned stays scanned, and its findings stay.
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan request cancel 01890a5d-ac96-774b-bcce-b302099a8057")]
struct CancelArguments {
    /// The request
    #[arg(value_name = "ID")]
    id: RequestId,

    #[command(flatten)]
    requester: RequesterArgument,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Who asks.
#[derive(clap::Args)]
pub struct RequesterArgument {
    /// Who asks, for people to read
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "cli")]
    pub requester: String,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum PriorityArgument {
    /// Before all others: somebody waits
    Reactive,
    /// A person asks
    OnDemand,
    /// After all others
    Scheduled,
}

impl From<PriorityArgument> for Priority {
    fn from(argument: PriorityArgument) -> Self {
        match argument {
            PriorityArgument::Reactive => Self::Reactive,
            PriorityArgument::OnDemand => Self::OnDemand,
            PriorityArgument::Scheduled => Self::Scheduled,
        }
    }
}

/// Sends, shows or cancels.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Some(Command::Show(show)) => {
            show.connection.with_bus(async |bus| request_show::show(bus, &show.id, show.format).await)
        }
        Some(Command::Cancel(cancel)) => cancel.connection.with_bus(async |bus| cancel.send(bus).await),
        None => {
            let request = arguments.message()?;
            arguments.connection.with_bus(async |bus| arguments.send(bus, &request).await)
        }
    }
}

impl Arguments {
    fn message(&self) -> anyhow::Result<v1::NewRepositoryScan> {
        let text = self.repository.as_deref().expect("it is required without a subcommand");
        let id = self.id.as_ref().map_or_else(|| Uuid::now_v7().to_string(), RequestId::to_string);
        let mut request = v1::NewRepositoryScan {
            request_id: id,
            refs: self.refs.clone(),
            priority: v1::Priority::from(Priority::from(self.priority)).into(),
            requester: self.requester.requester.clone(),
            ..v1::NewRepositoryScan::default()
        };
        // A URI has a colon or a slash, an id neither.
        if RepositoryId::parse(text).is_ok() {
            text.clone_into(&mut request.repository_id);
        } else {
            request.uri = uri(text)?;
        }
        Ok(request)
    }

    async fn send(&self, bus: &Bus, request: &v1::NewRepositoryScan) -> anyhow::Result<Outcome> {
        let id: RequestId = request.request_id.parse()?;
        let answer = self::send(bus, request).await?;
        if !self.watch {
            output::to_stdout(|out| writeln!(out, "{}", escape_for_terminal(&answer.request_id)))?;
            return Ok(Outcome::Clean);
        }
        // Where standard error is closed, nobody listens.
        let _ = writeln!(io::stderr(), "request {id}");
        watch_and_report(bus, &id).await
    }
}

/// Sends a request and waits until it is accepted.
pub async fn send(bus: &Bus, request: &v1::NewRepositoryScan) -> anyhow::Result<v1::Answer> {
    let id = &request.request_id;
    let look = format!("`secretscan request show {id}` tells when it has taken the message");
    let answer =
        bus.request_scan(request).await.map_err(|error| no_answer(error, &format!("request {id}"), &look))?;
    if !answer.error.is_empty() {
        let message = format!("the request is refused: {}", answer.error);
        return Err(Failure::new(message, "correct it and send it again").into());
    }
    Ok(answer)
}

/// Follows a request to its end, then reports what is known of its repository.
async fn watch_and_report(bus: &Bus, id: &RequestId) -> anyhow::Result<Outcome> {
    let ended = completed(bus, id).await?;
    let repository = ended.repository.context("a request completed without a repository")?;
    let repository = bus.repository(&repository).await?.context("the repository is gone")?;
    findings::report(bus, &[repository], ConfidenceArgument::Low, ReportWriter::text_to_stdout()).await
}

/// Follows a request until it is completed.
///
/// # Errors
/// When it ends otherwise, or the user interrupts.
pub async fn completed(bus: &Bus, id: &RequestId) -> anyhow::Result<RepositoryScan> {
    let ended = tokio::select! {
        ended = watch::until_end(bus, id) => ended?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("cannot wait for an interrupt")?;
            return Err(Failure::new(
                format!("watching is interrupted; request {id} goes on"),
                format!("see `secretscan request show {id}`; `secretscan request cancel {id}` ends it"),
            )
            .into());
        }
    };
    match watch::ended_badly(&ended) {
        Some(failure) => Err(failure.into()),
        None => Ok(ended),
    }
}

/// The URI to send: checked here as far as possible, so that a password in it goes nowhere.
pub fn uri(text: &str) -> anyhow::Result<String> {
    let hint = "see `secretscan request --help` for examples; ids are listed by `secretscan repositories`";
    // A path from here means nothing to a service.
    let text = match text.starts_with('.') {
        true => fs::canonicalize(text)
            .map_err(|cause| Failure::caused_by(cause, "cannot find the repository", hint))?
            .to_string_lossy()
            .into_owned(),
        false => text.to_owned(),
    };
    RepositoryUri::parse(&text, UriPolicy::ANY)
        .map_err(|cause| Failure::caused_by(cause, "cannot request a scan of this", hint))?;
    Ok(text)
}

/// No controller said what became of a message. `look` says how to find out.
pub fn no_answer(error: AskError, what: &str, look: &str) -> Failure {
    let hint = match &error {
        AskError::NoAnswer { .. } => format!("check that the controller runs; {look}"),
        AskError::Send { .. } => {
            "check that these credentials may publish at the door: see SECURITY.md".into()
        }
    };
    Failure::caused_by(error, format!("no answer for {what}"), hint)
}

impl CancelArguments {
    async fn send(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let id = &self.id;
        let message = v1::CancelRepositoryScan {
            request_id: id.to_string(),
            requester: self.requester.requester.clone(),
        };
        let look = format!("`secretscan request show {id}` tells when it has taken the message");
        let answer = bus
            .cancel_scan(&message)
            .await
            .map_err(|error| no_answer(error, &format!("request {id}"), &look))?;
        if !answer.error.is_empty() {
            let message = format!("request {id} is not cancelled: {}", answer.error);
            return Err(Failure::new(message, request_show::HINT).into());
        }
        output::to_stdout(|out| writeln!(out, "request {id} is cancelled"))?;
        Ok(Outcome::Clean)
    }
}
