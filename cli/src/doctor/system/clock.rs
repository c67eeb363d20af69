//! The clock of this machine beside that of the server, which schedules go by.

use secretscan_bus::inspect::ClockSkew;

use super::System;
use crate::doctor::report::Line;

/// From here on times in records confuse people.
const NOTABLE_MS: i64 = 2_000;
/// From here on certificates and tokens are refused.
const WRONG_MS: i64 = 300_000;

/// Whether they agree.
pub fn check(system: &System) -> Vec<Line> {
    match &system.clock {
        Ok(Some(skew)) => vec![judge(*skew)],
        // That is said of the streams.
        Ok(None) | Err(_) => Vec::new(),
    }
}

fn judge(ClockSkew { ahead_ms, uncertainty_ms }: ClockSkew) -> Line {
    let distance = ahead_ms.saturating_abs();
    let apart = distance.saturating_sub(uncertainty_ms).max(0);
    if apart < NOTABLE_MS {
        return Line::ok("clock", format!("as the server's, within {} ms", distance + uncertainty_ms));
    }
    let direction = if ahead_ms > 0 { "behind" } else { "ahead of" };
    let says = format!(
        "the clock of this machine is {} s {direction} the server's",
        distance.saturating_add(500) / 1_000
    );
    let advice = "let NTP set the clocks of both machines";
    match apart < WRONG_MS {
        true => Line::warning("clock", says, advice),
        false => Line::failed("clock", says, advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    #[test]
    fn what_the_answer_took_counts_for_nothing() {
        let status = |ahead_ms, uncertainty_ms| judge(ClockSkew { ahead_ms, uncertainty_ms }).status;
        assert_eq!(status(-1_500, 10), Status::Ok);
        assert_eq!(status(4_000, 3_000), Status::Ok);
        assert_eq!(status(-4_000, 10), Status::Warning);
        assert_eq!(status(400_000, 10), Status::Failed);
        assert_eq!(status(i64::MAX, 10), Status::Failed);
    }
}
