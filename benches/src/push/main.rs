//! How long it takes from a push to the status that the Git host shows.
//!
//! All services and a real nats-server on this machine; a Git host on the loopback address, which speaks smart HTTP, sends
//! a signed webhook when `git push` has ended, and takes statuses as Gitea does. Every push is of one commit.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use secretscan_model::ScanState;
use secretscan_testkit::generate;
use secretscan_tests::forge::Forge;
use secretscan_tests::{Size, System};

/// Measures the time from a push to its status
#[derive(Parser)]
struct Arguments {
    /// The repository that is pushed to [default: one is made]
    #[arg(long, value_name = "PATH")]
    repository: Option<PathBuf>,
    /// Commits of the repository that is made
    #[arg(long, default_value_t = 20_000)]
    commits: usize,
    /// Pushes
    #[arg(long, default_value_t = 20)]
    pushes: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let made = match arguments.repository {
        Some(_) => None,
        None => {
            println!("making a repository of {} commits", arguments.commits);
            Some(generate(7, arguments.commits)?)
        }
    };
    let path = match (&made, &arguments.repository) {
        (Some(made), _) => made.repository.path(),
        (None, path) => path.clone().context("a repository")?,
    };
    let system = System::start(Size { batch_commits: 5_000, ..Size::default() }).await?;
    let mut forge = Forge::start(&system, &path).await?;
    let (started, (whole, _)) = (Instant::now(), system.request(&forge.uri()).await?);
    let scan = system.ended(&whole).await;
    ensure!(scan.state == ScanState::Completed, "the first scan is {:?}", scan.state);
    let commits = scan.found.map_or(0, |found| found.commits);
    println!("{commits} commits are scanned after {:.1} s", started.elapsed().as_secs_f64());

    let (mut answered, mut pending, mut shown) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..arguments.pushes {
        let file = format!("pushed-{number}.txt");
        let pushed = forge.push("pushes", &file, "nothing to see\n").await?;
        let verdict = forge.verdict(&pushed.commit).await;
        ensure!(verdict.state() == "success", "push {number} is {}", verdict.state());
        let first = forge.statuses(&pushed.commit).into_iter().next().context("a status")?;
        answered.push(pushed.answered);
        pending.push(first.at - pushed.at);
        shown.push(verdict.at - pushed.at);
    }
    println!("{} pushes of one commit each, from the end of `git push`:", arguments.pushes);
    for (what, times) in [("202 of the webhook", answered), ("first status", pending), ("last status", shown)]
    {
        let (median, longest) = middle_and_longest(times);
        println!("  {what:20} median {:>6.0} ms, longest {:>6.0} ms", ms(median), ms(longest));
    }
    Ok(())
}

fn middle_and_longest(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    (middle, times.last().copied().unwrap_or_default())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
