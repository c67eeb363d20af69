//! `secretscan dead-letters`: what could not be done; read it, try it again, or forget it.

use std::num::NonZeroUsize;

use secretscan_bus::dead_letters::{DeadLetter, Retry};
use secretscan_bus::door::AskError;
use secretscan_bus::{Bus, v1};
use secretscan_report::escape_for_terminal;
use serde::Serialize;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::lists::{self, ListFormat};
use crate::output;

/// Show what could not be done, try it again, or forget it
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan dead-letters list")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(ListArguments),
    Show(ShowArguments),
    Retry(RetryArguments),
    Drop(DropArguments),
}

/// List the dead letters, the oldest first
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan dead-letters list")]
struct ListArguments {
    /// Begin with this number
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    from: u64,

    /// Show at most this many
    #[arg(long, value_name = "N", default_value = "20")]
    limit: NonZeroUsize,

    /// How to show them
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Show a dead letter with its bytes
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan dead-letters show 7")]
struct ShowArguments {
    /// Its number
    number: u64,

    /// How to show it
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Ask again for what a dead letter asked for, and forget the letter
///
/// For a batch that was given up, its repository is scanned again: what the batch left is new then.
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan dead-letters retry 7")]
struct RetryArguments {
    /// Their numbers
    #[arg(required = true)]
    numbers: Vec<u64>,

    /// Who asks, for people to read
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "cli")]
    requester: String,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Forget dead letters
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan dead-letters drop 7 8 9")]
struct DropArguments {
    /// Their numbers
    #[arg(required = true)]
    numbers: Vec<u64>,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Lists, shows, tries again or forgets.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Command::List(list) => list.connection.with_bus(async |bus| list.list(bus).await),
        Command::Show(show) => show.connection.with_bus(async |bus| show.show(bus).await),
        Command::Retry(retry) => retry.connection.with_bus(async |bus| retry.retry_all(bus).await),
        Command::Drop(drop) => drop.connection.with_bus(async |bus| drop.drop_all(bus).await),
    }
}

/// A dead letter as programs get it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetterView<'a> {
    number: u64,
    at: String,
    origin: &'a str,
    reason: &'a str,
    /// Whether `retry` can ask for it again.
    can_retry: bool,
    /// Its bytes as text; what is no text is replaced.
    body: String,
}

impl<'a> DeadLetterView<'a> {
    fn new(letter: &'a DeadLetter) -> Self {
        Self {
            number: letter.number,
            at: lists::rfc3339(letter.at),
            origin: &letter.origin,
            reason: &letter.reason,
            can_retry: letter.retry().is_some(),
            body: String::from_utf8_lossy(&letter.body).into_owned(),
        }
    }
}

impl ListArguments {
    async fn list(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let letters = bus.dead_letters(self.from, self.limit.get()).await?;
        output::to_stdout(|out| match self.format {
            ListFormat::Json => {
                let views: Vec<_> = letters.iter().map(DeadLetterView::new).collect();
                lists::write_json(&views, out)
            }
            ListFormat::Text if letters.is_empty() => writeln!(out, "no dead letter"),
            ListFormat::Text => {
                let row = |letter: &DeadLetter| {
                    let origin = letter.origin.trim_start_matches("secretscan.").to_owned();
                    [letter.number.to_string(), lists::time(letter.at), origin, letter.reason.clone()]
                };
                let rows: Vec<_> = letters.iter().map(row).collect();
                lists::write_table(["NUMBER", "KEPT (UTC)", "CAME BY", "REASON"], &rows, out)
            }
        })?;
        Ok(Outcome::Clean)
    }
}

async fn letter(bus: &Bus, number: u64) -> anyhow::Result<DeadLetter> {
    let letter = bus.dead_letters(number, 1).await?.into_iter().find(|letter| letter.number == number);
    letter.ok_or_else(|| no_letter(number).into())
}

fn no_letter(number: u64) -> Failure {
    Failure::new(format!("there is no dead letter {number}"), "see `secretscan dead-letters list`")
}

impl ShowArguments {
    async fn show(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let letter = letter(bus, self.number).await?;
        let view = DeadLetterView::new(&letter);
        output::to_stdout(|out| match self.format {
            ListFormat::Json => lists::write_json(&view, out),
            ListFormat::Text => {
                writeln!(out, "number   {}", view.number)?;
                writeln!(out, "kept     {} UTC", lists::time(letter.at))?;
                writeln!(out, "came by  {}", escape_for_terminal(view.origin))?;
                writeln!(out, "reason   {}", escape_for_terminal(view.reason))?;
                match view.body.as_str() {
                    "" => writeln!(out, "its bytes were not kept"),
                    body => writeln!(out, "\n{}", escape_for_terminal(body)),
                }
            }
        })?;
        Ok(Outcome::Clean)
    }
}

impl RetryArguments {
    async fn retry_all(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        for number in &self.numbers {
            let done = self.retry(bus, *number).await?;
            bus.drop_dead_letter(*number).await?;
            output::to_stdout(|out| writeln!(out, "{}", escape_for_terminal(&done)))?;
        }
        Ok(Outcome::Clean)
    }

    /// Asks again; gives what was done.
    async fn retry(&self, bus: &Bus, number: u64) -> anyhow::Result<String> {
        let letter = letter(bus, number).await?;
        let requester = self.requester.clone();
        let answer = match letter.retry() {
            Some(Retry::Scan(request)) => {
                bus.request_scan(&v1::NewRepositoryScan { requester, ..*request }).await
            }
            Some(Retry::Cancel(cancel)) => {
                bus.cancel_scan(&v1::CancelRepositoryScan { requester, ..cancel }).await
            }
            None => {
                let message =
                    format!("dead letter {number} can't be tried again: what it asked for can't be read");
                let hint = format!("see `secretscan dead-letters show {number}`, ask anew and drop it");
                return Err(Failure::new(message, hint).into());
            }
        };
        let answer = answer.map_err(|error: AskError| {
            let hint = "check that the controller runs; the letter stays";
            Failure::caused_by(error, format!("no answer for dead letter {number}"), hint)
        })?;
        if !answer.error.is_empty() {
            let message = format!("dead letter {number} is refused again: {}", answer.error);
            return Err(Failure::new(message, "the letter stays, and the refusal is one of its own").into());
        }
        Ok(format!("{number}: request {}", answer.request_id))
    }
}

impl DropArguments {
    async fn drop_all(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        for number in &self.numbers {
            if !bus.drop_dead_letter(*number).await? {
                return Err(no_letter(*number).into());
            }
        }
        Ok(Outcome::Clean)
    }
}
