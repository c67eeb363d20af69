//! `secretscan findings triage`: what is decided about a secret.

use anyhow::Context;
use jiff::civil::Date;
use secretscan_bus::Bus;
use secretscan_bus::access::Identity;
use secretscan_bus::triage::DecideError;
use secretscan_model::{Timestamp, TriageState};

use super::list::TriageArgument;
use super::no_finding;
use crate::connection::ConnectionArguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{output, repositories};

/// Decide about a secret, in whichever files of the repository it stands or will stand
#[derive(clap::Args)]
#[command(after_help = "\
Example: secretscan findings triage git.example.org/team/project v2-0123456789abcdef0123456789abcdef \\
  --state accepted --reason 'rotated in spring' --expires 2027-04-01")]
pub struct TriageArguments {
    /// Its repository
    #[arg(value_name = "ID|URI|NAME")]
    repository: String,

    /// Its fingerprint
    fingerprint: String,

    /// What is decided
    #[arg(long, value_enum)]
    state: TriageArgument,

    /// Why; needed for what is accepted
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,

    /// Until when it is accepted: a day (from its start in UTC), or a time as RFC 3339 writes it
    #[arg(long, value_name = "TIME", value_parser = time, required_if_eq("state", "accepted"))]
    expires: Option<Timestamp>,

    /// Who decides, for people to read
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "cli")]
    by: String,

    #[command(flatten)]
    connection: ConnectionArguments,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let day = || text.parse::<Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let time = text.parse::<jiff::Timestamp>().ok().or_else(|| Some(day()?.timestamp()));
    let time =
        time.ok_or("it is neither a day such as 2027-04-01 nor a time such as 2027-04-01T12:00:00Z")?;
    Ok(Timestamp(time.as_millisecond()))
}

impl TriageArguments {
    /// Records it.
    pub fn run(&self) -> anyhow::Result<Outcome> {
        self.connection.with_bus_as(Identity::Operator, async |bus| self.decide(bus).await)
    }

    async fn decide(&self, bus: &Bus) -> anyhow::Result<Outcome> {
        let state = self.state()?;
        let repository = repositories::find(bus, &self.repository).await?;
        let finding =
            bus.finding_known_as(&repository.id, &self.fingerprint).await?.ok_or_else(no_finding)?;
        let decided = bus.decide(&repository.id, &finding.secret(), &state, &self.reason, &self.by).await;
        decided.map_err(|error| match error {
            DecideError::Refused(reason) => {
                anyhow::Error::from(Failure::new(reason.to_string(), "see --reason and --expires"))
            }
            DecideError::Bus(error) => {
                let hint = "it takes the identity `operator`: see --nkey and --creds";
                Failure::caused_by(error, "the decision can't be recorded", hint).into()
            }
        })?;
        output::to_stdout(|out| writeln!(out, "{} is {}", self.fingerprint, state.name()))?;
        Ok(Outcome::Clean)
    }

    fn state(&self) -> anyhow::Result<TriageState> {
        if self.expires.is_some() && self.state != TriageArgument::Accepted {
            let message = "only what is accepted expires";
            return Err(Failure::new(message, "leave --expires out, or use --state accepted").into());
        }
        Ok(match self.state {
            TriageArgument::Open => TriageState::Open,
            TriageArgument::Confirmed => TriageState::Confirmed,
            TriageArgument::Revoked => TriageState::Revoked,
            TriageArgument::FalsePositive => TriageState::FalsePositive,
            TriageArgument::Accepted => {
                TriageState::Accepted { expires: self.expires.context("--expires is missing")? }
            }
        })
    }
}
