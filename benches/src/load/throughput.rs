//! Requests per second, and how long each state takes at a given rate.

use std::path::Path;

use secretscan_bus::access::Identity;

use crate::Arguments;
use crate::requests::{Pace, Requests};
use crate::stand_in::{AGENTS, SLOTS, StandIns};
use crate::table::{Row, figures, usages};
use secretscan_benches::system::{System, since};

/// Requests per second that the controller accepts and the scheduler hands out.
const RATE: f64 = 1_000.0;

/// Measures it.
pub async fn measure(arguments: &Arguments, binaries: &Path) -> anyhow::Result<String> {
    let system = System::start(binaries).await?;
    let (client, bus) = (system.requester().await?, system.connect(Identity::Setup).await?);
    let agents = StandIns::start(&system).await?;

    let (writes, before) = (system.writes().await?, system.usages()?);
    let (count, repositories) = (arguments.requests(), arguments.repositories());
    let requests = Requests { name: "as-taken", count, repositories };
    let published = requests.publish(&client, &bus, Pace::AsTaken).await?;
    requests.ended(&bus).await?;
    let used = since(&before, system.usages()?);
    let writes = (system.writes().await? - writes) as f64 / count as f64;
    let times = requests.times(&bus, &published).await?;
    anyhow::ensure!(times.count("Completed") == count, "only {} are done", times.count("Completed"));
    let rows = [
        Row::at_least("accepted (Queued)", times.rate("Queued"), RATE, "/s"),
        Row::at_least("scheduled (Scheduled)", times.rate("Scheduled"), RATE, "/s"),
        Row::new("done (Completed)", format!("{:.0}/s", times.rate("Completed"))),
        Row::new("messages that a request writes to the server's files", format!("{writes:.1}")),
    ];
    let title = format!("{count} requests for {repositories} repositories, as fast as they are taken");
    let mut text = format!(
        "Throughput. {AGENTS} stand-in agents with {SLOTS} slots each, in this program.\n\n{}\n{}\n",
        figures(&title, &rows),
        usages("process", &used),
    );

    let rate = arguments.rate;
    let requests = Requests { name: "paced", count, repositories };
    let published = requests.publish(&client, &bus, Pace::PerSecond(rate)).await?;
    requests.ended(&bus).await?;
    let times = requests.times(&bus, &published).await?;
    text.push_str(&times.table(&format!("{count} requests, {rate} offered each second")));
    agents.stop().await;
    system.stop().await?;
    Ok(text)
}
