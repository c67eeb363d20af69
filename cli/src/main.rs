//! The `secretscan` command.
fn main() {}
