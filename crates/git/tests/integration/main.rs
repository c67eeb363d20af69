//! Tests against the real `git` program.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;
mod deltas;
mod history;
mod hostile;
mod mirrors;
mod offline;
mod paths;
mod staged;
mod support;
mod tips;
