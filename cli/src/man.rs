//! `secretscan man`: manual pages.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man;

use crate::exit::Outcome;
use crate::{Cli, output};

/// Write manual pages in roff
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan man --output ~/.local/share/man/man1 && man secretscan-scan")]
pub struct Arguments {
    /// Write a page for the command and for every subcommand into this directory [default: print the main page]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Writes the pages.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    match &arguments.output {
        Some(directory) => {
            let doing = || format!("cannot write the manual pages to {}", directory.display());
            fs::create_dir_all(directory).with_context(doing)?;
            clap_mangen::generate_to(Cli::command(), directory).with_context(doing)?;
        }
        None => output::to_stdout(|mut out| Man::new(Cli::command()).render(&mut out))?,
    }
    Ok(Outcome::Clean)
}
