//! What a check says.

use std::io::{self, Write};

use console::Style;
use secretscan_report::escape_for_terminal;
use serde::Serialize;

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warning,
    /// Something does not work.
    Failed,
}

/// What a check says of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    check: &'static str,
    pub status: Status,
    says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Line {
    /// All is well.
    pub fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, says: says.into(), advice: None }
    }

    /// Somebody should know, and do this about it.
    pub fn warning(check: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Warning, says: says.into(), advice: Some(advice.into()) }
    }

    /// It does not work until this is done.
    pub fn failed(check: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Failed, says: says.into(), advice: Some(advice.into()) }
    }

    /// For people.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (word, style) = match self.status {
            Status::Ok => ("ok", Style::new().green()),
            Status::Warning => ("warning", Style::new().yellow()),
            Status::Failed => ("failed", Style::new().red().bold()),
        };
        // Padded before it is coloured: escape sequences have no width.
        let status = style.apply_to(format!("{word:<7}"));
        writeln!(out, "{status}  {:<12}  {}", self.check, escape_for_terminal(&self.says))?;
        match &self.advice {
            Some(advice) => writeln!(out, "{:23}-> {}", "", escape_for_terminal(advice)),
            None => Ok(()),
        }
    }
}
