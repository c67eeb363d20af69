//! `secretscan doctor`: what is wrong on this machine and on the server, and what to do about it.
//!
//! Each check has a file of its own and a line in the table of its part ([`machine`], [`system`]). Those of the system look at what
//! was found before all of them, so they need no server.

mod machine;
mod report;
mod system;

use secretscan_bus::Bus;
use secretscan_bus::access::Identity;
use serde::Serialize;

use self::machine::Machine;
use self::report::{Line, Status};
use self::system::System;
use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::lists::{self, ListFormat, counted};
use crate::output;

/// Check this machine and the system on a server, and say what to do
///
/// Looks at git, disk and limits here, and at the server's version, the rights of the key, streams, consumers, clocks, agents, queues
/// and dead letters there. Changes nothing.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  secretscan doctor
  secretscan doctor --nats tls://nats.example.org --nkey cli.nk --format json

Exit codes: 0 nothing failed, 1 something failed, 2 error")]
pub struct Arguments {
    /// How to show it
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Serialize)]
struct Findings {
    machine: Vec<Line>,
    system: Vec<Line>,
}

/// Checks.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let connection = &arguments.connection;
    let config = connection.config(Identity::Cli);
    let machine = machine::check(&Machine { data: connection.data() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let system = runtime.block_on(async {
        match Bus::attach(&config).await {
            Ok(bus) => system::check(&System::look(&bus, &config).await),
            Err(error) if connection.names_a_server() => vec![Line::failed(
                "connection",
                error.to_string(),
                "check that the server runs, its address (--nats, SECRETSCAN_NATS), and the key (--nkey, --creds)",
            )],
            Err(_) => vec![Line::warning(
                "connection",
                "no system runs on this machine, and none is named",
                "start one with `secretscan up`, or name one with --nats or SECRETSCAN_NATS",
            )],
        }
    });
    let findings = Findings { machine, system };
    let all = || findings.machine.iter().chain(&findings.system);
    output::to_stdout(|out| match arguments.format {
        ListFormat::Json => lists::write_json(&findings, out),
        ListFormat::Text => {
            writeln!(out, "this machine")?;
            findings.machine.iter().try_for_each(|line| line.write(out))?;
            writeln!(out, "\n{}", config.shown_url())?;
            findings.system.iter().try_for_each(|line| line.write(out))?;
            let count = |status| all().filter(|line| line.status == status).count() as u64;
            let (failed, warnings) = (count(Status::Failed), count(Status::Warning));
            writeln!(out, "\n{failed} failed, {}", counted(warnings, "warning", "warnings"))
        }
    })?;
    Ok(match all().any(|line| line.status == Status::Failed) {
        true => Outcome::Findings,
        false => Outcome::Clean,
    })
}
