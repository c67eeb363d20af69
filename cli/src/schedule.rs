//! `secretscan schedule`: scans that come by themselves.

use std::collections::HashMap;
use std::io::{self, Write};

use console::Style;
use secretscan_bus::door::AskError;
use secretscan_bus::{Bus, v1};
use secretscan_model::calendar::{Calendar, parse_jitter};
use secretscan_model::lifecycle::{Missed, Run};
use secretscan_model::{OnUnknown, RepositoryId, RepositoryScan, Schedule, ScheduleId};
use secretscan_report::escape_for_terminal;
use serde::Serialize;
use uuid::Uuid;

use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::lists::{self, ListFormat};
use crate::request::{RequesterArgument, uri};
use crate::{output, requests};

const HINT: &str = "list the schedules with `secretscan schedule list`";
const EXAMPLES: &str = "\
Examples:
  secretscan schedule add https://github.com/owner/project --cron '0 3 * * *' --time-zone Europe/Paris --jitter 10m
  secretscan schedule add REPOSITORY-ID --cron @daily --on-unknown alert
  secretscan schedule list";

/// Scan repositories again and again; be told of commits that no push announced
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Add(AddArguments),
    List(ListArguments),
    Show(ShowArguments),
    /// Leave the runs of a schedule out until it is resumed
    Pause(ChangeArguments),
    /// Let a schedule go on with its next run
    Resume(ChangeArguments),
    /// Forget a schedule; what it has scanned stays scanned
    Remove(ChangeArguments),
    /// Make a run now, besides those of the schedule; prints the id of its request
    RunNow(ChangeArguments),
}

/// Make a schedule for a repository, which is known from then on
///
/// Prints the id of the schedule. Each run scans the commits that are not scanned yet; where nothing has changed, it costs
/// one look at the refs.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct AddArguments {
    /// The URI of the repository, or the id of a known one
    #[arg(value_name = "URI|REPOSITORY-ID")]
    repository: String,

    /// When: five fields (minute, hour, day of month, month, day of week), six with seconds before them, or a name such as
    /// @daily
    #[arg(long, value_name = "CRON")]
    cron: String,

    /// Let each run be late by up to so much, each by another time: 30s, 10m, 2h
    #[arg(long, value_name = "TIME", default_value = "0")]
    jitter: String,

    /// Scan only these refs, by their full names, separated by commas [default: all refs]
    #[arg(long, alias = "ref", value_name = "REF", value_delimiter = ',')]
    refs: Vec<String>,

    #[command(flatten)]
    plan: PlanArguments,

    #[command(flatten)]
    requester: RequesterArgument,

    /// The id of the schedule: sending it again is the same schedule [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<ScheduleId>,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// What every schedule says besides its repository.
#[derive(clap::Args)]
pub struct PlanArguments {
    /// The time zone that the cron pattern is read in, such as Europe/Paris
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,

    /// What to do about commits that are not scanned yet
    #[arg(long, value_enum, default_value_t = OnUnknownArgument::Both)]
    on_unknown: OnUnknownArgument,

