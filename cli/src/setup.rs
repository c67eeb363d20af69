//! `secretscan setup`: the streams, consumers and buckets on a server.

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::output;

/// Create the streams and buckets on a NATS server that are missing, and check those that exist
///
/// For servers with an identity for each service (`secretscan nats-config`), on which the services may not create them.
/// Never deletes or changes anything; run it again after an upgrade.
#[derive(clap::Args)]
#[command(
    after_help = "Example: secretscan setup --nats nats://nats.example.org --nkey setup.nk --replicas 3"
)]
pub struct Arguments {
    /// On so many servers of a cluster each is kept
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: usize,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Sets up.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    arguments.connection.set_up(arguments.replicas)?;
    output::to_stdout(|out| writeln!(out, "streams, consumers and buckets are there"))?;
    Ok(Outcome::Clean)
}
