//! `secretscan up`: the whole system on this machine, until it is interrupted.

use std::io::{self, Write};

use secretscan_bus::access::{Identity, seed_file};

use crate::data_dir;
use crate::exit::Outcome;
use crate::local::LocalArguments;

/// Run the whole system on this machine until interrupted
///
/// Starts a nats-server, all services and the dashboard, and prints a link that logs in there. Other commands find it by
/// themselves; programs reach it at the NATS URL that is printed. Interrupted or killed, it goes on where it was when it is
/// started again.
#[derive(clap::Args)]
#[command(after_help = "\
Example: secretscan up
         nats -s URL --nkey FILE pub secretscan.repository-scan.new '{\"uri\":\"https://github.com/owner/project\"}'")]
pub struct Arguments {
    /// The port of the nats-server on the loopback address; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// The port of the dashboard on the loopback address; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    dashboard_port: u16,

    #[command(flatten)]
    local: LocalArguments,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut system = arguments.local.start(arguments.port).await?;
        let link = system.start_dashboard(arguments.dashboard_port).await?;
        let mut out = io::stdout();
        // Where standard output is closed, the system runs all the same.
        let _ = writeln!(out, "{}", system.url());
        let _ = writeln!(io::stderr(), "secretscan is up, its data is in {}", system.data().display());
        let _ = writeln!(io::stderr(), "the dashboard, by a link that works once: {link}");
        let _ = writeln!(io::stderr(), "ask for a scan: secretscan request URI --watch; stop with Ctrl-C");
        let key = seed_file(&data_dir::nats_keys(system.data()), Identity::Cli);
        let _ = writeln!(
            io::stderr(),
            "with the nats command: nats -s {} --nkey {}",
            system.url(),
            key.display()
        );
        let failed = tokio::select! {
            () = secretscan_service::asked_to_stop() => None,
            error = system.failed() => Some(error),
        };
        let _ = writeln!(io::stderr(), "stopping");
        system.stop().await?;
        failed.map_or(Ok(Outcome::Clean), Err)
    })
}
