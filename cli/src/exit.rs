//! Exit codes.

use std::process::ExitCode;

/// How a command ended that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to complain about.
    Clean,
    /// Secrets were found, or rules failed their examples.
    Findings,
}

/// The one place where the exit code is decided.
pub fn code(result: &anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        // Help and version reach us as errors that are not meant for standard error.
        Err(error) if error.downcast_ref::<clap::Error>().is_some_and(|e| !e.use_stderr()) => {
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::from(2),
    }
}
