//! The repo-agent as a process of its own.

use std::process::ExitCode;

use secretscan_bus::Bus;
use secretscan_repo_agent::{Config, SAMPLE, run};
use secretscan_service::Context;

fn main() -> ExitCode {
    if let Some(code) = secretscan_git::called_by_git() {
        return code;
    }
    secretscan_service::main("repo-agent", SAMPLE, |mut context: Context<Config>| async move {
        context.config.mirrors.indexer = std::env::current_exe().ok();
        let bus = Bus::connect(&context.config.nats.named("repo-agent")).await?;
        bus.metrics().register(&mut context.health.registry());
        context.health.ready_while({
            let bus = bus.clone();
            move || bus.is_connected()
        });
        run(bus.clone(), context.config, context.stop).await?;
        Ok(bus.close().await?)
    })
}
