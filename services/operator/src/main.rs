//! The operator as a process of its own.

use std::process::ExitCode;

use secretscan_bus::Bus;
use secretscan_operator::{Config, SAMPLE, connect, run};
use secretscan_service::Context;

fn main() -> ExitCode {
    secretscan_service::main("operator", SAMPLE, |context: Context<Config>| async move {
        let client = connect(&context.config.kubernetes)?;
        let bus = Bus::connect(&context.config.nats.named("kubernetes")).await?;
        bus.metrics().register(&mut context.health.registry());
        context.health.ready_while({
            let bus = bus.clone();
            move || bus.is_connected()
        });
        run(client, bus.clone(), context.stop).await;
        Ok(bus.close().await?)
    })
}
