//! The crate's integration tests.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "it/allow.rs"]
mod allow;
#[path = "it/archives.rs"]
mod archives;
#[path = "it/content.rs"]
mod content;
#[path = "it/decoded.rs"]
mod decoded;
#[path = "it/gitleaks.rs"]
mod gitleaks;
#[path = "it/narrow.rs"]
mod narrow;
#[path = "it/rule_files.rs"]
mod rule_files;
