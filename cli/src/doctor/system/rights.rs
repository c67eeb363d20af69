//! What the key may do of what commands do.

use secretscan_bus::access::Task;
use secretscan_bus::inspect::{Rights, Unknown};

use super::System;
use crate::doctor::report::Line;

/// With what to log in.
const ADVICE: &str = "log in with cli.nk (--nkey): other keys may not look; where its rights are of an older version, run \
                      `secretscan nats-config` again, and reload the server";

/// Which commands will work.
pub fn check(system: &System) -> Vec<Line> {
    vec![match &system.rights {
        Ok(rights @ Rights { allowed: None, .. }) => unlimited(system, rights),
        Ok(rights) => judge(rights),
        Err(Unknown::Refused) => {
            let says = "this key may not ask what it may do, or may not hear answers to people's commands";
            match system.found_streams().next() {
                // Rights of an older version.
                Some(_) => Line::warning("rights", says, ADVICE),
                None => Line::failed("rights", says, ADVICE),
            }
        }
        Err(unknown) => {
            Line::warning("rights", format!("what this key may do is not known: {unknown}"), ADVICE)
        }
    }]
}

fn unlimited(system: &System, rights: &Rights) -> Line {
    let account = &rights.account;
    if system.server.is_login_required || system.is_private {
        return Line::ok("rights", format!("everything in the account {account}"));
    }
    let advice = "give each service a key of its own: `secretscan nats-config`";
    Line::warning("rights", "whoever reaches the server may do everything", advice)
}

fn judge(rights: &Rights) -> Line {
    let (may, may_not): (Vec<Task>, Vec<Task>) =
        Task::ALL.into_iter().partition(|task| rights.lacks(&task.needs()).is_empty());
    let in_words = |tasks: &[Task]| tasks.iter().map(|task| task.in_words()).collect::<Vec<_>>().join(", ");
    let says = match (may.is_empty(), may_not.is_empty()) {
        (false, true) => format!("may {}", in_words(&may)),
        (false, false) => format!("may {}; may not {}", in_words(&may), in_words(&may_not)),
        (true, _) => format!("may not {}", in_words(&may_not)),
    };
    // Who decides has a key of its own.
    match may_not.iter().all(|task| *task == Task::Decide) || may == [Task::Decide] {
        true => Line::ok("rights", says),
        false if may.is_empty() => Line::failed("rights", says, ADVICE),
        false => Line::warning("rights", says, ADVICE),
    }
}

#[cfg(test)]
mod tests {
    use secretscan_bus::access::Identity;

    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn each_identity_may_what_it_is_for() {
        for (identity, status) in [
            (Identity::Cli, Status::Ok),
            (Identity::Operator, Status::Ok),
            (Identity::Requester, Status::Failed),
            (Identity::Webhook, Status::Failed),
        ] {
            let allowed = identity.permissions();
            let line = judge(&Rights { account: "A".into(), allowed, denied: Vec::new() });
            assert_eq!(line.status, status, "{identity:?}: {line:?}");
        }
    }
}
