//! Errors as the user sees them: what happened, why, and what to do about it.

use std::io::{self, Write};

use console::style;
use secretscan_report::escape_for_terminal;
use thiserror::Error;

/// An error with advice.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Failure {
    message: String,
    hint: String,
    #[source]
    cause: Option<anyhow::Error>,
}

impl Failure {
    /// An error without a deeper cause.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), cause: None }
    }

    /// What was being done when the cause came up.
    pub fn caused_by(
        cause: impl Into<anyhow::Error>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { message: message.into(), hint: hint.into(), cause: Some(cause.into()) }
    }
}

/// Prints the error, its causes and the hints among them to standard error. Where that is closed, nobody listens.
pub fn print(error: &anyhow::Error) {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        let _ = usage.print();
        return;
    }
    let mut text = String::new();
    for (depth, cause) in error.chain().enumerate() {
        let label = if depth == 0 { style("error:").red().bold() } else { style("  because:").bold() };
        text += &format!("{} {}\n", label.for_stderr(), safe_lines(&cause.to_string()));
    }
    for failure in error.chain().filter_map(|cause| cause.downcast_ref::<Failure>()) {
        text += &format!("{} {}\n", style("hint:").cyan().bold().for_stderr(), safe_lines(&failure.hint));
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Messages may quote a repository or a rule file, and regex errors have several lines.
fn safe_lines(text: &str) -> String {
    text.trim_end().split('\n').map(escape_for_terminal).collect::<Vec<_>>().join("\n    ")
}
