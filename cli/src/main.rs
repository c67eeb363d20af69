//! The `secretscan` command: one file per subcommand, dispatch here, exit codes in [`exit`].
//!
//! Offline commands need neither the features nor their dependencies: a build with `--no-default-features` has them all
//! and starts in milliseconds. Commands that talk to a running system are behind the feature `remote`, those that
//! run the system behind `local`.

mod completions;
mod exit;
mod failure;
mod man;
mod output;
mod progress;
mod rules;
mod scan;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::Outcome;

/// Finds secrets in Git histories, staged changes, directories and standard input
#[derive(Parser)]
#[command(name = "secretscan", version, disable_help_subcommand = true, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Scan(scan::Arguments),
    Rules(rules::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

fn main() -> ExitCode {
    let result = Cli::try_parse().map_err(anyhow::Error::from).and_then(|cli| run(cli.command));
    if let Err(error) = &result {
        failure::print(error);
    }
    exit::code(&result)
}

fn run(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Scan(arguments) => scan::run(&arguments),
        Command::Rules(arguments) => rules::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}
