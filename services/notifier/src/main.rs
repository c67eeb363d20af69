//! The notifier as a process of its own.

use std::process::ExitCode;

use secretscan_bus::Bus;
use secretscan_notifier::{Config, Notifier, SAMPLE};
use secretscan_service::Context;

fn main() -> ExitCode {
    secretscan_service::main("notifier", SAMPLE, |context: Context<Config>| async move {
        let bus = Bus::connect(&context.config.nats.named("notifier")).await?;
        bus.metrics().register(&mut context.health.registry());
        let notifier = Notifier::new(bus.clone(), &context.config)?;
        notifier.metrics().register(&mut context.health.registry());
        context.health.ready_while({
            let bus = bus.clone();
            move || bus.is_connected()
        });
        notifier.run(context.stop).await;
        Ok(bus.close().await?)
    })
}