    /// What becomes of runs that came while no scheduler was there
    #[arg(long, value_enum, default_value_t = MissedArgument::Once)]
    missed: MissedArgument,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum OnUnknownArgument {
    /// Tell of those that no push announced, and scan none
    Alert,
    /// Scan them
    Scan,
    /// Both
    Both,
}

impl From<OnUnknownArgument> for OnUnknown {
    fn from(argument: OnUnknownArgument) -> Self {
        match argument {
            OnUnknownArgument::Alert => Self::Alert,
            OnUnknownArgument::Scan => Self::Scan,
            OnUnknownArgument::Both => Self::Both,
        }
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum MissedArgument {
    /// One run makes up for all of them
    Once,
    /// None is made up for
    Skip,
}

impl From<MissedArgument> for Missed {
    fn from(argument: MissedArgument) -> Self {
        match argument {
            MissedArgument::Once => Self::Once,
            MissedArgument::Skip => Self::Skip,
        }
    }
}

/// List the schedules, those first that run next
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan schedule list --format json")]
struct ListArguments {
    /// How to show them
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Show a schedule, its next run and its last one
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan schedule show nightly")]
struct ShowArguments {
    /// The schedule
    #[arg(value_name = "ID")]
    id: ScheduleId,

    /// How to show it
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(clap::Args)]
#[command(after_help = "Example: secretscan schedule run-now nightly")]
struct ChangeArguments {
    /// The schedule
    #[arg(value_name = "ID")]
    id: ScheduleId,

    #[command(flatten)]
    requester: RequesterArgument,

    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Makes, lists, shows or changes schedules.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    use v1::ScheduleAction as Action;
    match &arguments.command {
        Command::Add(add) => {
            let new = add.message()?;
            add.connection.with_bus(async |bus| send(bus, &new).await)
        }
        Command::List(list) => list.connection.with_bus(async |bus| list.list(bus).await),
        Command::Show(show) => show.connection.with_bus(async |bus| show.show(bus).await),
        Command::Pause(change) => change.send(Action::Pause, "paused"),
        Command::Resume(change) => change.send(Action::Resume, "resumed"),
        Command::Remove(change) => change.send(Action::Remove, "removed"),
        Command::RunNow(change) => change.send(Action::RunNow, "run"),
    }
}

impl PlanArguments {
    /// What can be checked without a controller is checked here, so that a mistake is told at once.
    pub fn new_schedule(
        &self,
        id: String,
        cron: &str,
        jitter: &str,
        requester: &RequesterArgument,
    ) -> Result<v1::NewSchedule, Failure> {
        let wrong = |cause| {
            Failure::caused_by(cause, "cannot make the schedule", "see `secretscan schedule add --help`")
        };
        Calendar::parse(cron, &self.time_zone).map_err(wrong)?;
        parse_jitter(jitter).map_err(wrong)?;
        Ok(v1::NewSchedule {
            schedule_id: id,
            cron: cron.to_owned(),
            time_zone: self.time_zone.clone(),
            jitter: jitter.to_owned(),
            on_unknown: v1::OnUnknown::from(OnUnknown::from(self.on_unknown)).into(),
            missed: v1::Missed::from(Missed::from(self.missed)).into(),
            requester: requester.requester.clone(),
            ..v1::NewSchedule::default()
        })
    }
}

impl AddArguments {
    fn message(&self) -> anyhow::Result<v1::NewSchedule> {
        let id = self.id.as_ref().map_or_else(|| Uuid::now_v7().to_string(), ScheduleId::to_string);
        let mut new = self.plan.new_schedule(id, &self.cron, &self.jitter, &self.requester)?;
        new.refs.clone_from(&self.refs);
        // A URI has a colon or a slash, an id neither.
        if RepositoryId::parse(&self.repository).is_ok() {
            new.repository_id.clone_from(&self.repository);
        } else {
            new.uri = uri(&self.repository)?;
        }
        Ok(new)
    }
}

async fn send(bus: &Bus, new: &v1::NewSchedule) -> anyhow::Result<Outcome> {
    let answer = bus.request_schedule(new).await.map_err(|error| unanswered(error, &new.schedule_id))?;
    if !answer.error.is_empty() {
        let message = format!("the schedule is refused: {}", answer.error);
        return Err(Failure::new(message, "correct it and send it again").into());
    }
    output::to_stdout(|out| writeln!(out, "{}", escape_for_terminal(&answer.schedule_id)))?;
    Ok(Outcome::Clean)
}

pub fn unanswered(error: AskError, id: &str) -> Failure {
    let hint = match &error {
        AskError::NoAnswer { .. } => format!(
            "check that the controller runs; `secretscan schedule show {id}` tells when it has taken the message"
        ),
        AskError::Send { .. } => "check that these credentials may publish to secretscan.schedule.>".into(),
    };
    Failure::caused_by(error, format!("no answer for schedule {id}"), hint)
}

impl ChangeArguments {
    fn send(&self, action: v1::ScheduleAction, done: &str) -> anyhow::Result<Outcome> {
        let id = &self.id;
        let change = v1::ChangeSchedule {
            schedule_id: id.to_string(),
            action: action.into(),
            requester: self.requester.requester.clone(),
            replacement: None,
        };
        self.connection.with_bus(async |bus| {
            let answer =
                bus.change_schedule(&change).await.map_err(|error| unanswered(error, id.as_str()))?;
            if !answer.error.is_empty() {
                return Err(
                    Failure::new(format!("schedule {id} is not {done}: {}", answer.error), HINT).into()
                );
            }
            output::to_stdout(|out| match answer.request_id.as_str() {
                "" => writeln!(out, "schedule {id} is {done}"),
                request => writeln!(out, "{}", escape_for_terminal(request)),
            })?;
            Ok(Outcome::Clean)
        })
    }
}

/// A schedule as programs get it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScheduleView<'a> {
    id: &'a str,
    /// The name of the repository.
    repository: Option<&'a str>,
    repository_id: &'a str,
    cron: &'a str,
    time_zone: &'a str,
    jitter_s: u64,
    /// All when empty.
    refs: &'a [String],
    on_unknown: &'static str,
    missed: &'static str,
    requester: &'a str,
    created: String,
    is_paused: bool,
    /// When the next run is, with jitter; `null` when none will come.
    next: Option<String>,
    /// The run that came last, in turn or out of it.
    last: Option<RunView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunView<'a> {
    /// 0 when somebody asked for it out of turn.
    number: u64,
    at: String,
    /// `null` when it was missed and left out.
    request_id: Option<&'a str>,
    /// The state of the request; `null` when there is none yet.
    state: Option<&'static str>,
    /// What its history held, once that is listed.
    found: Option<requests::FoundView>,
}

impl<'a> ScheduleView<'a> {
    fn new(schedule: &'a Schedule, repository: Option<&'a str>, scan: Option<&RepositoryScan>) -> Self {
        let plan = &schedule.plan;
        let run = |run: &'a Run| RunView {
            number: run.number,
            at: lists::rfc3339(run.at),
            request_id: run.request.as_ref().map(|request| request.as_str()),
            state: scan.map(|scan| scan.state.name()),
            found: scan.and_then(|scan| scan.found.as_ref()).map(requests::FoundView::new),
        };
        Self {
            id: schedule.id.as_str(),
            repository,
            repository_id: plan.repository.as_str(),
            cron: &plan.cron,
            time_zone: if plan.time_zone.is_empty() { "UTC" } else { &plan.time_zone },
            jitter_s: plan.jitter_s,
            refs: &plan.refs,
            on_unknown: plan.on_unknown.as_str(),
            missed: plan.missed.as_str(),
            requester: &plan.requester,
            created: lists::rfc3339(schedule.created),
            is_paused: schedule.is_paused,
            next: schedule.due.filter(|_| !schedule.is_paused).map(|due| lists::rfc3339(due.at)),
            last: schedule.latest().map(run),
        }
    }
}

/// The scan of the last run, if there is one.
async fn last_scan(bus: &Bus, schedule: &Schedule) -> anyhow::Result<Option<RepositoryScan>> {
    match schedule.latest().and_then(|run| run.request.as_ref()) {
        Some(request) => Ok(bus.scan(request).await?),
        None => Ok(None),
    }
}

/// How the last run ended, in a few words.
fn result(schedule: &Schedule, scan: Option<&RepositoryScan>) -> String {
    match (schedule.latest(), scan) {
        (None, _) => "-".to_owned(),
        (Some(Run { request: None, .. }), _) => "missed".to_owned(),
        (Some(_), None) => "asked for".to_owned(),
        (Some(_), Some(scan)) => match &scan.found {
            Some(found) => format!("{}: {}", scan.state.name(), requests::FoundView::new(found).in_words()),
            None => scan.state.name().to_owned(),
        },
    }
}

fn next(schedule: &Schedule) -> String {
    match schedule.due {
        _ if schedule.is_paused => "paused".to_owned(),
        Some(due) => lists::time(due.at),
        None => "never".to_owned(),
    }
}

impl ListArguments {
    async fn list(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let mut schedules = bus.schedules().await?;
        let order = |schedule: &Schedule| {
            (schedule.is_paused, schedule.due.map_or(i64::MAX, |due| due.at.0), schedule.id.clone())
        };
        schedules.sort_by_key(order);
        let repositories = bus.repositories().await?;
        let names: HashMap<RepositoryId, String> =
            repositories.into_iter().map(|repository| (repository.id, repository.name)).collect();
        let mut scans = Vec::with_capacity(schedules.len());
        for schedule in &schedules {
            scans.push(last_scan(bus, schedule).await?);
        }
        let name = |schedule: &Schedule| names.get(&schedule.plan.repository).map(String::as_str);
        let all = || schedules.iter().zip(&scans).map(|(schedule, scan)| (schedule, scan.as_ref()));
        output::to_stdout(|out| match self.format {
            ListFormat::Json => {
                let views = all().map(|(schedule, scan)| ScheduleView::new(schedule, name(schedule), scan));
                lists::write_json(&views.collect::<Vec<_>>(), out)
            }
            ListFormat::Text if schedules.is_empty() => writeln!(out, "no schedule"),
            ListFormat::Text => {
                let rows: Vec<_> = all()
                    .map(|(schedule, scan)| {
                        [
                            schedule.id.to_string(),
                            name(schedule).unwrap_or("-").to_owned(),
                            schedule.plan.cron.clone(),
                            next(schedule),
                            schedule.latest().map_or_else(|| "never".to_owned(), |run| lists::time(run.at)),
                            result(schedule, scan),
                        ]
                    })
                    .collect();
                let header = ["ID", "REPOSITORY", "CRON", "NEXT (UTC)", "LAST (UTC)", "RESULT"];
                lists::write_table(header, &rows, out)
            }
        })?;
        Ok(Outcome::Clean)
    }
}

impl ShowArguments {
    async fn show(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let id = &self.id;
        let Some(schedule) = bus.schedule(id).await? else {
            return Err(Failure::new(format!("there is no schedule {id}"), HINT).into());
        };
        let scan = last_scan(bus, &schedule).await?;
        let name = bus.repository(&schedule.plan.repository).await?.map(|repository| repository.name);
        let view = ScheduleView::new(&schedule, name.as_deref(), scan.as_ref());
        output::to_stdout(|out| match self.format {
            ListFormat::Json => lists::write_json(&view, out),
            ListFormat::Text => write_text(&schedule, &view, &result(&schedule, scan.as_ref()), out),
        })?;
        Ok(Outcome::Clean)
    }
}

fn write_text(
    schedule: &Schedule,
    view: &ScheduleView<'_>,
    result: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut field = |name: &str, value: &str| {
        let name = Style::new().dim().apply_to(format!("{name:10}"));
        writeln!(out, "{name}  {}", escape_for_terminal(value))
    };
    field("schedule", view.id)?;
    field("repository", &format!("{} ({})", view.repository.unwrap_or("-"), view.repository_id))?;
    field("cron", &format!("{} ({})", view.cron, view.time_zone))?;
    field("jitter", &format!("{} s", view.jitter_s))?;
    field("refs", &if view.refs.is_empty() { "all".to_owned() } else { view.refs.join(", ") })?;
    field("on unknown", view.on_unknown)?;
    field("missed", view.missed)?;
    field("requester", view.requester)?;
    field("created", &format!("{} UTC", lists::time(schedule.created)))?;
    field("next run", &next(schedule))?;
    if let Some(run) = schedule.latest() {
        let number = if run.number == 0 { "out of turn".to_owned() } else { format!("run {}", run.number) };
        field("last run", &format!("{} UTC, {number}", lists::time(run.at)))?;
        field("result", result)?;
        if let Some(request) = &run.request {
            field("request", request.as_str())?;
        }
    }
    Ok(())
}
