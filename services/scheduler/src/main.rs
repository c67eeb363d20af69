//! The scheduler as a process of its own.

use std::process::ExitCode;

use secretscan_bus::Bus;
use secretscan_scheduler::{Config, SAMPLE, run};
use secretscan_service::Context;

fn main() -> ExitCode {
    secretscan_service::main("scheduler", SAMPLE, |context: Context<Config>| async move {
        let bus = Bus::connect(&context.config.nats.named("scheduler")).await?;
        bus.metrics().register(&mut context.health.registry());
        context.health.ready_while({
            let bus = bus.clone();
            move || bus.is_connected()
        });
        run(bus.clone(), context.stop).await;
        Ok(bus.close().await?)
    })
}
