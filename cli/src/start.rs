//! `secretscan` without a command: what a person can do next, where they stand.

use std::env;

use crate::exit::Outcome;
use crate::output;
use crate::project;

/// Tells it.
pub fn run() -> anyhow::Result<Outcome> {
    let place = env::current_dir().ok();
    let root = place.as_deref().and_then(project::root);
    let mut text = String::from("secretscan finds leaked credentials in Git repositories.\n");
    let mut part = |title: &str, commands: &[(&str, &str)]| {
        text += &format!("\n{title}:\n");
        for (command, what) in commands {
            text += &format!("  {command:<34}  {what}\n");
        }
    };
    match root {
        Some(root) => part(
            &format!("Here, in {}", root.display()),
            &[
                ("secretscan scan", "scan its whole history, offline"),
                ("secretscan scan --staged", "scan what is staged for the next commit"),
                ("secretscan hook install", "scan before each commit and each push"),
            ],
        ),
        None => part(
            "On this machine, offline",
            &[
                ("secretscan scan PATH", "scan the whole history of a repository"),
                ("secretscan scan --directory DIR", "scan files that are in no repository"),
            ],
        ),
    }
    #[cfg(feature = "local")]
    part(
        "Any repository, by a system of its own or one that runs",
        &[
            ("secretscan run URI", "fetch it, scan all of it, report; again: only what is new"),
            ("secretscan up", "run the system, with a dashboard in the browser"),
        ],
    );
    part(
        "More",
        &[
            ("secretscan --help", "all commands"),
            ("secretscan COMMAND --help", "one of them, with an example"),
        ],
    );
    output::to_stdout(|out| out.write_all(text.as_bytes()))?;
    Ok(Outcome::Clean)
}
