//! What nats-server does alone on this machine: the most that services could get out of it.

use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::jetstream;
use async_nats::jetstream::kv;
use futures::{StreamExt, TryStreamExt};

use crate::Arguments;
use crate::table::{Row, figures, usages};
use secretscan_benches::system::{System, since};

/// Requests in flight.
const IN_FLIGHT: usize = 256;
/// The size of the record of a request that is done.
const RECORD: usize = 900;
/// How many of each, at full size.
const COUNT: usize = 200_000;

/// Measures it: writes and reads of a bucket, one value after the other on each key, by one client.
pub async fn measure(arguments: &Arguments) -> anyhow::Result<String> {
    let count = if arguments.quick { COUNT / 20 } else { COUNT };
    let system = System::start_server().await?;
    let jetstream = jetstream::new(system.client().await?);
    let config = kv::Config { bucket: "alone".into(), history: 1, ..kv::Config::default() };
    let bucket = jetstream.create_key_value(config).await.context("creating a bucket")?;
    let keys = arguments.repositories();
    let before = system.usages()?;
    let value = bytes::Bytes::from(vec![b'x'; RECORD]);
    let put = |number: usize| {
        let (bucket, value) = (&bucket, value.clone());
        async move { bucket.put(format!("{}", number % keys), value).await.map(|_| ()).context("writing") }
    };
    eprintln!("nats-server alone: {count} writes");
    let writing = timed(count, put).await?;
    let get = |number: usize| {
        let bucket = &bucket;
        async move { bucket.get(format!("{}", number % keys)).await.map(|_| ()).context("reading") }
    };
    eprintln!("nats-server alone: {count} reads");
    let reading = timed(count, get).await?;
    let used = since(&before, system.usages()?);
    system.stop().await?;
    let rate = |took: Duration| format!("{:.0}/s", count as f64 / took.as_secs_f64());
    let rows = [
        Row::new(format!("writes of {RECORD} bytes"), rate(writing)),
        Row::new(format!("reads of {RECORD} bytes"), rate(reading)),
    ];
    let title = format!("nats-server alone: {count} of each on {keys} keys, {IN_FLIGHT} in flight");
    Ok(format!("Server.\n\n{}\n{}", figures(&title, &rows), usages("process", &used)))
}

async fn timed<F: Future<Output = anyhow::Result<()>>>(
    count: usize,
    ask: impl Fn(usize) -> F,
) -> anyhow::Result<Duration> {
    let started = Instant::now();
    futures::stream::iter(0..count).map(ask).buffer_unordered(IN_FLIGHT).try_collect::<Vec<()>>().await?;
    Ok(started.elapsed())
}
