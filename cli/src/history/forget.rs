//! `secretscan history forget`: commits that are to be scanned again.

use secretscan_bus::{Bus, v1};
use secretscan_model::CommitId;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::lists::counted;
use crate::request::{RequesterArgument, no_answer};
use crate::{output, repositories};

/// Forget that commits were scanned, so that the next request scans them again
///
/// What was found in them stays.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  secretscan history forget github.com/owner/project COMMIT
  secretscan history forget github.com/owner/project --all")]
pub struct Arguments {
    /// The repository
    #[arg(value_name = "ID|URI|NAME")]
    repository: String,

    /// The full ids of the commits
    #[arg(value_name = "COMMIT", required_unless_present = "all")]
    commits: Vec<CommitId>,

    /// Every commit of the repository
    #[arg(long, conflicts_with = "commits")]
    all: bool,

    #[command(flatten)]
    requester: RequesterArgument,

    #[command(flatten)]
    connection: ConnectionArguments,
}

impl Arguments {
    pub fn run(&self) -> anyhow::Result<Outcome> {
        self.connection.with_bus(async |bus| self.forget(bus).await)
    }

    async fn forget(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let repository = repositories::find(bus, &self.repository).await?;
        let message = v1::ForgetCommits {
            repository_id: repository.id.to_string(),
            commits: self.commits.iter().map(CommitId::to_string).collect(),
            all: self.all,
            requester: self.requester.requester.clone(),
        };
        let look = "`secretscan history` tells when it has taken the message";
        let answer = bus.forget_commits(&message).await.map_err(|error| no_answer(error, "this", look))?;
        if !answer.error.is_empty() {
            let message = format!("nothing is forgotten: {}", answer.error);
            return Err(Failure::new(message, "see `secretscan requests --state InProgress`").into());
        }
        output::to_stdout(|out| {
            writeln!(out, "{} forgotten", counted(answer.commits, "commit is", "commits are"))
        })?;
        Ok(Outcome::Clean)
    }
}
