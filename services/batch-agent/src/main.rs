//! The batch-agent as a process of its own.

use std::process::ExitCode;

use secretscan_batch_agent::{Config, SAMPLE, run};
use secretscan_bus::Bus;
use secretscan_service::Context;

fn main() -> ExitCode {
    secretscan_service::main("batch-agent", SAMPLE, |context: Context<Config>| async move {
        let bus = Bus::connect(&context.config.nats.named("batch-agent")).await?;
        bus.metrics().register(&mut context.health.registry());
        context.health.ready_while({
            let bus = bus.clone();
            move || bus.is_connected()
        });
        run(bus.clone(), context.config, context.stop).await?;
        Ok(bus.close().await?)
    })
}
