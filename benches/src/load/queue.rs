//! Many requests that wait: what that takes, and how it goes on when agents appear.

use std::path::Path;
use std::time::Instant;

use secretscan_bus::access::Identity;
use secretscan_bus::now;

use crate::Arguments;
use crate::requests::{Pace, Requests};
use crate::stand_in::StandIns;
use crate::table::{Row, figures, usages};
use secretscan_benches::system::{System, since};

/// What a service may take, in bytes.
const MEMORY: f64 = 200e6;

/// Measures it.
pub async fn measure(arguments: &Arguments, binaries: &Path) -> anyhow::Result<String> {
    let system = System::start(binaries).await?;
    let (client, bus) = (system.requester().await?, system.connect(Identity::Setup).await?);
    let before = system.usages()?;
    let (count, repositories) = (arguments.queued(), arguments.repositories());
    let requests = Requests { name: "queued", count, repositories };
    let published = requests.publish(&client, &bus, Pace::AsTaken).await?;
    let waiting = system.usages()?;
    let on_disk = system.bytes_on_disk()?;

    let (appeared, started) = (now().0, Instant::now());
    let agents = StandIns::start(&system).await?;
    requests.ended(&bus).await?;
    let drained = started.elapsed();
    let done = since(&before, system.usages()?);
    let times = requests.times(&bus, &published).await?;
    anyhow::ensure!(times.count("Completed") == count, "only {} are done", times.count("Completed"));

    let mut rows = vec![Row::at_least("accepted, while nobody works", times.rate("Queued"), 1_000.0, "/s")];
    for (name, usage) in waiting.iter().filter(|(name, _)| name != "this program") {
        let what = format!("peak memory of {name}, all waiting");
        rows.push(match name.as_str() {
            "nats-server" => Row::new(what, format!("{:.0} MB", usage.peak as f64 / 1e6)),
            _ => Row::below(what, usage.peak as f64 / 1e6, MEMORY / 1e6, " MB"),
        });
    }
    let first = times.first("Scheduled").unwrap_or(appeared) - appeared;
    rows.extend([
        Row::new("the server's files", format!("{:.0} MB", on_disk as f64 / 1e6)),
        Row::new("first scheduled after agents appear", format!("{first} ms")),
        Row::at_least("scheduled from then on", times.rate_since("Scheduled", appeared), 1_000.0, "/s"),
        Row::new("all done after", format!("{:.0} s", drained.as_secs_f64())),
    ]);
    for (name, usage, _) in done.iter().filter(|(name, ..)| name != "this program" && name != "nats-server") {
        let what = format!("peak memory of {name}, all done");
        rows.push(Row::below(what, usage.peak as f64 / 1e6, MEMORY / 1e6, " MB"));
    }
    agents.stop().await;
    system.stop().await?;
    let title = format!("{count} requests for {repositories} repositories wait");
    Ok(format!("Queue.\n\n{}\n{}", figures(&title, &rows), usages("process, all done", &done)))
}
