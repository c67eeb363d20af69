//! Which fault happens when: a pure function of the seed.

use std::fmt;
use std::time::Duration;

use secretscan_testkit::Random;

/// One fault. Members of the fleet are numbered.
#[allow(missing_docs, reason = "the variants say what their fields are")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and another process in its place after a while.
    Kill { member: usize, down: Duration },
    /// SIGTERM, and another process in its place once it has ended.
    Terminate { member: usize },
    /// SIGSTOP, for longer than the ack deadline, then SIGCONT.
    Freeze { member: usize, time: Duration },
    /// The connection is closed.
    Cut { member: usize },
    /// Nothing passes, for longer than the ack deadline, then everything.
    Hold { member: usize, time: Duration },
    /// Everything passes later.
    Delay { member: usize, by: Duration, time: Duration },
    /// SIGKILL of nats-server, which comes back after a while on its port and store.
    KillServer { down: Duration },
}

impl Fault {
    /// The kind, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "service killed",
            Self::Terminate { .. } => "service terminated",
            Self::Freeze { .. } => "service frozen past its ack deadline",
            Self::Cut { .. } => "connection cut",
            Self::Hold { .. } => "traffic held past the ack deadline",
            Self::Delay { .. } => "traffic delayed",
            Self::KillServer { .. } => "nats-server killed",
        }
    }

    fn member_and_time(&self) -> (Option<usize>, Duration) {
        match *self {
            Self::Kill { member, down } => (Some(member), down),
            Self::Terminate { member } | Self::Cut { member } => (Some(member), Duration::ZERO),
            Self::Freeze { member, time }
            | Self::Hold { member, time }
            | Self::Delay { member, time, .. } => (Some(member), time),
            Self::KillServer { down } => (None, down),
        }
    }
}

/// A fault and when it happens, from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.1} s {:?}", self.at.as_secs_f64(), self.fault)
    }
}

/// A server that is killed again before all have come back to it lets nothing go on.
const SERVER_RESTS: Duration = Duration::from_secs(8);

/// The faults of a run, in order.
pub fn plan(seed: u64, duration: Duration, members: usize, ack_wait: Duration) -> Vec<Planned> {
    let mut random = Random::new(seed ^ 0x5eed_fa17);
    let mut busy_until = vec![Duration::ZERO; members];
    let mut server_until = SERVER_RESTS;
    let mut planned = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(100 + random.below(900) as u64);
        if at >= duration {
            return planned;
        }
        let member = random.below(members);
        let short = Duration::from_millis(random.below(2_000) as u64);
        let past_deadline = ack_wait.mul_f64(1.2 + random.below(130) as f64 / 100.0);
        let by = Duration::from_millis(5 + random.below(300) as u64);
        let fault = match random.below(100) {
            0..28 => Fault::Kill { member, down: short },
            28..33 => Fault::Terminate { member },
            33..48 => Fault::Freeze { member, time: past_deadline },
            48..68 => Fault::Cut { member },
            68..78 => Fault::Hold { member, time: past_deadline },
            78..94 => Fault::Delay { member, by, time: short * 2 },
            _ => Fault::KillServer { down: short / 2 },
        };
        let (member, time) = fault.member_and_time();
        let until = match member {
            Some(member) => &mut busy_until[member],
            None => &mut server_until,
        };
        if at < *until {
            continue;
        }
        *until = at + time + if member.is_none() { SERVER_RESTS } else { Duration::ZERO };
        planned.push(Planned { at, fault });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let of = |seed| plan(seed, Duration::from_secs(600), 12, Duration::from_secs(3));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let kinds: std::collections::BTreeSet<_> = of(1).iter().map(|planned| planned.fault.kind()).collect();
        assert_eq!(kinds.len(), 7, "all kinds occur");
    }
}
