//! The service times that the simulation is driven by.

use std::time::Instant;

use anyhow::Context;
use secretscan_benches::system::System;
use secretscan_bus::access::Identity;
use secretscan_model::BatchKey;

/// Seconds, megabytes of what Git stores, and both together.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Processor time of nats-server for a request without batches.
    pub messages_of_request: f64,
    /// The same for a batch, but for its pack.
    pub messages_of_batch: f64,
    /// Processor time of a controller for a request, and for each half of a batch.
    pub controller: f64,
    /// The same of a scheduler.
    pub scheduler: f64,
    /// Until a Git host has told its refs.
    pub round_trip: f64,
    /// What one fetch gets from a host.
    pub fetch_mb_per_s: f64,
    /// Time that a repo-agent needs for cutting.
    pub cut_per_mb: f64,
    /// Time that nats-server needs to take a pack, and again to give it.
    pub pack_per_mb: f64,
    /// Time that a batch-agent needs for scanning, with one core for each slot.
    pub scan_per_mb: f64,
    /// And for the smallest batch.
    pub least_scan: f64,
    /// What goes into one batch.
    pub batch_mb: f64,
}

impl Measured {
    /// `benches --bin load` gives what a request costs (messages, controller, scheduler), `--bin cold` on the history of nats-server
    /// what a megabyte costs and what is spent on the smallest batch; a network of our own choice. On 2 cores of a virtual machine.
    pub const FIGURES: Self = Self {
        messages_of_request: 0.7e-3,
        messages_of_batch: 0.7e-3,
        controller: 0.24e-3,
        scheduler: 0.15e-3,
        round_trip: 0.3,
        fetch_mb_per_s: 10.0,
        cut_per_mb: 0.015,
        pack_per_mb: 0.005,
        scan_per_mb: 0.097,
        least_scan: 0.02,
        batch_mb: 64.0,
    };
}

/// A pack of the largest size, and how many of them go at once.
const PACK_BYTES: usize = 64 << 20;
const PACKS: usize = 4;

/// Seconds for which a nats-server on this machine is busy with a megabyte of a pack, the mean of writing and reading.
pub async fn pack_per_mb() -> anyhow::Result<f64> {
    let system = System::start_server().await?;
    let bus = system.connect(Identity::Setup).await?;
    // Nothing that could be compressed.
    let mut state = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(PACK_BYTES)
    .collect();
    let file = system.dir().join("pack");
    std::fs::write(&file, bytes).context("writing a pack")?;
    let keys: Vec<BatchKey> =
        (0..PACKS).map(|n| format!("request.b-{n}").parse()).collect::<Result<_, _>>()?;
    let started = Instant::now();
    futures::future::try_join_all(keys.iter().map(|key| bus.put_pack(key, &file))).await?;
    let to = |key: &BatchKey| system.dir().join(key.to_string());
    let files: Vec<_> = keys.iter().map(to).collect();
    futures::future::try_join_all(keys.iter().zip(&files).map(|(key, file)| bus.get_pack(key, file))).await?;
    let time = started.elapsed().as_secs_f64();
    system.stop().await?;
    Ok(time / (2.0 * PACKS as f64 * PACK_BYTES as f64 / 1e6))
}
