//! The dashboard as a process of its own.

use std::process::ExitCode;

use secretscan_bus::Bus;
use secretscan_dashboard::{Config, SAMPLE, Server};
use secretscan_service::Context;

fn main() -> ExitCode {
    secretscan_service::main("dashboard", SAMPLE, |context: Context<Config>| async move {
        let bus = Bus::connect(&context.config.nats.named("dashboard")).await?;
        let server = Server::bind(bus.clone(), &context.config).await?;
        context.health.ready_while({
            let (bus, index) = (bus.clone(), server.index());
            move || bus.is_connected() && index.is_caught_up()
        });
        server.run(context.stop).await;
        Ok(bus.close().await?)
    })
}
