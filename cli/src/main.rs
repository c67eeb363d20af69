//! The `secretscan` command: one file per subcommand, dispatch here, exit codes in [`exit`].
//!
//! Offline commands need neither the features nor their dependencies: a build with `--no-default-features` has them all
//! and starts in milliseconds. Commands that talk to a running system are behind the feature `remote`, those that
//! run the system behind `local`.

#[cfg(feature = "remote")]
mod agents;
mod completions;
#[cfg(feature = "remote")]
mod connection;
mod data_dir;
#[cfg(feature = "remote")]
mod dead_letters;
#[cfg(feature = "remote")]
mod discover;
#[cfg(feature = "remote")]
mod doctor;
mod exit;
mod failure;
#[cfg(feature = "remote")]
mod findings;
#[cfg(feature = "remote")]
mod history;
mod hook;
mod ignore;
#[cfg(feature = "remote")]
mod lists;
#[cfg(feature = "local")]
mod local;
mod man;
#[cfg(feature = "remote")]
mod nats_config;
mod output;
mod progress;
mod project;
#[cfg(feature = "remote")]
mod repositories;
#[cfg(feature = "remote")]
mod request;
#[cfg(feature = "remote")]
mod request_show;
#[cfg(feature = "remote")]
mod requests;
#[cfg(feature = "remote")]
mod rescan;
mod rules;
#[cfg(feature = "local")]
mod run;
mod scan;
#[cfg(feature = "remote")]
mod schedule;
#[cfg(feature = "remote")]
mod setup;
mod start;
#[cfg(feature = "remote")]
mod top;
#[cfg(feature = "local")]
mod up;
#[cfg(feature = "verify")]
mod verify;
#[cfg(feature = "remote")]
mod waiting;
#[cfg(feature = "remote")]
mod watch;

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::exit::Outcome;

/// Finds secrets in Git histories, staged changes, directories and standard input
#[derive(Parser)]
#[command(name = "secretscan", version, disable_help_flag = true, after_help = HELP)]
struct Cli {
    /// Print help
    // Both names print what fits a screen; `help COMMAND` and the manual pages have all.
    #[arg(short, long, global = true, action = ArgAction::HelpShort, display_order = 1_000)]
    help: Option<bool>,

    #[command(subcommand)]
    command: Option<Command>,
}

const HELP: &str = "secretscan help COMMAND has more than its --help.\n\
    Exit codes: 0 nothing found, 1 secrets found, 2 error\n\n\
    Example: secretscan scan";

#[derive(Subcommand)]
enum Command {
    Scan(scan::Arguments),
    #[cfg(feature = "local")]
    Run(run::Arguments),
    #[cfg(feature = "local")]
    Up(up::Arguments),
    #[cfg(feature = "remote")]
    Request(request::Arguments),
    #[cfg(feature = "remote")]
    Requests(requests::Arguments),
    #[cfg(feature = "remote")]
    Repositories(repositories::Arguments),
    #[cfg(feature = "remote")]
    Schedule(schedule::Arguments),
    #[cfg(feature = "remote")]
    Discover(discover::Arguments),
    #[cfg(feature = "remote")]
    History(history::Arguments),
    #[cfg(feature = "remote")]
    Rescan(rescan::Arguments),
    #[cfg(feature = "remote")]
    Findings(findings::Arguments),
    #[cfg(feature = "remote")]
    Agents(agents::Arguments),
    #[cfg(feature = "remote")]
    DeadLetters(dead_letters::Arguments),
    #[cfg(feature = "remote")]
    Top(top::Arguments),
    #[cfg(feature = "remote")]
    Doctor(doctor::Arguments),
    #[cfg(feature = "remote")]
    Setup(setup::Arguments),
    #[cfg(feature = "remote")]
    NatsConfig(nats_config::Arguments),
    Hook(hook::Arguments),
    Rules(rules::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

fn main() -> ExitCode {
    // `up` and `run` fetch.
    #[cfg(feature = "local")]
    if let Some(code) = secretscan_git::called_by_git() {
        return code;
    }
    // Secrets are in memory: no core dump shows them, nor one of a child. Where that can't be had, it is as it was.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let result = Cli::try_parse().map_err(anyhow::Error::from).and_then(|cli| match cli.command {
        Some(command) => run(command),
        None => start::run(),
    });
    if let Err(error) = &result {
        failure::print(error);
    }
    exit::code(&result)
}

fn run(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Scan(arguments) => scan::run(&arguments),
        #[cfg(feature = "local")]
        Command::Run(arguments) => run::run(&arguments),
        #[cfg(feature = "local")]
        Command::Up(arguments) => up::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Request(arguments) => request::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Requests(arguments) => requests::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Repositories(arguments) => repositories::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Schedule(arguments) => schedule::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Discover(arguments) => discover::run(&arguments),
        #[cfg(feature = "remote")]
        Command::History(arguments) => history::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Rescan(arguments) => rescan::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Findings(arguments) => findings::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Agents(arguments) => agents::run(&arguments),
        #[cfg(feature = "remote")]
        Command::DeadLetters(arguments) => dead_letters::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Top(arguments) => top::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Doctor(arguments) => doctor::run(&arguments),
        #[cfg(feature = "remote")]
        Command::Setup(arguments) => setup::run(&arguments),
        #[cfg(feature = "remote")]
        Command::NatsConfig(arguments) => nats_config::run(&arguments),
        Command::Hook(arguments) => hook::run(&arguments),
        Command::Rules(arguments) => rules::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Lines of a terminal that is not small.
    const SCREEN: usize = 45;

    fn check(command: &mut clap::Command) {
        let help = command.render_help().to_string();
        assert!(help.contains("Example"), "no example: {help}");
        assert!(help.lines().count() <= SCREEN, "{} lines: {help}", help.lines().count());
        command.get_subcommands_mut().filter(|command| command.get_name() != "help").for_each(check);
    }

    #[test]
    fn help_of_every_command_fits_a_screen_and_has_an_example() {
        let mut command = Cli::command();
        command.build();
        check(&mut command);
    }
}
