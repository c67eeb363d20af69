//! The webhook as a process of its own.

use std::process::ExitCode;

use secretscan_bus::Bus;
use secretscan_service::Context;
use secretscan_webhook::{Config, SAMPLE, Server};

fn main() -> ExitCode {
    secretscan_service::main("webhook", SAMPLE, |context: Context<Config>| async move {
        let bus = Bus::connect(&context.config.nats.named("webhook")).await?;
        let server = Server::bind(bus.clone(), &context.config).await?;
        server.metrics().register(&mut context.health.registry());
        context.health.ready_while({
            let bus = bus.clone();
            move || bus.is_connected()
        });
        server.run(context.stop).await;
        Ok(bus.close().await?)
    })
}
