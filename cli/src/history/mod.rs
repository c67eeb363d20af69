//! `secretscan history`: which commits of a repository are scanned.

mod forget;
mod show;
mod verify;

use secretscan_bus::Bus;
use secretscan_model::ledger::Total;
use serde::Serialize;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::lists::{self, ListFormat, counted};
use crate::{output, repositories};

const EXAMPLES: &str = "\
Examples:
  secretscan history https://github.com/owner/project
  secretscan history show https://github.com/owner/project COMMIT
  secretscan history verify https://github.com/owner/project
  secretscan history forget https://github.com/owner/project COMMIT";

/// Show how many commits of a repository are scanned, and with which rules
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// The repository
    #[arg(value_name = "ID|URI|NAME", required = true)]
    repository: Option<String>,

    /// How to show it
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(clap::Subcommand)]
enum Command {
    Show(show::Arguments),
    Verify(verify::Arguments),
    Forget(forget::Arguments),
}

/// Shows, proves or forgets.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Some(Command::Show(show)) => show.run(),
        Some(Command::Verify(verify)) => verify.run(),
        Some(Command::Forget(forget)) => forget.run(),
        None => {
            let repository = arguments.repository.as_deref().expect("it is required without a subcommand");
            arguments.connection.with_bus(async |bus| totals(bus, repository, arguments.format).await)
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    repository: &'a str,
    repository_id: &'a str,
    commits: u64,
    totals: Vec<TotalView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TotalView<'a> {
    state: &'a str,
    rule_set: &'a str,
    commits: u64,
    /// When the first and the last of them came into this state.
    oldest: String,
    newest: String,
}

impl<'a> TotalView<'a> {
    fn new(total: &'a Total) -> Self {
        let Total { state, rule_set, commits, oldest, newest } = total;
        let (oldest, newest) = (lists::rfc3339(*oldest), lists::rfc3339(*newest));
        Self { state: state.name(), rule_set, commits: *commits, oldest, newest }
    }
}

async fn totals(bus: &Bus, repository: &str, format: ListFormat) -> anyhow::Result<Outcome> {
    let repository = repositories::find(bus, repository).await?;
    let totals = bus.ledger(&repository.id).head().await?.totals();
    let commits = totals.iter().map(|total| total.commits).sum();
    output::to_stdout(|out| match format {
        ListFormat::Json => {
            let view = View {
                repository: &repository.name,
                repository_id: repository.id.as_str(),
                commits,
                totals: totals.iter().map(TotalView::new).collect(),
            };
            lists::write_json(&view, out)
        }
        ListFormat::Text if totals.is_empty() => writeln!(out, "no commit is scanned"),
        ListFormat::Text => {
            let rows: Vec<_> = totals.iter().map(row).collect();
            let header = ["STATE", "RULE SET", "COMMITS", "OLDEST (UTC)", "NEWEST (UTC)"];
            lists::write_table(header, &rows, out)?;
            writeln!(out, "{}", counted(commits, "commit", "commits"))
        }
    })?;
    Ok(Outcome::Clean)
}

fn row(total: &Total) -> [String; 5] {
    [
        total.state.name().to_owned(),
        if total.rule_set.is_empty() { "-".to_owned() } else { total.rule_set.clone() },
        total.commits.to_string(),
        lists::time(total.oldest),
        lists::time(total.newest),
    ]
}
