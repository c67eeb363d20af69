//! `secretscan completions`: completion scripts for shells.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::exit::Outcome;
use crate::{Cli, output};

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(
    after_help = "Example: secretscan completions bash > ~/.local/share/bash-completion/completions/secretscan"
)]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    // `generate` panics when it can't write, so it writes to memory.
    let mut script = Vec::new();
    generate(arguments.shell, &mut Cli::command(), "secretscan", &mut script);
    output::to_stdout(|out| out.write_all(&script))?;
    Ok(Outcome::Clean)
}
