//! `secretscan nats-config migrate`: from the streams, buckets and consumers of another version to those of this one.

use std::io::Write;

use console::Style;
use secretscan_bus::access::Identity;
use secretscan_bus::migrate::{Planned, Step};
use secretscan_bus::{Bus, chain};
use secretscan_report::escape_for_terminal;
use serde::Serialize;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::lists::{self, ListFormat};
use crate::output;

/// Show how streams, buckets and consumers differ from what this version wants, and bring them there
///
/// Without --apply nothing is changed. What would delete messages is left unless --delete-messages is given as well; let the services
/// of the older version finish what is in a stream first, or keep it with `nats stream backup`. Stop the services before --apply: a
/// consumer that is made anew hands out again what they have in hand.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  secretscan nats-config migrate --nkey setup.nk
  secretscan nats-config migrate --nkey setup.nk --apply

Exit codes: 0 all is as it should be, 1 something is left to do, 2 error")]
pub struct Arguments {
    /// Do what loses no message
    #[arg(long)]
    apply: bool,

    /// Do what deletes messages, too
    #[arg(long, requires = "apply")]
    delete_messages: bool,

    /// Keep each stream on so many servers of a cluster [default: as it is]
    #[arg(long, value_name = "N")]
    replicas: Option<usize>,

    /// How to show it
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// A step, and what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepView {
    step: &'static str,
    part: String,
    /// The fields that differ.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    differences: Vec<String>,
    /// What is deleted by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    loses: Option<String>,
    is_done: bool,
    /// Why it could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Shows the plan, and carries it out.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let steps = arguments.connection.with_server(Identity::Setup, async |bus| {
        let plan = bus.plan_migration(arguments.replicas).await?;
        let mut steps: Vec<StepView> = plan.iter().map(view).collect();
        if arguments.apply {
            // What is in the way of one may be gone after another.
            for _ in 0..2 {
                apply(bus, &plan, &mut steps, arguments.delete_messages).await;
            }
        }
        Ok(steps)
    })?;
    output::to_stdout(|out| match arguments.format {
        ListFormat::Json => lists::write_json(&steps, out),
        ListFormat::Text => write(&steps, arguments, out),
    })?;
    Ok(match steps.iter().all(|step| step.is_done) {
        true => Outcome::Clean,
        false => Outcome::Findings,
    })
}

async fn apply(bus: &Bus, plan: &[Planned], steps: &mut [StepView], may_delete: bool) {
    for (planned, step) in plan.iter().zip(steps) {
        if step.is_done || (planned.loses.is_some() && !may_delete) {
            continue;
        }
        step.error = bus.migrate(planned, may_delete).await.err().map(|error| chain(&error));
        step.is_done = step.error.is_none();
    }
}

fn view(planned: &Planned) -> StepView {
    let (step, differences) = match &planned.step {
        Step::Keep => ("keep", &[][..]),
        Step::Create => ("create", &[][..]),
        Step::Change(differences) => ("change", &differences[..]),
        Step::Remake(differences) => ("remake", &differences[..]),
        Step::Remove => ("remove", &[][..]),
    };
    StepView {
        step,
        part: planned.part.to_string(),
        differences: differences.to_vec(),
        loses: planned.loses.clone(),
        is_done: !planned.is_needed(),
        error: None,
    }
}

fn write(steps: &[StepView], arguments: &Arguments, out: &mut dyn Write) -> std::io::Result<()> {
    let needed: Vec<&StepView> = steps.iter().filter(|step| step.step != "keep").collect();
    for step in &needed {
        let style = if step.is_done { Style::new().green() } else { Style::new().yellow() };
        let name = style.apply_to(format!("{:<6}", step.step));
        writeln!(out, "{name}  {}", escape_for_terminal(&step.part))?;
        for difference in &step.differences {
            writeln!(out, "        {}", escape_for_terminal(difference))?;
        }
        if let Some(loses) = &step.loses {
            let what = if step.is_done { "deleted" } else { "deletes" };
            let how = if arguments.delete_messages { "" } else { "; left unless --delete-messages" };
            writeln!(out, "        {what} {}{how}", escape_for_terminal(loses))?;
        }
        if let Some(error) = &step.error {
            writeln!(out, "        failed: {}", escape_for_terminal(error))?;
        }
    }
    let (kept, left) = (steps.len() - needed.len(), needed.iter().filter(|step| !step.is_done).count());
    match (arguments.apply, left) {
        (_, 0) if needed.is_empty() => {
            writeln!(out, "all {kept} streams, buckets and consumers are as they should be")
        }
        (true, 0) => writeln!(out, "done; {kept} were as they should be"),
        (true, left) => writeln!(out, "{left} left to do, {kept} were as they should be"),
        (false, left) => {
            writeln!(out, "{left} to do, {kept} as they should be; --apply does what loses no message")
        }
    }
}
